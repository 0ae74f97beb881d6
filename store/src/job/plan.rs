//! Job plan: what a job will write, as kept in its folder.

use super::shard_note::ShardNote;
use crate::manifest::{EncodingEntry, FileEntry, RunCheckpoint, VERSION};
use crate::store::Snapshot;
use gstore_core::{EncodingSpec, FeatureAttrs, FeatureDesc, RowSet, canonical_json, sha256_hex};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Names of job folders in `tmp/` start with this.
const PREFIX: &str = "job-";

/// Whether a name in `tmp/` is that of a job's folder.
pub(crate) fn is_job(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A feature that a job writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobFeature {
    /// What it is.
    pub desc: FeatureDesc,
    /// Further attributes.
    pub attrs: FeatureAttrs,
}

impl JobFeature {
    /// `dataset/label`
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.desc.dataset, self.attrs.label)
    }
}

/// What a job is to compute.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPlan {
    /// The command, for the history.
    pub command: String,
    /// What will be computed, canonically: the same identity is the same job. The features follow from it.
    pub identity: Value,
    /// The features it writes.
    pub features: Vec<JobFeature>,
    /// Anything else worth keeping with the job, for people.
    pub detail: Value,
}

impl JobPlan {
    /// Name of the job's folder in `tmp/`.
    pub(crate) fn id(&self) -> String {
        let digest = sha256_hex(canonical_json(&self.identity).as_bytes());
        format!("{PREFIX}{}", digest.get(..20).unwrap_or(&digest))
    }
}

/// `job.json`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct JobFile {
    pub version: u32,
    pub requires: Vec<String>,
    pub command: String,
    pub identity: Value,
    pub features: Vec<JobFeature>,
    pub detail: Value,
    /// Process that had the job last.
    pub pid: u32,
    /// Numbers of the datasets: a name can be given to another dataset after the first was dropped.
    #[serde(default)]
    pub datasets: BTreeMap<String, u32>,
    /// Which shard this is, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<ShardNote>,
}

impl JobFile {
    pub(crate) fn new(plan: &JobPlan, snapshot: &Snapshot) -> Self {
        let number =
            |f: &JobFeature| snapshot.dataset(&f.desc.dataset).ok().map(|d| (d.name.clone(), d.number));
        JobFile {
            version: VERSION,
            requires: Vec::new(),
            command: plan.command.clone(),
            identity: plan.identity.clone(),
            features: plan.features.clone(),
            detail: plan.detail.clone(),
            pid: std::process::id(),
            datasets: plan.features.iter().filter_map(number).collect(),
            shard: None,
        }
    }

    /// Whether the sealed files next to it can be used for a plan: it computes the same, of the same
    /// datasets.
    pub(crate) fn fits(&self, plan: &JobPlan, snapshot: &Snapshot) -> bool {
        let number = |name: &str| snapshot.dataset(name).ok().map(|d| d.number);
        canonical_json(&self.identity) == canonical_json(&plan.identity)
            && self.features.iter().map(|f| &f.desc).eq(plan.features.iter().map(|f| &f.desc))
            && self.datasets.iter().all(|(name, n)| number(name) == Some(*n))
    }
}

/// `<uuid>.encoding.json`, next to a sealed file of token counts: what the file itself does not say.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EncodingNote {
    pub version: u32,
    pub requires: Vec<String>,
    pub dataset: String,
    /// Number 0: it is allotted when the job is published.
    pub encoding: EncodingEntry,
    /// Rows that were not live, whose zeros are no counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filled: Vec<[u64; 2]>,
}

/// A sealed file of token counts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SealedEncoding {
    pub dataset: String,
    pub spec: EncodingSpec,
    pub label: String,
    pub file: FileEntry,
    /// Rows that were not live, whose zeros are no counts.
    pub filled: RowSet,
}

impl SealedEncoding {
    /// What a note says; `None` if it does not agree with itself.
    pub(crate) fn of_note(note: EncodingNote) -> Option<Self> {
        let EncodingEntry { key, spec, label, files, .. } = note.encoding;
        let [file] = <[FileEntry; 1]>::try_from(files).ok()?;
        let (dataset, filled) = (note.dataset, RowSet::from_pairs(&note.filled));
        (spec.key() == key).then_some(SealedEncoding { dataset, spec, label, file, filled })
    }

    pub(crate) fn note(&self) -> EncodingNote {
        let (dataset, filled) = (self.dataset.clone(), self.filled.pairs());
        EncodingNote { version: VERSION, requires: Vec::new(), dataset, encoding: self.entry(), filled }
    }

    /// An encoding that has this file.
    pub(crate) fn entry(&self) -> EncodingEntry {
        EncodingEntry::of_file(self.spec.clone(), self.label.clone(), self.file.clone())
    }
}

/// A file that leaves the job's folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Move {
    pub uuid: Uuid,
    /// Name inside the job's folder.
    pub from: String,
    /// Name inside the store.
    pub to: String,
}

/// `publish.json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Intents {
    pub version: u32,
    pub requires: Vec<String>,
    /// The snapshot that will have the files.
    pub snapshot: u64,
    pub moves: Vec<Move>,
    /// For people: what else the publish does.
    pub run: Option<String>,
    pub checkpoints: Vec<RunCheckpoint>,
    pub complete: bool,
}
