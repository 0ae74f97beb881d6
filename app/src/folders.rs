//! The folders of models and checkpoints: paths, patterns, and repositories of the Hugging Face Hub.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gstore_core::{Progress, many};
use gstore_ingest::pipeline::CheckpointArg;
use gstore_model::hub::{FolderContent, HubConfig, HubError, HubOrigin, HubRef, ResolvedFolder, resolve};
use gstore_model::weights::checkpoints_in;

/// Why the folders of checkpoints could not be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum FolderError {
    /// Neither a folder nor a pattern of some, and no name of a repository.
    #[error("no folder matches {0}")]
    NoMatch(String),
    /// Not a pattern of paths.
    #[error("{pattern}: {source}")]
    Pattern { pattern: String, source: glob::PatternError },
    #[error("`{name}={pattern}` matches {folders} folders; a name is for one")]
    OneName { name: String, pattern: String, folders: usize },
    #[error("{folder} is not a model; it has {} of a training in it: name one, such as {}, or, where several are taken, '{folder}/checkpoint-*'", many(*checkpoints as u64, "checkpoint"), last.display(), folder = folder.display())]
    Training { folder: PathBuf, checkpoints: usize, last: PathBuf },
    #[error(transparent)]
    List(#[from] glob::GlobError),
    #[error(transparent)]
    Hub(#[from] HubError),
}

/// A folder as the store keeps it: a later search for it may start in another folder.
pub fn stored_folder(folder: &Path) -> String {
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()).display().to_string()
}

/// `NAME=PATH`, or a path alone. What is a path or a pattern of some with its `=` has no name before that; nor
/// has what has a `/` there, unless there is something behind it.
pub fn named_path(text: &str) -> (Option<&str>, &str) {
    named_path_among(text, |text| {
        let matches = || glob::glob(text).is_ok_and(|mut paths| paths.next().is_some());
        Path::new(text).exists() || matches()
    })
}

/// As [`named_path`], where `is_there` says what is a path: of paths that do not count from the working
/// folder, or that are still to be made.
pub fn named_path_among(text: &str, is_there: impl Fn(&str) -> bool) -> (Option<&str>, &str) {
    let is_name = |name: &str, path: &str| !name.is_empty() && (!name.contains('/') || is_there(path));
    match text.split_once('=') {
        Some((name, path)) if is_name(name, path) && !is_there(text) => (Some(name), path),
        _ => (None, text),
    }
}

/// Finds folders, and remembers which of them came from the Hub.
pub struct Folders<'a> {
    progress: &'a mut dyn Progress,
    moments: bool,
    origins: BTreeMap<PathBuf, HubOrigin>,
}

impl<'a> Folders<'a> {
    /// `moments`: adapters need the state of their optimizer. Downloads report their progress.
    pub fn new(progress: &'a mut dyn Progress, moments: bool) -> Self {
        Self { progress, moments, origins: BTreeMap::new() }
    }

    /// The folder of the base model: a path, or `org/name` or `org/name@revision` of the Hub.
    ///
    /// # Errors
    /// Neither a folder nor a repository that can be had.
    pub fn model(&mut self, text: &str) -> Result<PathBuf, FolderError> {
        self.folder(text, FolderContent::Model)
    }

    /// The folder of a tokenizer: a path, or a repository of the Hub.
    ///
    /// # Errors
    /// Neither a folder nor a repository that can be had.
    pub fn tokenizer(&mut self, text: &str) -> Result<PathBuf, FolderError> {
        self.folder(text, FolderContent::Tokenizer)
    }

    fn folder(&mut self, text: &str, need: FolderContent) -> Result<PathBuf, FolderError> {
        let ResolvedFolder { folder, origin } = resolve(text, need, &HubConfig::from_env(), self.progress)?;
        self.origins.extend(origin.map(|origin| (folder.clone(), origin)));
        Ok(folder)
    }

    /// Where the folders from the Hub come from.
    pub fn origins(&self) -> BTreeMap<PathBuf, String> {
        self.origins.iter().map(|(folder, origin)| (folder.clone(), origin.to_string())).collect()
    }

    /// Expands globs, repositories and `name=folder`; checkpoints of one glob come in the order of the
    /// numbers in their names. Without any, the base model is the one checkpoint.
    ///
    /// # Errors
    /// A pattern that matches nothing, and what the Hub refuses.
    pub fn checkpoints(&mut self, patterns: &[String]) -> Result<Vec<CheckpointArg>, FolderError> {
        if patterns.is_empty() {
            return Ok(vec![CheckpointArg::base()]);
        }
        let mut found = Vec::new();
        for pattern in patterns {
            let (name, pattern) = match named_path(pattern) {
                (Some(name), _) if name.contains('/') => (None, pattern.as_str()),
                named => named,
            };
            let mut folders = expand(pattern)?;
            folders.sort_by_cached_key(|path| (natural_key(path), path.clone()));
            for folder in &folders {
                let inside = checkpoints_in(folder);
                if let Some(last) = inside.last() {
                    let (folder, checkpoints) = (folder.clone(), inside.len());
                    return Err(FolderError::Training { folder, checkpoints, last: last.clone() });
                }
            }
            match (name, folders.as_slice()) {
                (_, []) => found.push(self.repository(name, pattern)?),
                (Some(name), [folder]) => {
                    found.push(CheckpointArg::of_folder(name, folder.clone()));
                }
                (Some(name), _) => {
                    return Err(FolderError::OneName {
                        name: name.to_owned(),
                        pattern: pattern.to_owned(),
                        folders: folders.len(),
                    });
                }
                (None, _) => found.extend(folders.into_iter().map(|folder| {
                    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
                    CheckpointArg::of_folder(name.unwrap_or_else(|| pattern.to_owned()), folder)
                })),
            }
        }
        Ok(found)
    }

    /// A checkpoint that is no folder here.
    fn repository(&mut self, name: Option<&str>, text: &str) -> Result<CheckpointArg, FolderError> {
        let reference = HubRef::parse(text).ok_or_else(|| FolderError::NoMatch(text.to_owned()))?;
        let folder = self.folder(text, FolderContent::Adapter { moments: self.moments })?;
        let name = name.map_or_else(|| reference.short_name(), str::to_owned);
        Ok(CheckpointArg::of_folder(name, folder))
    }

    /// The folder that holds the first checkpoint, else the model's; of the Hub the repository's name.
    pub fn run_name(&self, model: &Path, checkpoints: &[CheckpointArg]) -> String {
        let adapter = checkpoints.first().and_then(CheckpointArg::folder);
        if let Some(origin) = self.origins.get(adapter.unwrap_or(model)) {
            return origin.reference.name().to_owned();
        }
        let folder = match adapter {
            Some(adapter) => adapter
                .canonicalize()
                .ok()
                .and_then(|path| hub_repository(&path).or_else(|| path.parent().map(Path::to_owned))),
            None => model.canonicalize().ok().map(|path| hub_repository(&path).unwrap_or(path)),
        };
        folder
            .as_deref()
            .and_then(Path::file_name)
            .map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned())
    }
}

/// The repository's name, of a snapshot in the cache of the Hugging Face tools: the folder itself
/// is called like a commit.
fn hub_repository(folder: &Path) -> Option<PathBuf> {
    let snapshots = folder.parent().filter(|parent| parent.ends_with("snapshots"))?;
    let repository = snapshots.parent()?.file_name()?.to_str()?.strip_prefix("models--")?;
    Some(PathBuf::from(repository.rsplit("--").next()?))
}

fn expand(pattern: &str) -> Result<Vec<PathBuf>, FolderError> {
    let literal = Path::new(pattern);
    if literal.is_dir() {
        return Ok(vec![literal.to_owned()]);
    }
    let matches =
        glob::glob(pattern).map_err(|source| FolderError::Pattern { pattern: pattern.to_owned(), source })?;
    let mut folders = Vec::new();
    for path in matches {
        let path = path?;
        if path.is_dir() {
            folders.push(path);
        }
    }
    Ok(folders)
}

/// The last number in a folder's name: `checkpoint-56` stands before `checkpoint-112`.
fn natural_key(path: &Path) -> u64 {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.rsplit(|c: char| !c.is_ascii_digit())
        .find(|digits| !digits.is_empty())
        .and_then(|d| d.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use gstore_core::Silent;

    use super::*;

    fn checkpoints(patterns: &[String]) -> Result<Vec<CheckpointArg>, FolderError> {
        Folders::new(&mut Silent, false).checkpoints(patterns)
    }

    #[test]
    fn a_snapshot_in_the_cache_is_called_like_its_repository() {
        let dir = tempfile::tempdir().expect("a folder");
        let name = |folder: &str| {
            let folder = dir.path().join(folder);
            fs_err::create_dir_all(&folder).expect("created");
            Folders::new(&mut Silent, false).run_name(&folder, &[CheckpointArg::base()])
        };
        assert_eq!(
            name("models--meta-llama--Llama-3.2-1B/snapshots/4e20de362430cd3b72f300e6b0f18e50e7166e08"),
            "Llama-3.2-1B"
        );
        assert_eq!(name("tiny-llama"), "tiny-llama");
        let of_adapter = |folder: &str| {
            let folder = dir.path().join(folder);
            fs_err::create_dir_all(&folder).expect("created");
            let adapter = CheckpointArg::of_folder("last", folder);
            Folders::new(&mut Silent, false).run_name(dir.path(), &[adapter])
        };
        assert_eq!(
            of_adapter("models--someone--warmup-lora/snapshots/0c1d8f362430cd3b72f300e6b0f18e50e7166e08"),
            "warmup-lora"
        );
        assert_eq!(of_adapter("warmup/checkpoint-56"), "warmup");
    }

    #[test]
    fn checkpoints_come_in_the_order_of_their_numbers() {
        let dir = tempfile::tempdir().expect("a folder");
        for step in [112, 56, 224, 1000] {
            fs_err::create_dir(dir.path().join(format!("checkpoint-{step}"))).expect("created");
        }
        let pattern = format!("{}/checkpoint-*", dir.path().display());
        let names: Vec<String> =
            checkpoints(&[pattern]).expect("folders").into_iter().map(|c| c.name).collect();
        assert_eq!(names, ["checkpoint-56", "checkpoint-112", "checkpoint-224", "checkpoint-1000"]);
        let named =
            checkpoints(&[format!("last={}/checkpoint-224", dir.path().display())]).expect("a folder");
        assert_eq!(named[0].name, "last");
        assert!(checkpoints(&[format!("{}/nothing-*", dir.path().display())]).is_err());
        assert!(checkpoints(&[format!("x={}/checkpoint-*", dir.path().display())]).is_err());
        // A `=` in the path of a folder gives it no name.
        let rate = dir.path().join("lr=1e-4");
        fs_err::create_dir_all(rate.join("checkpoint-10")).expect("created");
        for text in [rate.join("checkpoint-10"), rate.join("checkpoint-*")] {
            let found = checkpoints(&[text.display().to_string()]).expect("a folder");
            assert_eq!((found[0].name.as_str(), found.len()), ("checkpoint-10", 1));
            let found = checkpoints(&[format!("new={}", text.display())]).expect("a folder");
            assert_eq!(
                (found[0].name.as_str(), found[0].folder()),
                ("new", Some(&*rate.join("checkpoint-10")))
            );
        }
        // The folder of the training: all of them are mostly meant.
        let folder = dir.path().display().to_string();
        let error = checkpoints(std::slice::from_ref(&folder)).expect_err("refused").to_string();
        let says = format!(
            "4 checkpoints of a training in it: name one, such as {folder}/checkpoint-1000, or, where \
             several are taken, '{folder}/checkpoint-*'"
        );
        assert!(error.ends_with(&says), "{error}");
    }
}
