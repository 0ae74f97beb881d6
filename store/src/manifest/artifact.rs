//! An artifact part: a value that was derived from datasets and cannot be had from one segment again.

use super::Extra;
use super::file::Part;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
    /// The datasets that it says something of. Who may not see all of them does not see it.
    pub datasets: Vec<String>,
    /// Where it comes from, for people.
    pub provenance: Map<String, Value>,
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
            content,
            extra: Extra::new(),
        }
    }
}

impl Part for ArtifactPart {
    fn stem(&self) -> String {
        format!("artifact-{}", self.number)
    }

    fn problem(&self) -> Option<(String, String, String)> {
        let found = (self.name.is_empty() || self.kind.is_empty()).then(|| format!("{:?}", self.name));
        found.map(|found| ("name and kind of an artifact".into(), "texts".into(), found))
    }
}
