//! Artifacts: publishing, replacing, reading and dropping them by name.
//!
//! Invariants
//! - an artifact is one manifest, which the root names by its digest; a snapshot reads it when asked for it
//! - names are unique in a snapshot

use crate::error::{ArtifactError, ChangeError, ReadError};
use crate::life::DropReport;
use crate::manifest::ArtifactPart;
use crate::store::{Snapshot, Store, WriterLock, change_of, publish, unknown};
use std::sync::Arc;

/// Longest name of an artifact, in bytes.
const LONGEST: usize = 64;

impl Store {
    /// Publishes an artifact under its name, in place of one that has it where `replace` says so. Returns the
    /// snapshot that has it.
    ///
    /// # Errors
    /// A name that is none or is taken, and a dataset that the store does not have.
    pub fn put_artifact(
        &self,
        mut artifact: ArtifactPart,
        replace: bool,
        command: &str,
    ) -> Result<Arc<Snapshot>, ArtifactError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if artifact.name.is_empty() || artifact.name.len() > LONGEST || !artifact.name.bytes().all(allowed) {
            return Err(ArtifactError::Name(artifact.name));
        }
        let lock = WriterLock::take(self)?;
        let base = self.snapshot()?;
        for dataset in &artifact.datasets {
            base.dataset(dataset)?;
        }
        let mut change = change_of(&base, command);
        if let Some(old) = base.root().artifacts.iter().find(|link| link.name == artifact.name) {
            if !replace {
                return Err(ArtifactError::Exists(artifact.name));
            }
            change.removed.artifacts.push(old.number);
        }
        let verb = if change.removed.artifacts.is_empty() { "published" } else { "replaced" };
        change.changes.push(format!("{} {} {verb}", artifact.kind, artifact.name));
        artifact.number = u32::try_from(base.number() + 1).map_err(|_| ArtifactError::TooMany)?;
        change.artifacts.push(artifact);
        Ok(publish(self, &lock, &base, change)?)
    }

    /// Takes the artifact that has a name in `seen`, a snapshot that the caller looked at, out of the
    /// catalog. Older snapshots still have it.
    ///
    /// # Errors
    /// There is none of this name; it was dropped or replaced since.
    pub fn drop_artifact(
        &self,
        seen: &Snapshot,
        name: &str,
        command: &str,
    ) -> Result<DropReport, ChangeError> {
        let links = &seen.root().artifacts;
        let found = links.iter().find(|link| link.name == name);
        let Some(link) = found else {
            return Err(unknown("artifact", name, links.iter().map(|l| l.name.as_str()).collect()).into());
        };
        let lock = WriterLock::take(self)?;
        let base = self.snapshot()?;
        base.same_artifact(link)?;
        let mut change = change_of(&base, command);
        change.removed.artifacts.push(link.number);
        change.changes.push(format!("artifact {name} dropped"));
        let bytes = link.link.len;
        let snapshot = publish(self, &lock, &base, change)?.number();
        Ok(DropReport { snapshot, bytes, ..DropReport::default() })
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
            let part: ArtifactPart = self.env().manifests().read(&link.link)?;
            if self.shows(&part) {
                names.push(part.name);
            }
        }
        Ok(names)
    }

    /// An artifact by its name. Reads its manifest.
    ///
    /// # Errors
    /// There is none of this name, and damage.
    pub fn artifact(&self, name: &str) -> Result<ArtifactPart, ArtifactError> {
        let found = self.root().artifacts.iter().find(|link| link.name == name);
        if let Some(link) = found {
            let part: ArtifactPart = self.env().manifests().read(&link.link)?;
            if self.shows(&part) {
                return Ok(part);
            }
        }
        let known = self.artifacts()?;
        Err(unknown("artifact", name, known.iter().map(String::as_str).collect::<Vec<_>>()).into())
    }

    fn shows(&self, part: &ArtifactPart) -> bool {
        self.is_whole() || part.datasets.iter().all(|name| self.dataset(name).is_ok())
    }
}
