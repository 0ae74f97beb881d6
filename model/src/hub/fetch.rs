//! Downloads through `hf-hub`, and the cache.
//!
//! What the library leaves open is closed here: it knows no offline switch, calls a snapshot with missing files whole, and stores
//! whatever body a server sends; so files are looked for by name, and compared with the size and digest that the Hub tells.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use hf_hub::repository::RepoTreeEntry;
use hf_hub::{HFClient, HFClientSync, HFError, HFRepositorySync, RepoTypeModel};
use sha2::{Digest, Sha256};

use super::watch::watched;
use super::{HubConfig, HubError, HubOrigin, HubRef, Need, Resolved};
use gstore_core::Progress;

/// One repository, and who asks for it.
struct Fetch<'a> {
    reference: &'a HubRef,
    need: Need,
    repository: HFRepositorySync<RepoTypeModel>,
    cache: PathBuf,
}

/// The folder of a repository in the cache, with everything that is needed in it.
pub(super) fn download(
    reference: &HubRef,
    need: Need,
    config: &HubConfig,
    progress: &mut dyn Progress,
) -> Result<Resolved, HubError> {
    let failed = |error: HFError| HubError::Failed { reference: reference.clone(), message: text_of(&error) };
    let client = client(config).map_err(failed)?;
    let cache = client.cache_dir().to_owned();
    let repository =
        HFClientSync::from_inner(client).map_err(failed)?.model(reference.org(), reference.name());
    let fetch = Fetch { reference, need, repository, cache };
    let cached = fetch.cached();
    if config.offline {
        return match cached {
            Ok(folder) => Ok(fetch.resolved(folder)),
            Err(lacking) => {
                Err(HubError::Offline { reference: reference.clone(), cache: fetch.cache, lacking })
            }
        };
    }
    match cached {
        // A commit never changes, so there is nothing to ask.
        Ok(folder) if is_commit(reference.revision()) => Ok(fetch.resolved(folder)),
        cached => match (fetch.download(progress), cached) {
            (Err(HubError::Failed { message, .. }), Ok(folder)) => {
                progress.note(&format!(
                    "{reference}: the Hub cannot be asked ({message}); taking what is in the cache"
                ));
                Ok(fetch.resolved(folder))
            }
            (downloaded, _) => downloaded.map(|folder| fetch.resolved(folder)),
        },
    }
}

fn client(config: &HubConfig) -> Result<HFClient, HFError> {
    let mut builder = HFClient::builder().user_agent(concat!("gstore/", env!("CARGO_PKG_VERSION")));
    if let Some(endpoint) = &config.endpoint {
        builder = builder.endpoint(endpoint);
    }
    if let Some(cache) = &config.cache {
        builder = builder.cache_dir(cache);
    }
    if let Some(token) = &config.token {
        builder = builder.token(token);
    }
    builder.build()
}

impl Fetch<'_> {
    /// The snapshot in the cache if it is whole, else what it lacks.
    fn cached(&self) -> Result<PathBuf, String> {
        let revision = self.reference.revision();
        let snapshot = self.repository.snapshot_download().revision(revision).local_files_only(true).send();
        let folder = snapshot.map_err(|_| "everything".to_owned())?;
        self.need.lacking(&folder).map_or(Ok(folder), Err)
    }

    fn resolved(&self, folder: PathBuf) -> Resolved {
        let commit = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let origin = HubOrigin { reference: self.reference.clone(), commit };
        Resolved { folder, origin: Some(origin) }
    }

    fn download(&self, progress: &mut dyn Progress) -> Result<PathBuf, HubError> {
        let before = self.blobs();
        let stage = format!("downloading {}", self.reference);
        let snapshot = watched(&stage, progress, |watch| {
            self.repository
                .snapshot_download()
                .revision(self.reference.revision())
                .allow_patterns(self.need.patterns())
                .progress(watch)
                .send()
        });
        let folder = snapshot.map_err(|error| self.error(&error))?;
        self.check(&folder, &before)?;
        if let Some(file) = self.need.lacking(&folder) {
            let commit = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(HubError::Lacking { reference: self.reference.clone(), commit, file });
        }
        Ok(folder)
    }

    /// Names of the files that the cache has of the repository.
    fn blobs(&self) -> HashSet<OsString> {
        let folder = format!("models--{}--{}", self.reference.org(), self.reference.name());
        let Ok(entries) = fs_err::read_dir(self.cache.join(folder).join("blobs")) else {
            return HashSet::new();
        };
        entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect()
    }

    /// Compares what arrived with what the Hub has: sizes, and the digest that is the name of a large file.
    fn check(&self, folder: &Path, before: &HashSet<OsString>) -> Result<(), HubError> {
        let commit = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let failed = |message: String| HubError::Failed { reference: self.reference.clone(), message };
        let listed =
            self.repository.list_tree().revision(commit).send().map_err(|error| self.error(&error))?;
        for entry in listed {
            let RepoTreeEntry::File { path: file, size, .. } = entry else { continue };
            let pointer = folder.join(&file);
            let Ok(blob) = fs_err::canonicalize(&pointer) else { continue };
            let found = fs_err::metadata(&blob).map_err(|error| failed(error.to_string()))?.len();
            let mut wrong = (found != size).then(|| format!("{found} bytes, not {size}"));
            let name = blob.file_name().unwrap_or_default();
            let digest = name.to_str().filter(|name| name.len() == 64 && is_hex(name));
            if let (None, Some(digest), false) = (&wrong, digest, before.contains(name)) {
                let sum = sha256(&blob).map_err(|error| failed(error.to_string()))?;
                wrong = (sum != digest).then(|| "another SHA-256".to_owned());
            }
            if let Some(message) = wrong {
                for path in [&pointer, &blob] {
                    // What cannot be removed is found wrong again the next time.
                    let _ = fs_err::remove_file(path);
                }
                return Err(HubError::Damaged { reference: self.reference.clone(), file, message });
            }
        }
        Ok(())
    }

    fn error(&self, error: &HFError) -> HubError {
        let reference = self.reference.clone();
        let message = text_of(error);
        match error {
            HFError::AuthRequired { .. }
            | HFError::Forbidden { .. }
            | HFError::RepoNotFound { .. }
            | HFError::RevisionNotFound { .. } => HubError::Refused { reference, message },
            HFError::Http { context } if matches!(context.status.as_u16(), 401 | 403 | 404) => {
                HubError::Refused { reference, message }
            }
            _ if is_disk_full(error) => HubError::DiskFull { reference, cache: self.cache.clone() },
            HFError::CacheLockTimeout { .. } => {
                let message =
                    format!("another process is downloading it ({message}); try again when it is done");
                HubError::Failed { reference, message }
            }
            _ => HubError::Failed { reference, message },
        }
    }
}

/// The error and its causes, as far as they say something new.
fn text_of(error: &HFError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn is_disk_full(error: &HFError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::StorageFull)
        {
            return true;
        }
        cause = error.source();
    }
    // The transfer library gives the text of the system's error only.
    matches!(error, HFError::Io(e) if e.kind() == std::io::ErrorKind::StorageFull)
        || error.to_string().contains("No space left on device")
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && is_hex(revision)
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = fs_err::File::open(path)?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => hash.update(piece.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
