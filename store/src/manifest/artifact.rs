//! An artifact part: a value that was derived from datasets and cannot be had from one segment again.

use super::Extra;
use super::file::{ARTIFACT_FILES, Link, require};
use super::page::PageWriter;
use super::part::{Part, mismatch};
use super::root::PartLink;
use crate::error::{Damage, StorageError};
use crate::layout;
use gstore_core::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// A file of an artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArtifactFile {
    /// What the artifact calls it, for example `gram`.
    pub name: String,
    /// Its name in the folder of the store's artifacts.
    pub file: String,
    /// XXH3-128 of its bytes.
    pub digest: Digest,
    /// Its length in bytes.
    pub len: u64,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ArtifactFile {
    pub(crate) fn link(&self) -> Link {
        Link { file: self.file.clone(), digest: self.digest, len: self.len }
    }
}

/// An artifact of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArtifactPart {
    pub(crate) version: u32,
    pub(crate) requires: Vec<String>,
    /// Its number: that of the snapshot which it came with.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// What it is, for example `prefilter`.
    pub kind: String,
    /// The datasets that it says something of. Who may not see all of them does not see it; one
    /// without any is for those who see everything.
    pub datasets: Vec<String>,
    /// Where it comes from, for people.
    pub provenance: Map<String, Value>,
    /// The files that it has in addition to its content.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ArtifactFile>,
    /// The value. What it means is for those who made it.
    pub content: Value,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ArtifactPart {
    /// An artifact without a number yet.
    pub fn new(name: &str, kind: &str, datasets: Vec<String>, content: Value) -> Self {
        ArtifactPart {
            version: super::VERSION,
            requires: Vec::new(),
            number: 0,
            name: name.to_owned(),
            kind: kind.to_owned(),
            datasets,
            provenance: Map::new(),
            files: Vec::new(),
            content,
            extra: Extra::new(),
        }
    }

    /// Its files, as the root's link has them.
    pub(crate) fn links(&self) -> Vec<Link> {
        self.files.iter().map(ArtifactFile::link).collect()
    }

    /// Fails if the root's link names other files: those are the ones that are kept.
    pub(crate) fn check_link(&self, link: &PartLink) -> Result<(), StorageError> {
        if self.links() == link.files {
            return Ok(());
        }
        let names = |files: Vec<Link>| files.into_iter().map(|f| f.file).collect::<Vec<_>>().join(", ");
        let (expected, found) = (names(link.files.clone()), names(self.links()));
        let file = format!("manifests/{}", link.link.file);
        Err(Damage::new(file, "files of the artifact", expected, found).into())
    }
}

impl Part for ArtifactPart {
    fn stem(&self) -> String {
        format!("artifact-{}", self.number)
    }

    fn fold(&mut self, _writer: &mut PageWriter<'_>) -> Result<(), StorageError> {
        require(&mut self.requires, ARTIFACT_FILES, !self.files.is_empty());
        Ok(())
    }

    fn problem(&self) -> Option<(String, String, String)> {
        let (mut names, mut files) = (HashSet::new(), HashSet::new());
        for file in &self.files {
            if layout::names::artifact(&file.file).is_none() {
                let found = format!("{:?}", file.file);
                return mismatch("name of a file of an artifact", "a UUID and an ending", found);
            }
            // They are copied out under their names.
            if !layout::names::is_artifact(&file.name) {
                let expected = "1 to 64 of a-z, A-Z, 0-9, `.`, `_` and `-`";
                return mismatch("what an artifact calls a file", expected, format!("{:?}", file.name));
            }
            if !names.insert(&file.name) || !files.insert(&file.file) {
                return mismatch(
                    "files of an artifact",
                    "different names",
                    format!("two of {:?}", file.name),
                );
            }
        }
        if self.name.is_empty() || self.kind.is_empty() {
            return mismatch("name and kind of an artifact", "texts", format!("{:?}", self.name));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_whose_name_leads_out_of_a_folder_is_damage() {
        let mut part = ArtifactPart::new("a", "gram", Vec::new(), Value::Null);
        let mut problem = |name: &str| {
            let (name, file) = (name.to_owned(), "67e55044-10b1-426f-9247-bb680e5fe0c8.bin".to_owned());
            part.files =
                vec![ArtifactFile { name, file, digest: Digest::of(b""), len: 0, extra: Extra::new() }];
            part.problem()
        };
        assert_eq!(problem("gram.safetensors"), None);
        for name in ["..", "../a", "/a", ""] {
            assert!(
                problem(name).is_some_and(|(what, ..)| what == "what an artifact calls a file"),
                "{name}"
            );
        }
    }
}
