//! Which files of shards a snapshot lacks.

use super::fit::label;
use super::read::Shard;
use crate::error::AttachError;
use crate::ident::RowSet;
use crate::job::{JobFeature, attached, live_rows, published_rows, purged_rows};
use crate::shard::ReceiptFile;
use crate::store::Snapshot;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The files to take.
#[derive(Debug, Default)]
pub(super) struct Choice {
    files: BTreeSet<Uuid>,
    /// Rows of them, by key of the feature.
    rows: BTreeMap<String, RowSet>,
}

impl Choice {
    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether this file is to be taken.
    pub fn has(&self, file: &ReceiptFile) -> bool {
        self.files.contains(&file.uuid())
    }

    /// Rows of a feature that will be added.
    pub fn rows_of(&self, key: &str) -> RowSet {
        self.rows.get(key).cloned().unwrap_or_default()
    }

    /// Digests of the receipts that add rows to a feature.
    pub fn receipts_of(&self, key: &str, shards: &[Shard]) -> Vec<String> {
        let adds = |s: &&Shard| {
            let Some(i) = s.receipt.features.iter().position(|f| f.desc.key() == key) else { return false };
            s.receipt.files.iter().any(|file| {
                matches!(file, ReceiptFile::Segment { feature, .. } if *feature == i) && self.has(file)
            })
        };
        shards.iter().filter(adds).map(|s| s.receipt.digest.clone()).collect()
    }
}

/// What a snapshot has of a feature.
struct Stored {
    files: BTreeSet<Uuid>,
    rows: RowSet,
    receipts: Vec<String>,
    purged: RowSet,
}

/// The files that a snapshot lacks. Rows that it has from elsewhere are an error.
pub(super) fn choose(snapshot: &Snapshot, shards: &[Shard]) -> Result<Choice, AttachError> {
    let mut stored: BTreeMap<String, Stored> = BTreeMap::new();
    let mut choice = Choice::default();
    for shard in shards {
        for (i, f) in shard.receipt.features.iter().enumerate() {
            let key = f.desc.key();
            if !stored.contains_key(&key) {
                stored.insert(key.clone(), look(snapshot, f, &key)?);
            }
            let Some(there) = stored.get(&key) else { continue };
            for file in &shard.receipt.files {
                let ReceiptFile::Segment { feature, .. } = file else { continue };
                if *feature == i && is_missing(shard, f, file, there)? {
                    choice.files.insert(file.uuid());
                    let rows = choice.rows.entry(key.clone()).or_default();
                    *rows = rows.union(&file.row_set().difference(&there.purged));
                }
            }
        }
        choose_counts(snapshot, shard, &mut choice)?;
    }
    Ok(choice)
}

fn look(snapshot: &Snapshot, feature: &JobFeature, key: &str) -> Result<Stored, AttachError> {
    let part = snapshot.feature_by_key(key);
    let dataset = snapshot.dataset(&feature.desc.dataset).map_err(crate::error::JobError::from)?;
    Ok(Stored {
        files: part.iter().flat_map(|p| &p.segments).map(|s| s.uuid).collect(),
        rows: published_rows(snapshot, key)?,
        receipts: part.map(|p| attached(p)).unwrap_or_default(),
        purged: purged_rows(snapshot, dataset)?,
    })
}

fn is_missing(
    shard: &Shard,
    feature: &JobFeature,
    file: &ReceiptFile,
    there: &Stored,
) -> Result<bool, AttachError> {
    if there.files.contains(&file.uuid()) {
        return Ok(false);
    }
    let rows = file.row_set().difference(&there.purged);
    let both = rows.intersection(&there.rows);
    // Compacted since, or purged: the file went, and its rows are there under another name.
    let was_attached = there.receipts.contains(&shard.receipt.digest) && both.len() == rows.len();
    if both.is_empty() || was_attached {
        return Ok(!rows.is_empty() && both.is_empty());
    }
    Err(AttachError::Present { feature: label(feature), folder: shard.shown.clone(), rows: both })
}

/// Token counts may overlap those that are there: what they say follows from the encoding.
fn choose_counts(snapshot: &Snapshot, shard: &Shard, choice: &mut Choice) -> Result<(), AttachError> {
    let dataset = snapshot.dataset(&shard.receipt.note.dataset).map_err(crate::error::JobError::from)?;
    for file in &shard.receipt.files {
        let ReceiptFile::Encoding { encoding, entry, .. } = file else { continue };
        let there = shard.receipt.encodings.get(*encoding).and_then(|e| dataset.encoding(&e.key));
        if !there.is_some_and(|e| e.rows().covers(entry.range())) {
            choice.files.insert(entry.uuid);
        }
    }
    Ok(())
}

/// Live rows that a feature lacks once the chosen files are there.
pub(super) fn missing(
    snapshot: &Snapshot,
    feature: &JobFeature,
    choice: &Choice,
) -> Result<RowSet, AttachError> {
    let key = feature.desc.key();
    let dataset = snapshot.dataset(&feature.desc.dataset).map_err(crate::error::JobError::from)?;
    let there = published_rows(snapshot, &key)?.union(&choice.rows_of(&key));
    Ok(live_rows(snapshot, dataset)?.difference(&there))
}
