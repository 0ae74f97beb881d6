//! The cache that all Hugging Face tools share.
//!
//! ```text
//! models--org--name/blobs/DIGEST             a whole file; DIGEST.incomplete while it arrives, or
//!                                            DIGEST.RANDOM.gstore-part where there are no locks
//! models--org--name/snapshots/COMMIT/FILE    a link to one of them
//! models--org--name/refs/REVISION            the commit of a branch or tag
//! models--org--name/refs.gstore/REVISION.commits which ones gstore knows it was, the last one last
//! models--org--name/trees/COMMIT.json        all files of a commit, as huggingface_hub lists them
//! models--org--name/trees/COMMIT.gstore.json the same, where gstore did: it knows less of them
//! .locks/models--org--name/DIGEST.lock       locked by who downloads the file
//! ```
//! Those of datasets begin with `datasets--`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tempfile::{NamedTempFile, TempPath};

use super::HubRef;
use super::files::RepositoryKind;

/// What the name of a part ends in.
const PART: &str = ".gstore-part";

/// A part that was not written to for so long belongs to no running process.
const LEFT: Duration = Duration::from_secs(24 * 60 * 60);

/// So many commits of a revision are known at most.
const COMMITS: usize = 32;

/// The version of the form of lists of files.
const TREE_FORMAT: u64 = 1;

pub(super) struct RemoteFile {
    pub(super) name: String,
    pub(super) size: u64,
    /// SHA-256 of a large file in 64 digits, git's name of another in 40; empty if neither is told.
    pub(super) digest: String,
}

impl RemoteFile {
    /// Whether only its size can be checked.
    pub(super) fn is_small(&self) -> bool {
        self.digest.len() != 64
    }
}

/// What the cache has of a repository.
pub(super) struct HubCache {
    pub(super) root: PathBuf,
    repository: String,
}

impl HubCache {
    pub(super) fn new(root: PathBuf, kind: RepositoryKind, reference: &HubRef) -> Self {
        let (kind, org, name) = (kind.plural(), reference.org(), reference.name());
        Self { root, repository: format!("{kind}--{org}--{name}") }
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join(&self.repository).join("snapshots").join(commit)
    }

    pub(super) fn blob(&self, file: &RemoteFile) -> PathBuf {
        self.root.join(&self.repository).join("blobs").join(&file.digest)
    }

    fn revision(&self, revision: &str) -> PathBuf {
        self.root.join(&self.repository).join("refs").join(revision)
    }

    /// The snapshot that a revision was when it was last asked for.
    pub(super) fn find(&self, revision: &str) -> Option<PathBuf> {
        let noted = fs_err::read_to_string(self.revision(revision));
        let commit = if is_hex(revision, 40) { revision.to_owned() } else { noted.ok()?.trim().to_owned() };
        Some(self.snapshot(&commit)).filter(|folder| is_hex(&commit, 40) && folder.is_dir())
    }

    /// The snapshots that a revision was when it was asked for, the last one first. No others are taken for
    /// it: those of other branches are in the same folder.
    pub(super) fn earlier(&self, revision: &str) -> Vec<PathBuf> {
        let commits = fs_err::read_to_string(self.commits(revision)).unwrap_or_default();
        let snapshots = commits.lines().rev().filter(|commit| is_hex(commit, 40));
        snapshots.map(|commit| self.snapshot(commit)).filter(|folder| folder.is_dir()).collect()
    }

    fn commits(&self, revision: &str) -> PathBuf {
        self.root.join(&self.repository).join("refs.gstore").join(format!("{revision}.commits"))
    }

    /// Notes what commit a revision is, and that it was the one noted before.
    pub(super) fn note(&self, revision: &str, commit: &str) -> io::Result<()> {
        if revision == commit {
            return Ok(());
        }
        let path = self.revision(revision);
        let noted = fs_err::read_to_string(&path).unwrap_or_default();
        if noted.trim() != commit {
            self.put(&path, commit)?;
        }
        // Without its earlier commits the revision is the right one: a cache that may only be read has none.
        let _ = self.note_commits(revision, [noted.trim(), commit]);
        Ok(())
    }

    /// Puts commits at the end of the list of those that a revision was.
    fn note_commits(&self, revision: &str, last: [&str; 2]) -> io::Result<()> {
        let path = self.commits(revision);
        let noted = fs_err::read_to_string(&path).unwrap_or_default();
        let mut commits: Vec<&str> = noted.lines().collect();
        for commit in last.into_iter().filter(|commit| is_hex(commit, 40)) {
            commits.retain(|other| *other != commit);
            commits.push(commit);
        }
        let commits = commits[commits.len().saturating_sub(COMMITS)..].join("\n");
        if noted == commits { Ok(()) } else { self.put(&path, &commits) }
    }

    /// Writes a file that is there in whole or not at all, whatever stops this. Until it is whole it is where
    /// no tool looks for revisions.
    fn put(&self, path: &Path, text: &str) -> io::Result<()> {
        fs_err::create_dir_all(path.parent().unwrap_or(path))?;
        let mut part =
            new_part(&self.root.join(&self.repository), ".", |part| fs_err::File::create_new(part))?;
        remove_leftovers(part.path());
        part.as_file_mut().write_all(text.as_bytes())?;
        part.as_file_mut().sync_all()?;
        fs_err::rename(part.path(), path)
    }

    /// All files of a commit, if it was listed once.
    pub(super) fn tree(&self, commit: &str) -> Option<Vec<RemoteFile>> {
        let file = |(name, file): (&String, &Value)| {
            let told = |key: &str, digits| file.get(key)?.as_str().filter(|text| is_hex(text, digits));
            // One without a digest is listed like any other; it is an error only where it is wanted.
            let digest = told("lfs_sha256", 64).or_else(|| told("blob_id", 40)).unwrap_or_default();
            let size = file.get("size")?.as_u64()?;
            Some(RemoteFile { name: name.clone(), size, digest: digest.to_owned() })
        };
        let read = |path: PathBuf| -> Option<Vec<RemoteFile>> {
            let list: Value = serde_json::from_slice(&fs_err::read(path).ok()?).ok()?;
            let files = list.get("files").filter(|_| list["format_version"] == TREE_FORMAT)?.as_object()?;
            files.iter().map(file).collect()
        };
        ["", ".gstore"].into_iter().find_map(|tool| read(self.tree_path(commit, tool)))
    }

    /// Notes all files of a commit.
    pub(super) fn keep_tree(&self, commit: &str, files: &[RemoteFile]) -> io::Result<()> {
        let entry = |file: &RemoteFile| {
            let key = if file.is_small() { "blob_id" } else { "lfs_sha256" };
            (file.name.clone(), json!({ "size": file.size, key: file.digest }))
        };
        let files: Map<String, Value> = files.iter().map(entry).collect();
        let list = json!({ "format_version": TREE_FORMAT, "files": files });
        self.put(&self.tree_path(commit, ".gstore"), &list.to_string())
    }

    fn tree_path(&self, commit: &str, tool: &str) -> PathBuf {
        self.root.join(&self.repository).join("trees").join(format!("{commit}{tool}.json"))
    }

    /// Whether a file is in a snapshot in its size.
    pub(super) fn is_linked(&self, commit: &str, file: &RemoteFile) -> bool {
        is_whole(&self.snapshot(commit).join(&file.name), file)
    }

    /// Whether a file is there in its size; some tools store it in the snapshot itself.
    pub(super) fn has(&self, commit: &str, file: &RemoteFile) -> bool {
        is_whole(&self.blob(file), file) || self.is_linked(commit, file)
    }

    /// Puts a file into a snapshot. The link gets its name by a rename: while others do the same, the file is
    /// never missing once it was there.
    pub(super) fn link(&self, commit: &str, file: &RemoteFile) -> io::Result<()> {
        let link = self.snapshot(commit).join(&file.name);
        if is_whole(&link, file) {
            return Ok(());
        }
        let folder = link.parent().map_or_else(|| self.snapshot(commit), Path::to_owned);
        fs_err::create_dir_all(&folder)?;
        let target =
            Path::new(&"../".repeat(2 + file.name.matches('/').count())).join("blobs").join(&file.digest);
        let part = new_part(&folder, ".", |part| fs_err::os::unix::fs::symlink(&target, part))?;
        fs_err::rename(part.path(), &link)
    }

    /// A file that a download has for itself.
    pub(super) fn own_part(&self, file: &RemoteFile) -> io::Result<TempPath> {
        let blobs = self.root.join(&self.repository).join("blobs");
        let start = format!("{}.", file.digest);
        let part = new_part(&blobs, &start, |part| fs_err::File::create_new(part))?;
        remove_leftovers(part.path());
        Ok(part.into_temp_path())
    }

    /// The lock file of a download, held while it runs.
    pub(super) fn lock(&self, file: &RemoteFile) -> io::Result<fs_err::File> {
        let folder = self.root.join(".locks").join(&self.repository);
        fs_err::create_dir_all(&folder)?;
        fs_err::File::create(folder.join(format!("{}.lock", file.digest)))
    }
}

/// Makes what is renamed when it is whole, under a name that it alone has: processes of other containers and
/// hosts may have the same number. It goes when it is dropped, unless it was renamed.
fn new_part<T>(
    folder: &Path,
    start: &str,
    make: impl FnMut(&Path) -> io::Result<T>,
) -> io::Result<NamedTempFile<T>> {
    tempfile::Builder::new().prefix(start).suffix(PART).make_in(folder, make)
}

/// Removes the parts next to a new one that killed processes left.
fn remove_leftovers(new: &Path) {
    // All times are of the clock of the file system, which may go otherwise than that of this host.
    let Ok(now) = fs_err::metadata(new).and_then(|new| new.modified()) else { return };
    let is_left = |entry: &fs_err::DirEntry| {
        let is_part = entry.file_name().as_encoded_bytes().ends_with(PART.as_bytes());
        let age = || now.duration_since(entry.metadata().ok()?.modified().ok()?).ok();
        is_part && age().is_some_and(|age| age > LEFT)
    };
    let entries = fs_err::read_dir(new.parent().unwrap_or(new)).into_iter().flatten().flatten();
    entries.filter(is_left).for_each(|entry| drop(fs_err::remove_file(entry.path())));
}

fn is_whole(path: &Path, file: &RemoteFile) -> bool {
    fs_err::metadata(path).is_ok_and(|found| found.len() == file.size)
}

/// Whether a text has so many hexadecimal digits, as the names of commits and files do.
pub(super) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(root: &Path) -> HubCache {
        HubCache::new(root.to_owned(), RepositoryKind::Model, &HubRef::parse("org/tiny").unwrap())
    }

    #[test]
    fn the_commits_of_a_revision_are_known_in_their_order() {
        for digits in [["1", "2", "3"], ["3", "2", "1"], ["2", "3", "1"]] {
            let dir = tempfile::tempdir().unwrap();
            let cache = cache(dir.path());
            let [a, b, c] = digits.map(|digit| digit.repeat(40));
            let folders = |commits: &[&String]| commits.iter().map(|c| cache.snapshot(c)).collect::<Vec<_>>();
            folders(&[&a, &b, &c]).iter().for_each(|folder| fs_err::create_dir_all(folder).unwrap());
            for commit in [&a, &b, &a, &a, &c] {
                cache.note("main", commit).unwrap();
                assert_eq!(cache.find("main"), Some(cache.snapshot(commit)));
            }
            assert_eq!(cache.earlier("main"), folders(&[&c, &a, &b]));
            assert_eq!(cache.earlier("v1"), folders(&[]));
            // What another tool noted was the revision as well.
            fs_err::write(cache.revision("main"), &b).unwrap();
            cache.note("main", &a).unwrap();
            assert_eq!(cache.earlier("main"), folders(&[&a, &b, &c]));
            // No more than so many are kept, nor is one that is gone taken.
            fs_err::remove_dir_all(cache.snapshot(&a)).unwrap();
            for at in 0..COMMITS - 1 {
                cache.note("main", &format!("{at:040x}")).unwrap();
            }
            assert_eq!(cache.earlier("main"), folders(&[]));
            assert_eq!(fs_err::read_to_string(cache.commits("main")).unwrap().lines().count(), COMMITS);
        }
    }

    #[test]
    fn a_revision_is_noted_where_its_earlier_commits_cannot_be() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, commit) = (cache(dir.path()), "a".repeat(40));
        fs_err::create_dir_all(cache.snapshot(&commit)).unwrap();
        // It stands in the way of a folder.
        fs_err::write(dir.path().join("models--org--tiny/refs.gstore"), "").unwrap();
        cache.note("main", &commit).unwrap();
        assert_eq!(cache.find("main"), Some(cache.snapshot(&commit)));
    }

    #[test]
    fn parts_go_and_those_that_were_left_with_them() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, root) = (cache(dir.path()), dir.path().join("models--org--tiny"));
        let blobs = root.join("blobs");
        fs_err::create_dir_all(&blobs).unwrap();
        let put = |path: PathBuf, age: Duration| {
            let file = fs_err::File::create(path).unwrap();
            file.set_modified(std::time::SystemTime::now() - age).unwrap();
        };
        for folder in [&root, &blobs] {
            put(folder.join(format!(".left{PART}")), LEFT * 2);
            put(folder.join(format!(".new{PART}")), LEFT / 2);
            put(folder.join("0a.incomplete"), LEFT * 2);
        }
        let names = |folder: &Path| {
            let entries = fs_err::read_dir(folder).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let new = format!(".new{PART}");
        cache.put(&root.join("refs/main"), "text").unwrap();
        assert_eq!(names(&root), [new.as_str(), "0a.incomplete", "blobs", "refs"]);
        assert_eq!(names(&root.join("refs")), ["main"]);
        // A part that cannot be renamed goes.
        assert!(cache.put(&root.join("refs"), "text").is_err());
        assert_eq!(names(&root), [new.as_str(), "0a.incomplete", "blobs", "refs"]);

        let file = RemoteFile { name: "data/a".to_owned(), size: 4, digest: "1b".to_owned() };
        let parts = [(); 2].map(|()| cache.own_part(&file).unwrap());
        assert_eq!(names(&blobs).len(), 4);
        assert!(parts.iter().all(|part| part.file_name().unwrap().to_str().unwrap().starts_with("1b.")));
        fs_err::write(&parts[0], "text").unwrap();
        fs_err::rename(&parts[0], cache.blob(&file)).unwrap();
        drop(parts);
        assert_eq!(names(&blobs), [new.as_str(), "0a.incomplete", "1b"]);
        cache.link("c", &file).unwrap();
        assert_eq!(fs_err::read(cache.snapshot("c").join("data/a")).unwrap(), b"text");
        assert_eq!(names(&cache.snapshot("c").join("data")), ["a"]);
    }
}
