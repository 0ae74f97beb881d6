//! Versions of resources: digests of files, and of what a store holds now.
//!
//! Invariants
//! - the versions of samples and features depend on what they are and on their live rows, which are never
//!   changed in place: merging files of the store changes no version
//! - a file's digest is taken from an earlier look only where length, inode and times of change are the same
//!   and the change was over when it was looked at

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use gstore_core::{Cancel, Digest, RowSet, if_there, xxh3_hex};
use gstore_store::{Checks, RunCheckpoint, Snapshot, Store};
use xxhash_rust::xxh3::Xxh3;

use super::resource::is_pattern;
use super::{FileNote, Resource};

/// Folders below one another that are looked into.
const DEPTH: usize = 64;

/// A file that was changed less than so many nanoseconds before a look may be changed again at the same time.
const SETTLED: i128 = 2_000_000_000;

/// Finds versions, and remembers those of files.
#[derive(Debug, Default)]
pub struct Versions {
    base: PathBuf,
    /// Digests of files, by path.
    pub files: BTreeMap<String, FileNote>,
    /// Where it is raised, no file is read any further, and a version that follows from one is an error.
    pub cancel: Option<Arc<Cancel>>,
}

/// A file that is read until that is told to stop.
struct StoppableFile<'c> {
    file: fs_err::File,
    cancel: Option<&'c Cancel>,
}

impl Read for StoppableFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.cancel.is_some_and(Cancel::is_raised) {
            true => Err(io::Error::other("stopped")),
            false => self.file.read(buffer),
        }
    }
}

impl Versions {
    /// Of resources whose paths begin at `base`.
    pub fn new(base: PathBuf) -> Self {
        Self { base, ..Self::default() }
    }

    /// The version of a resource now; `None` if it is not there.
    pub fn of(&mut self, resource: &Resource) -> Result<Option<String>> {
        let store = match resource {
            Resource::Path(path) => return self.of_path(path),
            of_store => of_store.store(),
        };
        let Some(snapshot) = store.map(|store| self.snapshot(store)).transpose()?.flatten() else {
            return Ok(None);
        };
        Ok(match resource {
            Resource::Path(_) => None,
            Resource::Store { .. } => Some(snapshot.digest().to_string()),
            Resource::Samples { dataset, .. } => {
                let Ok(part) = snapshot.dataset(dataset) else { return Ok(None) };
                let mut hash = Xxh3::new();
                hash.update(snapshot.info().store.as_bytes());
                hash.update(&part.number.to_le_bytes());
                update_rows(&mut hash, snapshot.live_rows(part)?.as_ref());
                Some(Digest::of_hashed(&hash).to_string())
            }
            Resource::Features { dataset, run, .. } => features(&snapshot, dataset, run.as_deref())?,
            Resource::Runs { dataset, .. } => runs(&snapshot, dataset),
            Resource::Artifact { name, .. } => {
                let Ok(part) = snapshot.artifact(name) else { return Ok(None) };
                Some(xxh3_hex(serde_json::to_string(&part.content)?.as_bytes()))
            }
            Resource::Run { run, .. } => {
                let Ok(part) = snapshot.run(run) else { return Ok(None) };
                Some(xxh3_hex(part.checkpoints.iter().map(line).collect::<String>().as_bytes()))
            }
            Resource::Tag { name, .. } => snapshot.tag(name).ok().map(|tag| tag.snapshot.to_string()),
            Resource::View { name, .. } => snapshot.view(name).ok().map(|view| xxh3_hex(view.sql.as_bytes())),
        })
    }

    fn snapshot(&self, store: &Path) -> Result<Option<Arc<Snapshot>>> {
        let store = Store::open_if_there(self.base.join(store))?;
        Ok(store.map(|store| store.snapshot()).transpose()?)
    }

    /// The paths that a path or a pattern means and that are there.
    pub fn found(base: &Path, path: &Path) -> Vec<PathBuf> {
        let whole = base.join(path);
        if whole.exists() {
            return vec![whole];
        }
        if !is_pattern(path) {
            return Vec::new();
        }
        // What looks like a pattern in the name of the pipeline's own folder is none.
        let base = glob::Pattern::escape(&base.to_string_lossy());
        let matches = glob::glob(&Path::new(&base).join(path).to_string_lossy());
        matches.map_or_else(|_| Vec::new(), |matches| matches.flatten().collect())
    }

    fn of_path(&mut self, path: &Path) -> Result<Option<String>> {
        let mut found = Self::found(&self.base, path);
        found.sort();
        if found.is_empty() {
            return Ok(None);
        }
        if let [file] = found.as_slice()
            && fs_err::metadata(file)?.is_file()
        {
            return Ok(Some(self.of_file(file)?));
        }
        let mut files = Vec::new();
        for path in &found {
            list(path, 0, &mut files)?;
        }
        let mut hash = Xxh3::new();
        for file in files {
            let name = file.strip_prefix(&self.base).unwrap_or(&file).to_string_lossy().into_owned();
            hash.update(format!("{}:{name}", name.len()).as_bytes());
            hash.update(self.of_file(&file)?.as_bytes());
        }
        Ok(Some(Digest::of_hashed(&hash).to_string()))
    }

    fn of_file(&mut self, path: &Path) -> Result<String> {
        let found = match if_there(fs_err::metadata(path))? {
            Some(found) if found.is_file() => found,
            // Pipes and the like have no bytes of their own.
            Some(_) => return Ok("no file".to_owned()),
            None => return Ok(format!("link to {}", fs_err::read_link(path)?.display())),
        };
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        let touched = nanoseconds(found.ctime(), found.ctime_nsec());
        let changed = format!("{} {touched}", nanoseconds(found.mtime(), found.mtime_nsec()));
        let (len, inode) = (found.len(), found.ino());
        let key = path.strip_prefix(&self.base).unwrap_or(path).to_string_lossy().into_owned();
        if let Some(note) = self.files.get(&key)
            && (note.len, note.inode, &note.changed) == (len, inode, &changed)
        {
            return Ok(note.digest.clone());
        }
        let file = StoppableFile { file: fs_err::File::open(path)?, cancel: self.cancel.as_deref() };
        let digest = Digest::of_read(file)?.to_string();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let settled = now.and_then(|now| i128::try_from(now.as_nanos()).ok()).map(|now| now - touched);
        if settled.is_some_and(|age| age > SETTLED) {
            self.files.insert(key, FileNote { len, inode, changed, digest: digest.clone() });
        } else {
            self.files.remove(&key);
        }
        Ok(digest)
    }
}

fn update_rows(hash: &mut Xxh3, rows: &RowSet) {
    for range in rows.ranges() {
        hash.update(&range.start.to_le_bytes());
        hash.update(&range.end.to_le_bytes());
    }
}

/// The features of a dataset: what they are and which live rows they have.
fn features(snapshot: &Snapshot, dataset: &str, run: Option<&str>) -> Result<Option<String>> {
    let checkpoints = run.and_then(|run| snapshot.run(run).ok()).map(|run| &run.checkpoints);
    let of_run = |desc: &gstore_core::FeatureDesc| match (run, checkpoints) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(_), Some(own)) => own.iter().any(|c| desc.checkpoint.as_ref() == Some(&c.checkpoint)),
    };
    let mut parts: Vec<_> = snapshot.features_of(dataset).into_iter().filter(|p| of_run(&p.desc)).collect();
    if parts.is_empty() {
        return Ok(None);
    }
    parts.sort_by(|a, b| a.key.cmp(&b.key));
    // Digests would be over the vectors as well, which are many more bytes than their rows.
    let unchecked = snapshot.with_checks(Checks::Off);
    let mut hash = Xxh3::new();
    hash.update(snapshot.info().store.as_bytes());
    for part in parts {
        hash.update(part.key.as_bytes());
        hash.update(&part.number.to_le_bytes());
        update_rows(&mut hash, &unchecked.feature_rows(part)?);
    }
    Ok(Some(Digest::of_hashed(&hash).to_string()))
}

/// The runs that have features of a dataset, whatever their order in the store: each with those of its
/// checkpoints, in its order, that have some.
fn runs(snapshot: &Snapshot, dataset: &str) -> Option<String> {
    let features = snapshot.features_of(dataset);
    if features.is_empty() {
        return None;
    }
    let has_some = |c: &&RunCheckpoint| {
        features.iter().any(|feature| feature.desc.checkpoint.as_ref() == Some(&c.checkpoint))
    };
    let mut texts = Vec::new();
    for run in snapshot.runs() {
        let checkpoints: String = run.checkpoints.iter().filter(has_some).map(line).collect();
        if !checkpoints.is_empty() {
            texts.push(format!("{}\n{checkpoints}\n", run.name));
        }
    }
    texts.sort();
    Some(xxh3_hex(texts.concat().as_bytes()))
}

/// What a reader takes of a checkpoint of a run.
fn line(c: &RunCheckpoint) -> String {
    format!("{} {:?} {:?} {}\n", c.name, c.step, c.weight, c.checkpoint)
}

/// The files in a folder and in those below it, by name.
fn list(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    if depth > DEPTH {
        bail!("{}: more than {DEPTH} folders below one another", path.display());
    }
    if if_there(fs_err::metadata(path))?.is_none_or(|found| !found.is_dir()) {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries: std::io::Result<Vec<_>> = fs_err::read_dir(path)?.collect();
    let mut paths: Vec<PathBuf> = entries?.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().try_for_each(|path| list(path, depth + 1, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_follow_the_bytes() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut versions = Versions::new(dir.path().to_owned());
        let path = |text: &str| Resource::path(dir.path(), text);
        let mut of = |text: &str| versions.of(&path(text)).expect("readable");
        assert_eq!((of("a.txt"), of("*.txt"), of("in")), (None, None, None));
        fs_err::create_dir(dir.path().join("in")).expect("made");
        for (name, text) in [("a.txt", "1"), ("b.txt", "2"), ("in/c", "3")] {
            fs_err::write(dir.path().join(name), text).expect("written");
        }
        let before = [of("a.txt"), of("*.txt"), of("in"), of("in/c")];
        assert!(before.iter().all(Option::is_some));
        assert_eq!([of("a.txt"), of("*.txt"), of("in"), of("in/c")], before);
        fs_err::write(dir.path().join("in/c"), "4").expect("written");
        fs_err::write(dir.path().join("b.txt"), "5").expect("written");
        let after = [of("a.txt"), of("*.txt"), of("in"), of("in/c")];
        assert_eq!(after[0], before[0]);
        assert!((1..4).all(|i| after[i] != before[i]));
    }

    #[test]
    fn patterns_find_files_whatever_their_folder_is_called() {
        let dir = tempfile::tempdir().expect("a folder");
        let base = dir.path().join("runs [1]*");
        fs_err::create_dir(&base).expect("made");
        fs_err::write(base.join("a.txt"), "1").expect("written");
        assert_eq!(Versions::found(&base, Path::new("*.txt")), [base.join("a.txt")]);
        let outside = Path::new(&glob::Pattern::escape(&base.to_string_lossy())).join("*.txt");
        assert_eq!(Versions::found(Path::new("/elsewhere"), &outside), [base.join("a.txt")]);
    }

    #[test]
    fn no_file_is_read_once_it_is_told_to_stop() {
        let dir = tempfile::tempdir().expect("a folder");
        fs_err::write(dir.path().join("a"), "1").expect("written");
        let mut versions = Versions::new(dir.path().to_owned());
        versions.cancel = Some(Arc::new(Cancel::raised()));
        let file = Resource::path(dir.path(), "a");
        assert_eq!(versions.of(&file).expect_err("stopped").to_string(), "stopped");
        versions.cancel = None;
        assert!(versions.of(&file).expect("readable").is_some());
    }

    #[test]
    fn links_that_lead_nowhere_and_pipes_are_no_errors() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name);
        std::os::unix::fs::symlink("nowhere", path("link")).expect("made");
        let socket = std::os::unix::net::UnixListener::bind(path("socket")).expect("made");
        let mut versions = Versions::new(dir.path().to_owned());
        let mut of = |text: &str| versions.of(&Resource::path(dir.path(), text)).expect("readable");
        let before = of(".");
        assert!(before.is_some() && of("socket").is_some() && of("link").is_none());
        fs_err::remove_file(path("link")).expect("removed");
        assert_ne!(of("."), before);
        drop(socket);
    }

    #[test]
    fn an_edit_that_keeps_length_and_time_is_seen() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a");
        fs_err::write(&path, "1").expect("written");
        let found = fs_err::metadata(&path).expect("there");
        let (resource, mut versions) =
            (Resource::path(dir.path(), "a"), Versions::new(dir.path().to_owned()));
        let before = versions.of(&resource).expect("readable");
        // As if the digest had been taken long after the file was written.
        let time = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        let [changed, touched] =
            [time(found.mtime(), found.mtime_nsec()), time(found.ctime(), found.ctime_nsec())];
        let note = FileNote {
            len: 1,
            inode: found.ino(),
            changed: format!("{changed} {touched}"),
            digest: before.clone().expect("there"),
        };
        versions.files.insert("a".into(), note);
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs_err::write(&path, "2").expect("written");
        let file = std::fs::File::options().write(true).open(&path).expect("opened");
        file.set_modified(found.modified().expect("a time")).expect("set");
        assert_ne!(versions.of(&resource).expect("readable"), before);
    }
}
