//! Factors of a store, read in place: maps of the files that are needed, compared with their digests.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gstore_store::{ArtifactPart, Snapshot};

use super::error::FactorJobError;
use super::folder::{FactorParts, FactorReader};
use super::publish::{FactorContent, read_content};

pub(super) struct StoredFactors {
    pub part: ArtifactPart,
    /// What they say of themselves.
    pub content: FactorContent,
}

impl StoredFactors {
    /// The factors of a name.
    pub fn open(snapshot: &Snapshot, name: &str) -> Result<Self, FactorJobError> {
        let part = snapshot.artifact(name)?;
        let content = read_content(&part)?;
        Ok(Self { part, content })
    }

    /// A reader of some of their quantities; the files of others are not touched.
    pub fn reader(&self, snapshot: &Snapshot, parts: FactorParts) -> Result<FactorReader, FactorJobError> {
        let mut maps = BTreeMap::new();
        for name in parts.files() {
            if self.part.files.iter().any(|file| file.name == name) {
                let map = snapshot.artifact_file(&self.part, &name)?;
                maps.insert(name, map);
            }
        }
        let shown = PathBuf::from(format!("artifact `{}`", self.part.name));
        Ok(FactorReader::of_maps(&shown, parts, maps)?)
    }
}
