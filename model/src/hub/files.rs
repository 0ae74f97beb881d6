//! Files of a repository: those that are read, and those that are required.

use std::path::Path;

use serde_json::Value;

/// What a repository is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "only downloads need it"))]
pub(super) enum RepositoryKind {
    Model,
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
    /// What the repository is of.
    fn kind(&self) -> RepositoryKind;

    /// Places of the files that are read among the names of all; or why there are none.
    fn select(&self, names: &[&str]) -> Result<Vec<usize>, String>;

    /// What has to be in the folder of a commit and is not, if anything.
    fn missing_file(&self, folder: &Path) -> Option<String>;
}

impl FileSelection for FolderContent {
    fn kind(&self) -> RepositoryKind {
        RepositoryKind::Model
    }

    fn select(&self, names: &[&str]) -> Result<Vec<usize>, String> {
        Ok((0..names.len()).filter(|at| self.reads(names[*at])).collect())
    }

    fn missing_file(&self, folder: &Path) -> Option<String> {
        let is_there = |name: &str| folder.join(name).exists();
        let (first, stem) = match *self {
            Self::Model => (&["config.json", "tokenizer.json"][..], "model"),
            Self::Adapter { .. } => (&["adapter_config.json"][..], "adapter_model"),
            Self::Tokenizer => (&["tokenizer.json"][..], ""),
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
        if *self == Self::Tokenizer {
            return None;
        }
        let single = format!("{stem}.safetensors");
        if is_there(&single) {
            return None;
        }
        match shards(&folder.join(format!("{stem}.safetensors.index.json"))) {
            Some(shards) => shards.into_iter().find(|name| !is_there(name)),
            None => Some(single),
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
    /// Whether a file of a repository is read; `*` stands for any characters.
    #[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "only downloads need it"))]
    pub(super) fn reads(self, name: &str) -> bool {
        let patterns: &[&str] = match self {
            Self::Tokenizer => &[],
            Self::Model => &["model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"],
            Self::Adapter { .. } => &[
                "adapter_config.json",
                "adapter_model.safetensors",
                "adapter_model.safetensors.index.json",
                "adapter_model-*-of-*.safetensors",
                "trainer_state.json",
                "gstore_state.json",
                "scheduler.pt",
            ],
        };
        let moments = self == (Self::Adapter { moments: true });
        // No other character has a meaning in an address.
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        let optimizer = moments && matches!(name, "optimizer.pt" | "optimizer.bin");
        let tokenizer = !matches!(self, Self::Adapter { .. }) && TOKENIZER.contains(&name);
        plain && (optimizer || tokenizer || patterns.iter().any(|pattern| fits(pattern, name)))
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let name = name.strip_prefix(start);
    name.is_some_and(|name| (0..=name.len()).any(|at| name.get(at..).is_some_and(|end| fits(rest, end))))
}

/// The files that an index names; `None` if there is no index that can be read.
fn shards(index: &Path) -> Option<Vec<String>> {
    let value: Value = serde_json::from_slice(&fs_err::read(index).ok()?).ok()?;
    let map = value.get("weight_map")?.as_object()?;
    let mut names: Vec<String> = map.values().filter_map(|name| Some(name.as_str()?.to_owned())).collect();
    names.sort_unstable();
    names.dedup();
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read() {
        let adapter = FolderContent::Adapter { moments: false };
        assert!(
            FolderContent::Model.reads("model-00001-of-00002.safetensors")
                && FolderContent::Model.reads("config.json")
        );
        assert!(
            !adapter.reads("optimizer.pt") && FolderContent::Adapter { moments: true }.reads("optimizer.pt")
        );
        assert!(
            FolderContent::Tokenizer.reads("tokenizer.json")
                && !FolderContent::Tokenizer.reads("model.safetensors")
        );
        for name in
            ["model-1.safetensors", "a/config.json", "model-a/b-of-2.safetensors", "model-1-of-?.safetensors"]
        {
            assert!(!FolderContent::Model.reads(name) && !adapter.reads(name), "{name}");
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
