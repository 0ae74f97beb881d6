//! Downloads from the Hub into the cache.
//!
//! - one request tells the commit and its files with sizes and digests, of a large repository further ones
//!   tell the files page by page; what the cache has of them is not fetched
//! - a file gets its name when it is complete, a revision its commit when all files are there: a download
//!   that was killed leaves the snapshot before it in force, and the next one goes on where it stopped
//! - what the cache has is all of a commit only where a list of its files says so, which is kept once they
//!   are known: other tools, and other selections, leave parts. Where the Hub cannot be asked, a model
//!   without files that are not required is taken, with a note
//! - a revision goes on to the next commit with the first files of it. Where the Hub cannot be asked for
//!   more, an earlier commit of the revision that has all that is needed is taken, with a note
//! - of several processes one downloads a file, and the others wait for it

use std::fs::TryLockError;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use ureq::http::header::{CONTENT_RANGE, LINK};

use super::cache::{HubCache, RemoteFile, is_hex};
use super::files::{FileSelection, RepositoryKind};
use super::http::{FetchError, HubClient, retry_transient};
use super::{HubConfig, HubError, HubOrigin, HubRef, ResolvedFolder, environment};
use gstore_core::{Progress, Unit, is_full};

/// The longest answer that is read as a listing.
const LISTING: u64 = 64 << 20;

/// More files than this may not all be in the first answer.
const LISTED: usize = 1000;

/// Pages of a listing: of a thousand files each, more than any repository has.
const PAGES: usize = 10_000;

/// One repository, and who asks for it.
struct Download<'a> {
    reference: &'a HubRef,
    /// What errors call it.
    name: &'a str,
    selection: &'a dyn FileSelection,
    cache: &'a HubCache,
    client: HubClient,
}

/// The folder of a repository in the cache, with everything that is needed in it; `name` is what errors call
/// it.
pub(super) fn download(
    reference: &HubRef,
    name: &str,
    selection: &dyn FileSelection,
    config: &HubConfig,
    progress: &mut dyn Progress,
) -> Result<ResolvedFolder, HubError> {
    let cache =
        HubCache::new(config.cache.clone().unwrap_or_else(environment::cache), selection.kind(), reference);
    let found = cache.find(reference.revision()).ok_or_else(|| "everything".to_owned());
    let found = found.and_then(|folder| Cached::look(folder, &cache, selection));
    let found = found.or_else(|lacking| {
        let mut earlier = cache.earlier(reference.revision()).into_iter();
        let whole = earlier.find_map(|folder| Cached::look(folder, &cache, selection).ok());
        whole.map(|whole| whole.instead(&lacking)).ok_or(lacking)
    });
    let is_fixed = is_hex(reference.revision(), 40);
    let folder = match found {
        // A commit never changes, so there is nothing to ask.
        Ok(Cached { folder, doubt: None }) if config.offline || is_fixed => folder,
        Ok(Cached { folder, doubt: Some(doubt) }) if config.offline => {
            progress.note(&format!("{reference}: {doubt}; taking the files that are there"));
            folder
        }
        Err(lacking) if config.offline => {
            let (reference, kind) = (name.to_owned(), selection.kind());
            return Err(HubError::Offline { reference, kind, cache: cache.root, lacking });
        }
        cached => {
            let endpoint = config.endpoint.clone().or_else(|| environment::variable("HF_ENDPOINT"));
            let endpoint = endpoint.as_deref().unwrap_or("https://huggingface.co");
            let client = HubClient::new(endpoint, config.token.clone().or_else(environment::token));
            let downloaded =
                Download { reference, name, selection, cache: &cache, client }.download(progress);
            let unasked = |message: &str| Some(format!("the Hub cannot be asked ({message})"));
            let why = match &downloaded {
                Err(HubError::Failed { message, .. }) => unasked(message),
                // What a commit has is there for who may not see it any more.
                Err(HubError::Refused { message, .. }) if is_fixed => unasked(message),
                Err(HubError::Unwritable { message, .. }) => {
                    Some(format!("the cache cannot be written ({message})"))
                }
                Err(HubError::DiskFull { .. }) => Some("no space is left for the download".to_owned()),
                _ => None,
            };
            match (why, cached) {
                (Some(why), Ok(Cached { folder, doubt })) => {
                    let doubt = doubt.map_or_else(String::new, |doubt| format!(", and {doubt}"));
                    progress.note(&format!("{reference}: {why}{doubt}; taking what is in the cache"));
                    folder
                }
                _ => downloaded?,
            }
        }
    };
    let commit = commit_of(&folder);
    Ok(ResolvedFolder { folder, origin: Some(HubOrigin { reference: reference.clone(), commit }) })
}

/// The folder of a commit in which nothing is missed that is required.
struct Cached {
    folder: PathBuf,
    /// What may lack all the same; none: a list of the commit's files says that nothing does.
    doubt: Option<String>,
}

impl Cached {
    /// A folder with everything that is needed, as far as can be told; or what it lacks.
    fn look(folder: PathBuf, cache: &HubCache, selection: &dyn FileSelection) -> Result<Self, String> {
        let commit = commit_of(&folder);
        let all = cache.tree(&commit);
        // Files of other splits that are there do not tell which splits a dataset has; a list does.
        if (selection.kind() == RepositoryKind::Model || all.is_none())
            && let Some(lacking) = selection.missing_file(&folder)
        {
            return Err(lacking);
        }
        let Some(all) = all else {
            let doubt = "the cache does not tell which files the repository has".to_owned();
            return Ok(Self { folder, doubt: Some(doubt) });
        };
        let mut lacking = selected(selection, &folder, &all)?;
        lacking.retain(|file| !cache.is_linked(&commit, file));
        // Of a dataset only the list says what is required: all that is selected. What a model or an adapter
        // requires was found, so what is not there at all is optional; what is there in part is damaged.
        let is_required = |file: &RemoteFile| {
            selection.kind() == RepositoryKind::Dataset || folder.join(&file.name).exists()
        };
        if let Some(file) = lacking.iter().find(|file| is_required(file)) {
            return Err(file.name.clone());
        }
        let names: Vec<&str> = lacking.iter().map(|file| file.name.as_str()).collect();
        let doubt = (!names.is_empty()).then(|| format!("the cache lacks {}", names.join(", ")));
        Ok(Self { folder, doubt })
    }

    /// This as what is taken in place of a commit that lacks something.
    fn instead(self, lacking: &str) -> Self {
        let commit = commit_of(&self.folder);
        let mut doubt = format!(
            "the last commit is incomplete in the cache (missing: {lacking}), so this is commit {commit}"
        );
        self.doubt.iter().for_each(|own| doubt.push_str(&format!(", and {own}")));
        Self { doubt: Some(doubt), ..self }
    }
}

fn commit_of(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Those of all files of a commit that are read, as far as its folder tells.
fn selected<'f>(
    selection: &dyn FileSelection,
    folder: &Path,
    all: &'f [RemoteFile],
) -> Result<Vec<&'f RemoteFile>, String> {
    let names: Vec<&str> = all.iter().map(|file| file.name.as_str()).collect();
    Ok(selection.select(folder, &names)?.into_iter().filter_map(|at| all.get(at)).collect())
}

impl Download<'_> {
    fn download(&self, progress: &mut dyn Progress) -> Result<PathBuf, HubError> {
        let failed = |trouble: FetchError| self.error(trouble);
        let (commit, all) = self.listing().map_err(failed)?;
        let folder = self.cache.snapshot(&commit);
        // The index of the weights is there after the first time, and names others.
        for _ in 0..2 {
            let files = selected(self.selection, &folder, &all);
            let files = files.map_err(|why| failed(FetchError::Unfit(why)))?;
            self.bring(&commit, &files, progress).map_err(failed)?;
        }
        if let Some(file) = self.selection.missing_file(&folder) {
            return Err(HubError::Lacking { reference: self.name.to_owned(), commit, file });
        }
        // A cache that may only be read has all that is needed, too.
        if self.cache.tree(&commit).is_none() {
            let _ = self.cache.keep_tree(&commit, &all);
        }
        if let Err(error) = self.cache.note(self.reference.revision(), &commit) {
            progress.note(&format!(
                "{}: the cache cannot note that this is commit {commit} ({error}); without the Hub it has \
                 an earlier one, or none",
                self.reference
            ));
        }
        Ok(folder)
    }

    fn bring(
        &self,
        commit: &str,
        files: &[&RemoteFile],
        progress: &mut dyn Progress,
    ) -> Result<(), FetchError> {
        if files.iter().any(|file| file.digest.is_empty()) {
            return Err(odd());
        }
        let mut missing: Vec<&RemoteFile> =
            files.iter().copied().filter(|file| !self.cache.has(commit, file)).collect();
        missing.sort_by_key(|file| &file.digest);
        missing.dedup_by_key(|file| &file.digest);
        if !missing.is_empty() {
            let total = missing.iter().map(|file| file.size).sum();
            progress.start(&format!("downloading {}", self.reference), total, Unit::Bytes);
            let fetched = missing.into_iter().try_for_each(|file| self.fetch(commit, file, progress));
            progress.finish();
            fetched?;
        }
        Ok(files.iter().try_for_each(|file| self.cache.link(commit, file))?)
    }

    /// The commit and all of its files.
    fn listing(&self) -> Result<(String, Vec<RemoteFile>), FetchError> {
        let revision = self.reference.revision().replace('/', "%2F").replace('+', "%2B");
        let (kind, repo) = (self.selection.kind().plural(), self.reference.repo());
        let (listing, _) = self.json(&format!("api/{kind}/{repo}/revision/{revision}?blobs=true"))?;
        let commit = hex(&listing, "/sha", 40).ok_or_else(odd)?;
        let listed = listing.get("siblings").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let all: Vec<RemoteFile> = match listed.len() {
            1..=LISTED => listed.iter().filter_map(remote).collect(),
            _ => self.tree(&commit)?,
        };
        Ok((commit, all))
    }

    /// All files of a commit.
    fn tree(&self, commit: &str) -> Result<Vec<RemoteFile>, FetchError> {
        let (kind, repo) = (self.selection.kind().plural(), self.reference.repo());
        let mut path = format!("api/{kind}/{repo}/tree/{commit}?recursive=true");
        let mut all = Vec::new();
        for _ in 0..PAGES {
            let (page, next) = self.json(&path)?;
            let entries = page.as_array().ok_or_else(odd)?;
            let files = entries.iter().filter(|entry| entry.get("type").is_some_and(|kind| kind == "file"));
            all.extend(files.filter_map(remote));
            let Some(next) = next else { return Ok(all) };
            path = next;
        }
        Err(odd())
    }

    /// An answer in JSON, and the path of the page after it.
    fn json(&self, path: &str) -> Result<(Value, Option<String>), FetchError> {
        let (body, next) = retry_transient(|| {
            let response = self.client.get(path, 0)?;
            let link = response.headers().get(LINK).map(|link| link.to_str().unwrap_or_default().to_owned());
            let body = response.into_body().into_with_config().limit(LISTING).read_to_vec();
            Ok((body.map_err(|error| FetchError::Passing(error.to_string()))?, link))
        })?;
        let next = next.filter(|link| link.contains("rel=\"next\""));
        let next = next.map(|link| self.client.next_page(&link).ok_or_else(odd)).transpose()?;
        Ok((serde_json::from_slice(&body).map_err(|_| odd())?, next))
    }

    /// Brings a file into the cache, unless another process does so meanwhile.
    fn fetch(&self, commit: &str, file: &RemoteFile, progress: &mut dyn Progress) -> Result<(), FetchError> {
        let lock = self.cache.lock(file)?;
        let is_held = hold(&lock, &file.name, progress)?;
        if self.cache.has(commit, file) {
            progress.advance(file.size);
            return Ok(());
        }
        let mut told = 0;
        let mut tell = |have: u64| {
            let more = have.min(file.size).saturating_sub(told);
            progress.advance(more);
            told += more;
        };
        let blob = self.cache.blob(file);
        fs_err::create_dir_all(blob.parent().unwrap_or(&blob))?;
        // Where there are no locks, another download may write at the same time: to a file of its own, which
        // goes with this one.
        let own = if is_held { None } else { Some(self.cache.own_part(file)?) };
        let part = own.as_deref().map_or_else(|| blob.with_extension("incomplete"), Path::to_owned);
        if own.is_none() && file.is_small() && part.exists() {
            // Without a digest there is no way to tell whether what an earlier run left is sound.
            fs_err::remove_file(&part)?;
        }
        let url = format!(
            "{}{}/resolve/{commit}/{}",
            self.selection.kind().prefix(),
            self.reference.repo(),
            file.name
        );
        loop {
            let before = fs_err::metadata(&part).map_or(0, |part| part.len());
            match retry_transient(|| self.receive(&url, file.size, &part, &mut tell)) {
                Err(FetchError::Passing(_)) if fs_err::metadata(&part)?.len() > before => continue,
                received => received?,
            }
            let Some(message) = download_mismatch(&part, file)? else { break };
            fs_err::remove_file(&part)?;
            if before == 0 {
                return Err(FetchError::Damaged { file: file.name.clone(), message });
            }
        }
        Ok(fs_err::rename(part, blob)?)
    }

    /// Receives what a file lacks, and tells how much is there.
    fn receive(
        &self,
        url: &str,
        size: u64,
        part: &Path,
        tell: &mut dyn FnMut(u64),
    ) -> Result<(), FetchError> {
        let mut file = fs_err::OpenOptions::new().create(true).append(true).open(part)?;
        let mut have = file.metadata()?.len();
        tell(have);
        if have < size {
            let response = self.client.get(url, have)?;
            let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
            if have > 0 && !range.is_some_and(|range| range.starts_with(&format!("bytes {have}-"))) {
                // All of it comes again.
                file.set_len(0)?;
                have = 0;
            }
            // One byte too many is enough to see that it is another file.
            let mut body = response.into_body().into_reader().take(size - have + 1);
            let mut piece = vec![0; 1 << 18];
            loop {
                match body.read(&mut piece).map_err(|error| FetchError::Passing(error.to_string()))? {
                    0 => break,
                    n => {
                        file.write_all(piece.get(..n).unwrap_or_default())?;
                        have += n as u64;
                        tell(have);
                    }
                }
            }
        }
        // A loss of power does not take from a file that has its name.
        Ok(file.sync_all()?)
    }

    fn error(&self, trouble: FetchError) -> HubError {
        let (reference, kind) = (self.name.to_owned(), self.selection.kind());
        match trouble {
            FetchError::Refused(message) => HubError::Refused { reference, kind, message },
            FetchError::Unfit(message) => HubError::Data { reference, message },
            FetchError::Damaged { file, message } => HubError::Damaged { reference, file, message },
            FetchError::Disk(error) if is_full(&error) => {
                HubError::DiskFull { reference, cache: self.cache.root.clone() }
            }
            FetchError::Disk(error) => HubError::Unwritable { reference, message: error.to_string() },
            FetchError::Passing(message) | FetchError::Other(message) => {
                HubError::Failed { reference, kind, message }
            }
        }
    }
}

/// Takes a lock, once no other download has it. Whether it is held: some file systems have none.
fn hold(lock: &fs_err::File, name: &str, progress: &mut dyn Progress) -> io::Result<bool> {
    match lock.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => {
            progress.note(&format!("waiting for another download of {name}"));
            lock.lock().map(|()| true)
        }
        Err(TryLockError::Error(error)) if means_no_locks(&error) => Ok(false),
        Err(TryLockError::Error(error)) => {
            Err(io::Error::new(error.kind(), format!("the lock of {name} cannot be taken: {error}")))
        }
    }
}

/// Whether an error of a lock says that the file system has none.
fn means_no_locks(error: &io::Error) -> bool {
    error.kind() == ErrorKind::Unsupported || error.raw_os_error() == Some(libc::ENOLCK)
}

fn hex(value: &Value, at: &str, digits: usize) -> Option<String> {
    value.pointer(at)?.as_str().filter(|text| is_hex(text, digits)).map(str::to_owned)
}

fn odd() -> FetchError {
    FetchError::Other("the answer is not a listing of files with sizes and digests".to_owned())
}

/// A file of a listing; without a digest where it is not told with its size.
fn remote(file: &Value) -> Option<RemoteFile> {
    let name = ["rfilename", "path"].iter().find_map(|key| file.get(key)?.as_str())?.to_owned();
    let large = ["/lfs/sha256", "/lfs/oid"].iter().find_map(|at| hex(file, at, 64));
    let digest = large.or_else(|| ["/blobId", "/oid"].iter().find_map(|at| hex(file, at, 40)));
    let size = file.get("size").and_then(Value::as_u64);
    let digest = digest.filter(|_| size.is_some()).unwrap_or_default();
    Some(RemoteFile { name, size: size.unwrap_or_default(), digest })
}

/// How what arrived differs from what the Hub told.
fn download_mismatch(part: &Path, file: &RemoteFile) -> io::Result<Option<String>> {
    let mut arrived = fs_err::File::open(part)?;
    let found = arrived.metadata()?.len();
    if found != file.size || file.is_small() {
        return Ok((found != file.size).then(|| format!("{found} bytes, not {}", file.size)));
    }
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    while let n @ 1.. = arrived.read(&mut piece)? {
        hash.update(piece.get(..n).unwrap_or_default());
    }
    let sum = gstore_core::hex(&hash.finalize());
    Ok((sum != file.digest).then(|| "another SHA-256".to_owned()))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_where_there_are_no_locks_it_goes_without_one() {
        use fs_err::os::unix::fs::OpenOptionsExt;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lock");
        let lock = fs_err::File::create(&path).unwrap();
        assert!(hold(&lock, "a", &mut gstore_core::Silent).unwrap());
        // A file that is only named cannot be locked.
        let named = fs_err::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&path).unwrap();
        let error = hold(&named, "a", &mut gstore_core::Silent).unwrap_err();
        assert!(error.to_string().starts_with("the lock of a cannot be taken: "), "{error}");
        let means_no_locks = |code| means_no_locks(&io::Error::from_raw_os_error(code));
        assert!([libc::ENOLCK, libc::EOPNOTSUPP, libc::ENOSYS].into_iter().all(means_no_locks));
        assert!(![libc::EBADF, libc::EINTR, libc::EIO].into_iter().any(means_no_locks));
    }
}
