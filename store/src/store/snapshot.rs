//! A snapshot: one published, immutable state of a store.

use super::env::{Env, encoding_file, sample_file, segment_file};
use super::load::Chain;
use crate::encodings::EncodingReader;
use crate::error::{LookupError, OpenError, ReadError};
use crate::ident::nearest;
use crate::manifest::{DatasetPart, EncodingEntry, FeaturePart, FileEntry, Link, Root, RunPart, root_number};
use crate::samples::SampleReader;
use crate::segment::{Checks, FeatureReader, FileId, SegmentFile, Shape};
use crate::table::TableFile;
use serde::Serialize;
use std::sync::Arc;
use uuid::Uuid;

/// What is known of a snapshot without loading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// Its number.
    pub number: u64,
    /// When it was published, in milliseconds since 1970.
    pub created: u64,
    /// The command that made it.
    pub command: String,
    /// What it changed, in words.
    pub changes: Vec<String>,
    /// The number of the one before it.
    pub parent: Option<u64>,
    /// Digest of its root.
    pub digest: String,
    /// Id of the store.
    pub store: Uuid,
}

impl SnapshotInfo {
    pub(crate) fn new(link: &Link, root: &Root) -> Self {
        SnapshotInfo {
            number: root.snapshot,
            created: root.created,
            command: root.command.clone(),
            changes: root.changes.clone(),
            parent: root.parent.as_ref().and_then(|p| root_number(&p.file)),
            digest: link.digest.clone(),
            store: root.store,
        }
    }
}

/// A state of a store. Holds the catalog in memory and no file open.
#[derive(Debug)]
pub struct Snapshot {
    env: Arc<Env>,
    link: Link,
    root: Root,
    datasets: Vec<Arc<DatasetPart>>,
    runs: Vec<Arc<RunPart>>,
    features: Vec<Arc<FeaturePart>>,
}

impl Snapshot {
    pub(crate) fn new(
        env: Arc<Env>,
        link: Link,
        root: Root,
        datasets: Vec<Arc<DatasetPart>>,
        runs: Vec<Arc<RunPart>>,
        features: Vec<Arc<FeaturePart>>,
    ) -> Self {
        Snapshot { env, link, root, datasets, runs, features }
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.root.snapshot
    }

    /// Number, time, command and changes.
    pub fn info(&self) -> SnapshotInfo {
        SnapshotInfo::new(&self.link, &self.root)
    }

    /// This snapshot and those before it, newest first. Reads their roots.
    pub fn history(&self) -> Result<Vec<SnapshotInfo>, OpenError> {
        let mut out = vec![self.info()];
        for link in Chain::new(&self.env, self) {
            let (link, root) = link?;
            out.push(SnapshotInfo::new(&link, &root));
        }
        Ok(out)
    }

    /// The datasets, by number.
    pub fn datasets(&self) -> &[Arc<DatasetPart>] {
        &self.datasets
    }

    /// The dataset of a name.
    pub fn dataset(&self, name: &str) -> Result<&Arc<DatasetPart>, LookupError> {
        let names = || self.datasets.iter().map(|d| d.name.as_str());
        self.datasets
            .iter()
            .find(|d| d.name == name)
            .ok_or_else(|| unknown("dataset", name, names().collect()))
    }

    /// The runs, by number.
    pub fn runs(&self) -> &[Arc<RunPart>] {
        &self.runs
    }

    /// The run of a name.
    pub fn run(&self, name: &str) -> Result<&Arc<RunPart>, LookupError> {
        let names = || self.runs.iter().map(|r| r.name.as_str());
        self.runs.iter().find(|r| r.name == name).ok_or_else(|| unknown("run", name, names().collect()))
    }

    /// The features, by number.
    pub fn features(&self) -> &[Arc<FeaturePart>] {
        &self.features
    }

    /// The features of a dataset, by number.
    pub fn features_of(&self, dataset: &str) -> Vec<&Arc<FeaturePart>> {
        self.features.iter().filter(|f| f.desc.dataset == dataset).collect()
    }

    /// The feature of a key.
    pub fn feature_by_key(&self, key: &str) -> Option<&Arc<FeaturePart>> {
        self.features.iter().find(|f| f.key == key)
    }

    /// A feature by its label, `dataset/label`, number, or the first eight or more digits of its key.
    pub fn feature(&self, name: &str) -> Result<&Arc<FeaturePart>, LookupError> {
        let by_key = name.len() >= 8 && name.bytes().all(|b| b.is_ascii_hexdigit());
        let number: Option<u32> = name.parse().ok();
        let found: Vec<&Arc<FeaturePart>> = self
            .features
            .iter()
            .filter(|f| {
                f.attrs.label == name
                    || f.display_name() == name
                    || Some(f.number) == number
                    || (by_key && f.key.starts_with(name))
            })
            .collect();
        match found.as_slice() {
            [one] => Ok(one),
            [] => {
                Err(unknown("feature", name, self.features.iter().map(|f| f.attrs.label.as_str()).collect()))
            }
            several => Err(LookupError::Ambiguous {
                what: "feature",
                name: name.to_owned(),
                candidates: several
                    .iter()
                    .map(|f| format!("{} (number {}, key {:.12})", f.display_name(), f.number, f.key))
                    .collect(),
            }),
        }
    }

    /// The samples of a dataset of this snapshot. Reads nothing yet.
    pub fn samples(&self, dataset: &DatasetPart) -> Result<SampleReader, ReadError> {
        let file = |entry: &FileEntry| {
            let name = sample_file(dataset.number, entry.uuid);
            TableFile::new(self.env.shared_vfs(), self.env.at(&name), name, entry)
        };
        Ok(SampleReader::new(Arc::new(dataset.clone()), dataset.files.iter().map(file).collect()))
    }

    /// What an encoding says of the samples. Reads nothing yet.
    pub fn encoding(
        &self,
        _dataset: &DatasetPart,
        encoding: &EncodingEntry,
    ) -> Result<EncodingReader, ReadError> {
        let file = |entry: &FileEntry| {
            let name = encoding_file(encoding.number, entry.uuid);
            TableFile::new(self.env.shared_vfs(), self.env.at(&name), name, entry)
        };
        Ok(EncodingReader::new(encoding.clone(), encoding.files.iter().map(file).collect()))
    }

    /// The vectors of a feature. Reads and checks the footers of its segments.
    pub fn open_feature(&self, part: &FeaturePart) -> Result<FeatureReader, ReadError> {
        self.open_feature_with(part, Checks::FirstTouch)
    }

    /// The same with another choice of checks.
    pub fn open_feature_with(&self, part: &FeaturePart, checks: Checks) -> Result<FeatureReader, ReadError> {
        let shape = Shape::new(&part.desc, &part.attrs);
        let label = part.display_name();
        let mut segments = Vec::with_capacity(part.segments.len());
        for entry in &part.segments {
            let name = segment_file(part.number, entry);
            let id = FileId { path: &self.env.at(&name), name };
            segments.push(SegmentFile::open(
                self.env.shared_vfs(),
                id,
                entry,
                &label,
                shape.clone(),
                &part.key,
            )?);
        }
        Ok(FeatureReader::new(Arc::new(part.clone()), segments, checks))
    }
}

fn unknown(what: &'static str, name: &str, mut known: Vec<&str>) -> LookupError {
    const FEW: usize = 12;
    known.dedup();
    LookupError::Unknown {
        what,
        name: name.to_owned(),
        nearest: nearest(name, known.iter().copied()).map(str::to_owned),
        known: if known.len() > FEW {
            vec![format!("{} others", known.len())]
        } else {
            known.into_iter().map(str::to_owned).collect()
        },
    }
}
