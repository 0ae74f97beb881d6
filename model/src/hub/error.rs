//! Errors of finding or fetching a model, an adapter or a dataset.

use std::path::PathBuf;

use super::HubRef;

/// Why a model or adapter could not be found or fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// No folder, and no name of a repository either.
    #[error(
        "{}: there is no such folder, and it is not the name of a repository on the Hugging Face Hub either \
         (org/name or org/name@revision)", path.display()
    )]
    NoFolder {
        /// What was given.
        path: PathBuf,
    },
    /// A file.
    #[error("{} is a file; a folder with {wanted} is wanted", path.display())]
    NotFolder {
        /// What was given.
        path: PathBuf,
        /// What the folder has.
        wanted: &'static str,
    },
    /// Built without downloads.
    #[error(
        "{reference}: there is no such folder; it may be a repository on the Hugging Face Hub, but this gstore was built without \
         the feature `hub`; download it and give the folder"
    )]
    NotBuilt {
        /// What was given.
        reference: HubRef,
    },
    /// Offline, and not in the cache.
    #[error(
        "{reference}: there is no such folder, and as a repository of the Hugging Face Hub it is not whole in the cache {} \
         (lacking: {lacking}) while HF_HUB_OFFLINE is set\n  unset it to download, or give a folder", cache.display()
    )]
    Offline {
        /// What was given.
        reference: HubRef,
        /// Folder of the cache.
        cache: PathBuf,
        /// What is missing.
        lacking: String,
    },
    /// Not there, or not for this user.
    #[error(
        "{reference}: there is no such folder, and the Hugging Face Hub has no such repository or revision, or does not show it to \
         you: {message}\n  check the name; for a private or gated one ask for access on its page and set HF_TOKEN"
    )]
    Refused {
        /// What was given.
        reference: HubRef,
        /// What the Hub says.
        message: String,
    },
    /// The repository is not what is needed.
    #[error("{reference}: the repository has no {file}, which is needed here (at commit {commit})")]
    Lacking {
        /// What was given.
        reference: HubRef,
        /// The commit.
        commit: String,
        /// What is missing.
        file: String,
    },
    /// Not the name of a dataset.
    #[error(
        "{text:?} is not a dataset of the Hub: write hf://org/name, with /configuration, @revision or #split"
    )]
    DataName {
        /// What was given.
        text: String,
    },
    /// A dataset without what was asked for.
    #[error("{reference}: the dataset has {message}")]
    Data {
        /// What was given.
        reference: String,
        /// What is wrong.
        message: String,
    },
    /// A dataset that could not be fetched.
    #[error("{reference}: the download from the Hugging Face Hub failed: {message}")]
    DataFailed {
        /// What was given.
        reference: String,
        /// What went wrong.
        message: String,
    },
    /// No room for the download.
    #[error(
        "{reference}: no space is left for the download in {}; free some, or set HF_HUB_CACHE to a folder on another disk",
        cache.display()
    )]
    DiskFull {
        /// What was given.
        reference: HubRef,
        /// Folder of the cache.
        cache: PathBuf,
    },
    /// What came is not what the Hub has.
    #[error(
        "{reference}: {file} did not arrive as it is on the Hub ({message}); it was removed, run the command again"
    )]
    Damaged {
        /// What was given.
        reference: HubRef,
        /// The file.
        file: String,
        /// The difference.
        message: String,
    },
    /// Anything else.
    #[error(
        "{reference}: there is no such folder, and the download from the Hugging Face Hub failed: {message}"
    )]
    Failed {
        /// What was given.
        reference: HubRef,
        /// What went wrong.
        message: String,
    },
}
