//! Artifacts: publishing, replacing and reading them by name.
//!
//! Invariants
//! - an artifact is one manifest, which the root names by its digest; a snapshot reads it when asked for it
//! - its files are in their places and flushed, with their folder, before the commit that has it; the root
//!   names them as well
//! - names are unique in a snapshot

mod files;

pub use files::ArtifactFiles;

pub(crate) use files::{check_file, is_work};

use crate::error::{ArtifactError, ConcurrentChange, ReadError, StorageError};
use crate::layout::names;
use crate::manifest::{ArtifactPart, PartLink};
use crate::map::FileMap;
use crate::store::{Snapshot, Store, WriterLock, change_of, publish, unknown};
use std::sync::Arc;

impl ArtifactPart {
    /// Fails unless a text can be the name of an artifact: for those whose work comes before publishing.
    ///
    /// # Errors
    /// Says which texts can.
    pub fn check_name(name: &str) -> Result<(), ArtifactError> {
        match names::is_artifact(name) {
            true => Ok(()),
            false => Err(ArtifactError::Name(name.to_owned())),
        }
    }
}

impl Store {
    /// A place for files of an artifact that is to be published. They are on the store's disk already:
    /// publishing moves them.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub fn artifact_files(&self) -> Result<ArtifactFiles, ArtifactError> {
        Ok(ArtifactFiles::create(self.env())?)
    }

    /// Publishes an artifact under its name with the files that it has: those and no others, whatever the part
    /// lists. They appear with it or not at all; after an error they are gone, unless it says that the commit
    /// is unclear. `over` is a snapshot that the caller looked at: what has the name there is replaced, and
    /// nothing else that may have it by now. Returns the snapshot that has the artifact.
    ///
    /// # Errors
    /// An invalid name; one that is taken by what is not in `over`; what was to be replaced was dropped
    /// or replaced since; a dataset that the store does not have.
    pub fn put_artifact(
        &self,
        mut artifact: ArtifactPart,
        files: Option<ArtifactFiles>,
        over: Option<&Snapshot>,
        command: &str,
    ) -> Result<Arc<Snapshot>, ArtifactError> {
        ArtifactPart::check_name(&artifact.name)?;
        artifact.files = files.as_ref().map_or_else(Vec::new, |files| files.files.clone());
        let lock = WriterLock::take(self)?;
        let base = self.snapshot()?;
        for dataset in &artifact.datasets {
            base.dataset(dataset)?;
        }
        let mut change = change_of(&base, command);
        match over.and_then(|seen| link_of(seen, &artifact.name)) {
            Some(seen) => {
                base.same_artifact(seen)?;
                change.removed.artifacts.push(seen.number);
            }
            None if link_of(&base, &artifact.name).is_some() => {
                let what = format!("artifact {}", artifact.name);
                return Err(match over {
                    // Not one to be replaced: it came since, and what was looked at had none.
                    Some(_) => ConcurrentChange::Came { what }.into(),
                    None => ArtifactError::Exists(artifact.name),
                });
            }
            None => {}
        }
        let verb = if change.removed.artifacts.is_empty() { "published" } else { "replaced" };
        change.changes.push(format!("{} {} {verb}", artifact.kind, artifact.name));
        artifact.number = u32::try_from(base.number() + 1).map_err(|_| ArtifactError::TooMany)?;
        change.artifacts.push(artifact);
        if let Some(files) = &files {
            files.place()?;
        }
        let published = publish(self, &lock, &base, change);
        if let (Some(files), Err(e)) = (&files, &published)
            && !e.is_unclear()
        {
            files.unplace();
        }
        Ok(published?)
    }
}

impl Snapshot {
    /// Names of the artifacts, by number; of a client's snapshot those that it may see, all of which are
    /// read for that.
    ///
    /// # Errors
    /// Damage, where they have to be read.
    pub fn artifacts(&self) -> Result<Vec<String>, ReadError> {
        let links = &self.root().artifacts;
        if self.is_whole() {
            return Ok(links.iter().map(|link| link.name.clone()).collect());
        }
        let mut names = Vec::new();
        for link in links {
            let part = self.read_artifact(link)?;
            if self.shows(&part) {
                names.push(part.name);
            }
        }
        Ok(names)
    }

    /// An artifact by its name. Reads its manifest. Where some datasets are hidden it comes without its
    /// provenance: the command that made it may name them.
    ///
    /// # Errors
    /// There is none of this name, and damage.
    pub fn artifact(&self, name: &str) -> Result<ArtifactPart, ArtifactError> {
        if let Some(part) = self.shown_artifact(name)? {
            return Ok(part);
        }
        let known = self.artifacts()?;
        Err(unknown("artifact", name, known.iter().map(String::as_str).collect::<Vec<_>>()).into())
    }

    /// The same, if it is of this kind.
    ///
    /// # Errors
    /// There is none of this name, which lists those of the kind; it is of another kind; and damage.
    pub fn artifact_of_kind(&self, kind: &'static str, name: &str) -> Result<ArtifactPart, ArtifactError> {
        let is_of_kind = |part: &ArtifactPart| part.kind == kind;
        if let Some(part) = self.shown_artifact(name)? {
            return match is_of_kind(&part) {
                true => Ok(part),
                false => Err(ArtifactError::Kind { name: part.name, found: part.kind, expected: kind }),
            };
        }
        let mut known = self.artifacts()?;
        // One that is damaged is not the one that is asked for.
        known.retain(|other| {
            self.shown_artifact(other).is_ok_and(|part| part.is_some_and(|p| is_of_kind(&p)))
        });
        Err(unknown(kind, name, known.iter().map(String::as_str).collect::<Vec<_>>()).into())
    }

    /// An artifact by its name, if there is one that may be seen.
    fn shown_artifact(&self, name: &str) -> Result<Option<ArtifactPart>, ReadError> {
        let Some(link) = link_of(self, name) else { return Ok(None) };
        let mut part = self.read_artifact(link)?;
        if !self.is_whole() {
            part.provenance.clear();
        }
        Ok(Some(part).filter(|part| self.shows(part)))
    }

    /// A file of an artifact by what the artifact calls it. Reads all of it and compares it with its digest,
    /// then maps it.
    ///
    /// # Errors
    /// The artifact has no such file, and damage.
    pub fn artifact_file(&self, part: &ArtifactPart, name: &str) -> Result<FileMap, ReadError> {
        match part.files.iter().find(|file| file.name == name) {
            Some(file) => Ok(files::map_file(self.env(), &file.link())?),
            None => Err(ReadError::NoFile {
                artifact: part.name.clone(),
                name: name.to_owned(),
                known: part.files.iter().map(|file| file.name.clone()).collect(),
            }),
        }
    }

    /// Bytes of an artifact on the disk, its manifest among them; 0 if there is none of this name.
    pub fn artifact_bytes(&self, name: &str) -> u64 {
        link_of(self, name).map_or(0, PartLink::bytes)
    }

    pub(crate) fn read_artifact(&self, link: &PartLink) -> Result<ArtifactPart, StorageError> {
        let part: ArtifactPart = self.env().manifests().read(&link.link)?;
        part.check_link(link)?;
        Ok(part)
    }

    fn shows(&self, part: &ArtifactPart) -> bool {
        // What names no dataset, as imported factors, may say something of a hidden one.
        let are_seen = || part.datasets.iter().all(|name| self.dataset(name).is_ok());
        self.is_whole() || (!part.datasets.is_empty() && are_seen())
    }
}

/// What the root has of the artifact of a name.
pub(crate) fn link_of<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a PartLink> {
    snapshot.root().artifacts.iter().find(|link| link.name == name)
}
