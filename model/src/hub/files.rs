//! Files of a repository: those that are read, and those that are required.

use std::path::Path;

use serde_json::Value;

/// What a repository is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepositoryKind {
    /// A model, an adapter or a tokenizer.
    Model,
    /// A dataset.
    Dataset,
}

#[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "only downloads need it"))]
impl RepositoryKind {
    /// What stands for it in addresses and in the names of folders of the cache.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }

    /// What stands before a repository's name in the address of a file.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
        }
    }
}

/// Which files of a repository are wanted.
#[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "only downloads need it"))]
pub(super) trait FileSelection {
    fn kind(&self) -> RepositoryKind;

    /// Places of the files that are read among the names of all; or why there are none. What is in the folder
    /// of the commit may name some of them.
    fn select(&self, folder: &Path, names: &[&str]) -> Result<Vec<usize>, String>;

    /// What has to be in the folder of a commit and is not, if anything.
    fn missing_file(&self, folder: &Path) -> Option<String>;
}

impl FileSelection for FolderContent {
    fn kind(&self) -> RepositoryKind {
        RepositoryKind::Model
    }

    fn select(&self, folder: &Path, names: &[&str]) -> Result<Vec<usize>, String> {
        let shards = self.shards(folder).unwrap_or_default();
        let is_shard = |name: &str| is_plain(name) && shards.iter().any(|shard| shard == name);
        Ok((0..names.len()).filter(|at| self.reads(names[*at]) || is_shard(names[*at])).collect())
    }

    fn missing_file(&self, folder: &Path) -> Option<String> {
        let is_there = |name: &str| folder.join(name).exists();
        let first: &[&str] = match self {
            Self::Model => &["config.json", "tokenizer.json"],
            Self::Adapter { .. } => &["adapter_config.json"],
            Self::Tokenizer => &["tokenizer.json"],
        };
        if let Some(name) = first.iter().find(|name| !is_there(name)) {
            return Some((*name).to_owned());
        }
        if *self == (Self::Adapter { moments: true })
            && !is_there("optimizer.pt")
            && !is_there("optimizer.bin")
        {
            return Some("optimizer.pt".to_owned());
        }
        match self.shards(folder) {
            Some(shards) => shards.into_iter().find(|name| !is_there(name)),
            None => Some(format!("{}.safetensors", self.stem()?)),
        }
    }
}

/// What a folder is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderContent {
    /// A base model and its tokenizer.
    Model,
    /// A LoRA adapter.
    Adapter {
        /// With the state of its optimizer.
        moments: bool,
    },
    /// A tokenizer.
    Tokenizer,
}

impl FolderContent {
    /// What tells such a folder from others.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Model => "config.json and model.safetensors",
            Self::Adapter { .. } => "adapter_config.json and adapter_model.safetensors",
            Self::Tokenizer => "tokenizer.json",
        }
    }
}

/// Files of a tokenizer, and the configurations that name its end tokens.
const TOKENIZER: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
    "config.json",
];

impl FolderContent {
    /// Whether a file of a repository is read by its name alone.
    #[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "only downloads need it"))]
    pub(super) fn reads(self, name: &str) -> bool {
        let own: &[&str] = match self {
            Self::Tokenizer => &[],
            Self::Model => &["model.safetensors", "model.safetensors.index.json"],
            Self::Adapter { .. } => &[
                "adapter_config.json",
                "adapter_model.safetensors",
                "adapter_model.safetensors.index.json",
                "trainer_state.json",
                "gstore_state.json",
                "scheduler.pt",
            ],
        };
        let moments = self == (Self::Adapter { moments: true });
        let optimizer = moments && matches!(name, "optimizer.pt" | "optimizer.bin");
        let tokenizer = !matches!(self, Self::Adapter { .. }) && TOKENIZER.contains(&name);
        optimizer || tokenizer || own.contains(&name)
    }

    /// What the names of files of weights begin with.
    fn stem(self) -> Option<&'static str> {
        match self {
            Self::Model => Some("model"),
            Self::Adapter { .. } => Some("adapter_model"),
            Self::Tokenizer => None,
        }
    }

    /// The files that the index of the weights names: none where one file has them all. `None` if there is
    /// neither that file nor an index that can be read.
    fn shards(self, folder: &Path) -> Option<Vec<String>> {
        let single = format!("{}.safetensors", self.stem()?);
        if folder.join(&single).exists() {
            return Some(Vec::new());
        }
        let index = fs_err::read(folder.join(format!("{single}.index.json"))).ok()?;
        let value: Value = serde_json::from_slice(&index).ok()?;
        let map = value.get("weight_map")?.as_object()?;
        let names = map.values().filter_map(|name| Some(name.as_str()?.to_owned()));
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names.dedup();
        Some(names)
    }
}

/// Whether a name is that of a file in the folder itself.
fn is_plain(name: &str) -> bool {
    name.chars().all(is_url_safe) && Path::new(name).file_name().is_some_and(|file| file == name)
}

/// Characters that have no meaning in an address.
pub(super) fn is_url_safe(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read() {
        let adapter = FolderContent::Adapter { moments: false };
        assert!(FolderContent::Model.reads("model.safetensors") && FolderContent::Model.reads("config.json"));
        assert!(
            !adapter.reads("optimizer.pt") && FolderContent::Adapter { moments: true }.reads("optimizer.pt")
        );
        assert!(
            FolderContent::Tokenizer.reads("tokenizer.json")
                && !FolderContent::Tokenizer.reads("model.safetensors")
        );
        for name in ["model-1.safetensors", "a/config.json"] {
            assert!(!FolderContent::Model.reads(name) && !adapter.reads(name), "{name}");
        }
        assert!(is_plain("pytorch_model-1-of-2.safetensors"));
        for name in ["", ".", "..", "../a", "/a", "a/b", "a/", "a?", "a b"] {
            assert!(!is_plain(name), "{name}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs_err::write(dir.path().join(name), text).unwrap();
        let lacking = || FolderContent::Model.missing_file(dir.path());
        assert_eq!(lacking().as_deref(), Some("config.json"));
        put("config.json", "{}");
        put("tokenizer.json", "{}");
        assert_eq!(lacking().as_deref(), Some("model.safetensors"));
        put(
            "model.safetensors.index.json",
            r#"{"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}"#,
        );
        put("model-1-of-2.safetensors", "");
        assert_eq!(lacking().as_deref(), Some("model-2-of-2.safetensors"));
        put("model-2-of-2.safetensors", "");
        assert_eq!(lacking(), None);
        put("adapter_config.json", "{}");
        put("adapter_model.safetensors", "");
        assert_eq!(FolderContent::Adapter { moments: false }.missing_file(dir.path()), None);
        assert_eq!(
            FolderContent::Adapter { moments: true }.missing_file(dir.path()).as_deref(),
            Some("optimizer.pt")
        );
    }
}
