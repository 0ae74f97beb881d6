//! Folders of models, adapters and datasets: on this machine, or on the Hugging Face Hub.
//!
//! Rules
//! - a folder that exists is meant, whatever its name looks like; nothing is asked of the network then
//! - `org/name` or `org/name@revision` of no folder is a repository of the Hub; `./org/name` never is
//! - downloads go into the cache that all Hugging Face tools share, and only files that
//!   gstore reads are fetched
//! - `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE` and `TRANSFORMERS_OFFLINE` mean
//!   what they mean elsewhere
//! - without the feature `hub` everything but the download is there, and the error says how to get it

#[cfg(feature = "hub")]
mod cache;
mod data;
#[cfg(feature = "hub")]
mod environment;
mod error;
#[cfg(feature = "hub")]
mod fetch;
mod files;
#[cfg(feature = "hub")]
mod http;
mod reference;

use std::path::{Path, PathBuf};

pub use data::{DATA_PREFIX, ResolvedData, resolve_data};
pub use error::HubError;
pub use files::{FolderContent, RepositoryKind};
pub use reference::HubRef;

use gstore_core::Progress;

/// How the Hub is reached. What is `None` comes from the environment, as in every Hugging Face tool.
#[derive(Debug, Clone, Default)]
pub struct HubConfig {
    /// Address of the Hub.
    pub endpoint: Option<String>,
    /// Folder of the cache.
    pub cache: Option<PathBuf>,
    /// Who asks.
    pub token: Option<String>,
    /// Whether to ask nothing of the network.
    pub offline: bool,
}

impl HubConfig {
    /// What the environment says.
    pub fn from_env() -> Self {
        let on = |name: &str| std::env::var(name).is_ok_and(|value| is_true(&value));
        Self { offline: on("HF_HUB_OFFLINE") || on("TRANSFORMERS_OFFLINE"), ..Self::default() }
    }
}

fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

/// A folder, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedFolder {
    /// The folder on this machine.
    pub folder: PathBuf,
    /// The repository and the commit, if it came from the Hub.
    pub origin: Option<HubOrigin>,
}

/// A commit of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubOrigin {
    /// As it was asked for.
    pub reference: HubRef,
    /// What that was at the time.
    pub commit: String,
}

/// `org/name@revision(commit)`.
impl std::fmt::Display for HubOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}({})", self.reference.repo(), self.reference.revision(), self.commit)
    }
}

/// Finds a folder by path, or by the name of a repository of the Hub.
///
/// # Errors
/// Neither a folder nor such a name; a repository that cannot be reached, or lacks files that are needed.
pub fn resolve(
    text: &str,
    need: FolderContent,
    config: &HubConfig,
    progress: &mut dyn Progress,
) -> Result<ResolvedFolder, HubError> {
    let path = Path::new(text);
    if path.is_dir() {
        return Ok(ResolvedFolder { folder: path.to_owned(), origin: None });
    }
    if path.exists() {
        return Err(HubError::NotFolder { path: path.to_owned(), wanted: need.folder() });
    }
    let reference = HubRef::parse(text).ok_or_else(|| HubError::NoFolder { path: path.to_owned() })?;
    download(&reference, text, &need, config, progress)
}

#[cfg(feature = "hub")]
use fetch::download;

#[cfg(not(feature = "hub"))]
fn download(
    reference: &HubRef,
    _: &str,
    _: &dyn files::FileSelection,
    _: &HubConfig,
    _: &mut dyn Progress,
) -> Result<ResolvedFolder, HubError> {
    Err(HubError::NotBuilt { reference: reference.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gstore_core::Silent;

    #[test]
    fn a_folder_goes_before_a_repository_and_needs_no_network() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().display().to_string();
        let config = HubConfig { endpoint: Some("http://127.0.0.1:9".into()), ..HubConfig::default() };
        let found = resolve(&text, FolderContent::Model, &config, &mut Silent).unwrap();
        assert_eq!(found, ResolvedFolder { folder: dir.path().to_owned(), origin: None });
        for text in ["./no/such", "/no/such", "no-such", "a/b/c", "../a", "a/b@"] {
            let error = resolve(text, FolderContent::Model, &config, &mut Silent).unwrap_err();
            assert!(matches!(error, HubError::NoFolder { .. }), "{text}: {error}");
        }
        let file = dir.path().join("own.csv");
        fs_err::write(&file, "x").unwrap();
        let error =
            resolve(&file.display().to_string(), FolderContent::Model, &config, &mut Silent).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("own.csv is a file, not a folder with config.json and model.safetensors"),
            "{error}"
        );
    }

    #[test]
    fn what_counts_as_yes() {
        assert!(is_true("1") && is_true("true") && is_true("Yes") && is_true("on"));
        assert!(!is_true("0") && !is_true("") && !is_true("false"));
    }
}
