//! Selection of the rows that a snapshot lacks, and of the shard files that they come from.
//!
//! Only live rows count: others are not missed. A row that the snapshot has from elsewhere is the same row if
//! its check is the same, wherever and however often it was computed, compacted or repaired.

use super::checks::Checks;
use super::read::Shard;
use crate::error::AttachError;
use crate::job::{JobFeature, attached, published_rows, purged_rows};
use crate::manifest::{EncodingEntry, SegmentEntry};
use crate::shard::ReceiptFile;
use crate::shard::receipt::FileContent;
use crate::store::{Snapshot, Store};
use gstore_core::RowSet;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// What to take.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// The files, and which rows of them: all, or those that are missing.
    files: BTreeMap<Uuid, RowSet>,
    /// Rows of them, by key of the feature.
    rows: BTreeMap<String, RowSet>,
}

impl Choice {
    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether something of this file is to be taken.
    pub fn has(&self, file: &ReceiptFile) -> bool {
        self.files.contains_key(&file.uuid())
    }

    /// The rows to take of the file with this uuid; `None` if there are none.
    pub fn rows_in(&self, uuid: Uuid) -> Option<&RowSet> {
        self.files.get(&uuid)
    }

    /// Rows of a feature that will be added.
    pub fn rows_of(&self, key: &str) -> RowSet {
        self.rows.get(key).cloned().unwrap_or_else(RowSet::new)
    }

    /// Digests of the receipts that add rows to a feature.
    pub(super) fn receipts_of(&self, key: &str, shards: &[Shard]) -> Vec<String> {
        let of_it = |of: FileContent<'_>| matches!(of, FileContent::Feature(f, _) if f.desc.key() == key);
        let adds = |s: &&Shard| s.receipt.contents().any(|(file, of)| self.has(file) && of_it(of));
        shards.iter().filter(adds).map(|s| s.receipt.digest.clone()).collect()
    }
}

/// What a snapshot has of a feature.
struct StoredFeature {
    files: BTreeSet<Uuid>,
    rows: RowSet,
    receipts: Vec<String>,
    /// Of the dataset.
    live: Arc<RowSet>,
    purged: RowSet,
    checks: Checks,
}

/// The rows that a snapshot lacks. Rows that it has, and that are others in a shard, are an error.
pub(super) fn choose(store: &Store, snapshot: &Snapshot, shards: &[Shard]) -> Result<Choice, AttachError> {
    let mut stored: BTreeMap<String, StoredFeature> = BTreeMap::new();
    let mut choice = Choice::default();
    for shard in shards {
        let dataset = snapshot.dataset(&shard.receipt.note.dataset)?;
        let live = snapshot.live_rows(dataset)?;
        for (file, of) in shard.receipt.contents() {
            match of {
                FileContent::Feature(f, entry) => {
                    let key = f.desc.key();
                    let there = match stored.entry(key.clone()) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(new) => {
                            let there = look(store, snapshot, f, new.key())?;
                            new.insert(there)
                        }
                    };
                    let take = lacking(snapshot, shard, (f, entry), file, there)?;
                    if !take.is_empty() {
                        let rows = choice.rows.entry(key).or_default();
                        *rows = rows.union(&take.difference(&there.purged));
                        choice.files.insert(file.uuid(), take);
                    }
                }
                // Token counts may overlap those that are there: what they say follows from the encoding. Of
                // rows that were deleted then they are zeros: if one is back, the next ingest counts.
                FileContent::Encoding(e, entry) => {
                    let there = dataset.encoding(&e.key).map_or_else(RowSet::new, EncodingEntry::rows);
                    let missing = RowSet::from_ranges(live.within(entry.range())).difference(&there);
                    if !missing.is_empty() && missing.difference(&shard.receipt.row_set()).is_empty() {
                        choice.files.insert(entry.uuid, file.row_set());
                    }
                }
            }
        }
    }
    Ok(choice)
}

fn look(
    store: &Store,
    snapshot: &Snapshot,
    feature: &JobFeature,
    key: &str,
) -> Result<StoredFeature, AttachError> {
    let part = snapshot.feature_by_key(key);
    let dataset = snapshot.dataset(&feature.desc.dataset)?;
    Ok(StoredFeature {
        files: part.iter().flat_map(|p| &p.segments).map(|s| s.uuid).collect(),
        rows: published_rows(snapshot, key)?,
        receipts: part.map_or_else(Vec::new, |p| attached(p)),
        live: snapshot.live_rows(dataset)?,
        purged: purged_rows(snapshot, dataset)?,
        checks: Checks::new(store),
    })
}

/// The rows to take of a file: all, if the snapshot has none of them, else the live ones that it lacks.
fn lacking(
    snapshot: &Snapshot,
    shard: &Shard,
    of: (&JobFeature, &SegmentEntry),
    file: &ReceiptFile,
    there: &StoredFeature,
) -> Result<RowSet, AttachError> {
    let rows = file.row_set();
    let live = rows.intersection(&there.live);
    if there.files.contains(&file.uuid()) || live.is_empty() {
        return Ok(RowSet::new());
    }
    if rows.intersection(&there.rows).is_empty() {
        return Ok(rows);
    }
    let missing = live.difference(&there.rows);
    // Compacted since: the file went, and its rows are there under another name.
    if missing.is_empty() && there.receipts.contains(&shard.receipt.digest) {
        return Ok(missing);
    }
    let both = live.intersection(&there.rows);
    let others = there.checks.differing(snapshot, shard, of, file, &both)?;
    if others.is_empty() {
        return Ok(missing);
    }
    Err(AttachError::Present { feature: of.0.name(), folder: shard.shown.clone(), rows: others })
}

/// Live rows that a feature lacks once the chosen files are there.
pub(super) fn missing(
    snapshot: &Snapshot,
    feature: &JobFeature,
    choice: &Choice,
) -> Result<RowSet, AttachError> {
    let key = feature.desc.key();
    let dataset = snapshot.dataset(&feature.desc.dataset)?;
    let there = published_rows(snapshot, &key)?.union(&choice.rows_of(&key));
    Ok(snapshot.live_rows(dataset)?.difference(&there))
}
