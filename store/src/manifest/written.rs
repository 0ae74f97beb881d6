//! Writes that clients named: keys that make sending one twice harmless.
//!
//! Invariants
//! - a note is part of the commit that did the write. A key of vectors is known while the features that it
//!   wrote are in the snapshot; one of samples as long as the dataset, whatever became of its rows,
//!   unless they were purged
//! - a key belongs to a dataset, and to the write of one content: its note has the digest
//! - no note is left of a write that may have had a purged row: key and digest are what its client said of it
//! - a dataset keeps the notes of its last [`MOST`] named writes

use super::dataset::DatasetPart;
use super::feature::FeaturePart;
use crate::error::KeyError;
use gstore_core::RowSet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Where a dataset part keeps its notes. Versions that do not know them keep them as they are.
const WRITTEN: &str = "written";
/// Notes that a dataset keeps.
const MOST: usize = 1024;
/// Longest key, in bytes.
const LONGEST: usize = 128;

/// A write as its client names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientWrite {
    key: String,
    digest: String,
}

/// A write that was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriteNote {
    /// The client's key.
    pub key: String,
    /// Digest of what was sent.
    pub digest: String,
    /// The snapshot that it made.
    pub snapshot: u64,
    /// Numbers of the features that it wrote; none of samples, and in notes of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<u32>,
    /// What the client was told.
    pub result: Map<String, Value>,
}

impl ClientWrite {
    /// The write of some content under a key.
    ///
    /// # Errors
    /// An invalid key.
    pub fn new(key: impl Into<String>, digest: impl Into<String>) -> Result<Self, KeyError> {
        let (key, digest) = (key.into(), digest.into());
        check_key(&key)?;
        Ok(Self { key, digest })
    }

    /// The note of this write in a dataset, if it was done and what it wrote is among the features of the
    /// snapshot.
    ///
    /// # Errors
    /// The key was used for other content.
    pub fn done(
        &self,
        dataset: &DatasetPart,
        features: &[Arc<FeaturePart>],
    ) -> Result<Option<WriteNote>, KeyError> {
        match dataset.written_among(&self.key, features) {
            Some(note) if note.digest == self.digest => Ok(Some(note)),
            Some(WriteNote { key, snapshot, .. }) => {
                Err(KeyError::Used { key, dataset: dataset.name.clone(), snapshot })
            }
            None => Ok(None),
        }
    }

    pub(crate) fn note(
        &self,
        dataset: &mut DatasetPart,
        (snapshot, features): (u64, Vec<u32>),
        result: Map<String, Value>,
    ) {
        let (key, digest) = (self.key.clone(), self.digest.clone());
        let note = WriteNote { key, digest, snapshot, features, result };
        let Ok(note) = serde_json::to_value(note) else { return };
        let notes = dataset.extra.entry(WRITTEN).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(notes) = notes {
            notes.push(note);
            notes.drain(..notes.len().saturating_sub(MOST));
        }
    }
}

/// Whether a text can be the key of a write.
///
/// # Errors
/// It cannot.
pub fn check_key(key: &str) -> Result<(), KeyError> {
    let fits = !key.is_empty() && key.len() <= LONGEST && !key.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(KeyError::Form) }
}

impl DatasetPart {
    /// What is noted of the write with a key.
    pub fn written(&self, key: &str) -> Option<WriteNote> {
        let notes = self.extra.get(WRITTEN)?.as_array()?;
        let named = |note: &&Value| note.get("key").and_then(Value::as_str) == Some(key);
        serde_json::from_value(notes.iter().rev().find(named)?.clone()).ok()
    }

    /// The same, if every feature that it wrote is among those of the snapshot. A note of an earlier version
    /// has the feature by its label.
    pub fn written_among(&self, key: &str, features: &[Arc<FeaturePart>]) -> Option<WriteNote> {
        let note = self.written(key)?;
        let has = |number: &u32| features.iter().any(|f| f.number == *number);
        let is_labelled =
            |label: &str| features.iter().any(|f| f.desc.dataset == self.name && f.attrs.label == label);
        let label = note.result.get("feature").and_then(Value::as_str);
        let is_there = match note.features.as_slice() {
            [] => label.is_none_or(is_labelled),
            numbers => numbers.iter().all(has),
        };
        is_there.then_some(note)
    }

    /// Drops the notes of writes that may have had a row which is not live. Says whether there were any.
    pub(crate) fn forget_writes(&mut self, live: &RowSet) -> bool {
        let lost = self.sources.iter().filter(|note| !live.covers(note.first_row..note.end_row));
        let lost: Vec<u64> = lost.map(|note| note.snapshot).collect();
        let Some(Value::Array(notes)) = self.extra.get_mut(WRITTEN) else { return false };
        let before = notes.len();
        notes.retain(|note| !may_have(note, &lost));
        notes.len() < before
    }
}

/// Whether a write may have had a row of the samples that these snapshots added.
fn may_have(note: &Value, lost: &[u64]) -> bool {
    let Ok(note) = serde_json::from_value::<WriteNote>(note.clone()) else { return !lost.is_empty() };
    let is_none = |count: &str| note.result.get(count).and_then(Value::as_u64) == Some(0);
    // Vectors, and samples that were there, are of rows of any snapshot before; which ones is not noted.
    let has_own =
        note.result.contains_key("added") && ["unchanged", "kept", "left_out"].into_iter().all(is_none);
    lost.iter().any(|added| if has_own { *added == note.snapshot } else { *added <= note.snapshot })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_for_one_content_and_the_oldest_are_forgotten() {
        let mut part = DatasetPart::new("pool", 1);
        let write = |key: &str, digest: &str| ClientWrite::new(key, digest).unwrap();
        assert_eq!(write("a", "1").done(&part, &[]), Ok(None));
        write("a", "1").note(&mut part, (7, vec![]), Map::new());
        assert_eq!(write("a", "1").done(&part, &[]).unwrap().unwrap().snapshot, 7);
        assert!(matches!(write("a", "2").done(&part, &[]), Err(KeyError::Used { snapshot: 7, .. })));
        for i in 0..MOST {
            write(&format!("b{i}"), "1").note(&mut part, (8, vec![]), Map::new());
        }
        assert_eq!(part.written("a"), None);
        assert!(part.written("b0").is_some());
        for bad in ["", "a\nb", &"x".repeat(LONGEST + 1)] {
            assert_eq!(ClientWrite::new(bad, "1"), Err(KeyError::Form));
        }
    }
}
