//! Errors of finding or fetching a model, an adapter or a dataset.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use std::path::PathBuf;

use super::{HubRef, RepositoryKind};

/// Why a model, an adapter or a dataset could not be found or fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    #[error(
        "{}: there is no such folder, and it is not the name of a repository on the Hugging Face Hub either \
         (org/name or org/name@revision)", path.display()
    )]
    NoFolder { path: PathBuf },
    #[error("{} is a file, not a folder with {wanted}", path.display())]
    NotFolder { path: PathBuf, wanted: &'static str },
    #[error(
        "{reference}: there is no such folder; it may be a repository on the Hugging Face Hub, but this gstore was built without \
         the feature `hub`; download it and give the folder"
    )]
    NotBuilt { reference: HubRef },
    #[error(
        "{reference}: {} incomplete in the cache {} (missing: {lacking}) while HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set\n  \
         unset it to download{}",
        match kind {
            RepositoryKind::Model => "there is no such folder, and as a repository of the Hugging Face Hub it is",
            RepositoryKind::Dataset => "the dataset is",
        },
        cache.display(),
        match kind {
            RepositoryKind::Model => ", or give a folder",
            RepositoryKind::Dataset => "",
        }
    )]
    Offline { reference: String, kind: RepositoryKind, cache: PathBuf, lacking: String },
    #[error(
        "{reference}: {}the Hugging Face Hub has no such repository or revision, or does not show it to you: {message}\n  \
         check the name; for a private or gated one ask for access on its page and set HF_TOKEN",
        no_folder(*kind)
    )]
    Refused { reference: String, kind: RepositoryKind, message: String },
    #[error("{reference}: the repository has no {file}, which is needed here (at commit {commit})")]
    Lacking { reference: String, commit: String, file: String },
    #[error(
        "{text:?} is not a dataset of the Hub: write hf://org/name, with /configuration, @revision or #split"
    )]
    DataName { text: String },
    #[error("{reference}: the dataset has {message}")]
    Data { reference: String, message: String },
    #[error(
        "{reference}: no space is left for the download in {}; free some, or set HF_HUB_CACHE to a folder on another disk",
        cache.display()
    )]
    DiskFull { reference: String, cache: PathBuf },
    #[error("{reference}: the download cannot be written to the cache: {message}")]
    Unwritable { reference: String, message: String },
    #[error(
        "{reference}: {file} did not arrive as it is on the Hub ({message}); it was removed, run the command again"
    )]
    Damaged { reference: String, file: String, message: String },
    #[error("{reference}: {}the download from the Hugging Face Hub failed: {message}", no_folder(*kind))]
    Failed { reference: String, kind: RepositoryKind, message: String },
}

/// What is said first of a name that could have been a folder's.
fn no_folder(kind: RepositoryKind) -> &'static str {
    match kind {
        RepositoryKind::Model => "there is no such folder, and ",
        RepositoryKind::Dataset => "",
    }
}
