//! Report of an attach, done or planned.

use super::choose::{Choice, missing};
use super::read::Shard;
use crate::error::AttachError;
use crate::job::published_rows;
use crate::shard::ReceiptFile;
use crate::store::Snapshot;
use gstore_core::RowSet;
use serde::Serialize;
use std::collections::BTreeSet;

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttachProgress {
    /// Bytes that are copied and verified.
    pub bytes_done: u64,
    /// Bytes of all files to copy.
    pub bytes_total: u64,
}

/// Outcome of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardOutcome {
    /// Its files are in the store from now on.
    Attached,
    /// They were there already.
    Already,
    /// It has no files: the snapshot had every row of it, or there were more shards than rows.
    Empty,
}

/// A shard of an attach.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AttachedShard {
    /// Its folder.
    pub folder: String,
    /// `i/n`
    pub shard: String,
    /// The dataset.
    pub dataset: String,
    /// Number of the snapshot it was made from.
    pub snapshot: u64,
    /// Its outcome.
    pub outcome: ShardOutcome,
    /// Files that were taken.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Rows that it is for.
    pub rows: u64,
}

/// A feature of an attach.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AttachedFeature {
    /// `dataset/label`
    pub feature: String,
    /// Its key.
    #[serde(skip)]
    pub key: String,
    /// Rows that were added.
    pub added: u64,
    /// Rows that it has now, deleted ones among them.
    pub rows: u64,
    /// Whether it has every live row of the dataset.
    pub complete: bool,
    /// How many live rows it lacks.
    pub missing: u64,
    /// Which, as ranges.
    pub missing_rows: Vec<[u64; 2]>,
    /// The shards that would bring them, as `i/n`.
    pub missing_shards: Vec<String>,
}

/// What an attach did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AttachReport {
    /// Nothing was changed: this is what would happen.
    pub dry_run: bool,
    /// The snapshot that was published; none if there was nothing to change.
    pub snapshot: Option<u64>,
    /// The shards.
    pub shards: Vec<AttachedShard>,
    /// Their features.
    pub features: Vec<AttachedFeature>,
    /// Anything else worth knowing.
    pub notes: Vec<String>,
}

/// The report so far: the shards.
pub(super) fn begin(shards: &[Shard], notes: Vec<String>, choice: &Choice) -> AttachReport {
    let shard = |s: &Shard| {
        let taken: Vec<&ReceiptFile> = s.receipt.files.iter().filter(|f| choice.has(f)).collect();
        AttachedShard {
            folder: s.shown.clone(),
            shard: s.receipt.note.shard.to_string(),
            dataset: s.receipt.note.dataset.clone(),
            snapshot: s.receipt.note.snapshot,
            outcome: match (s.receipt.files.is_empty(), taken.is_empty()) {
                (true, _) => ShardOutcome::Empty,
                (_, true) => ShardOutcome::Already,
                _ => ShardOutcome::Attached,
            },
            files: taken.len() as u64,
            bytes: taken.iter().map(|f| f.bytes()).sum(),
            rows: s.receipt.row_set().len(),
        }
    };
    let shards: Vec<AttachedShard> = shards.iter().map(shard).collect();
    AttachReport { dry_run: false, snapshot: None, shards, features: Vec::new(), notes }
}

/// Adds the features as they are in a snapshot: before the chosen files came, or after it.
pub(super) fn features(
    report: &mut AttachReport,
    snapshot: &Snapshot,
    shards: &[Shard],
    choice: &Choice,
) -> Result<(), AttachError> {
    let nothing = Choice::default();
    let coming = if report.snapshot.is_some() { &nothing } else { choice };
    let mut seen = BTreeSet::new();
    for f in shards.iter().flat_map(|s| &s.receipt.features) {
        let key = f.desc.key();
        if !seen.insert(key.clone()) {
            continue;
        }
        let part = snapshot.feature_by_key(&key);
        let lacking = missing(snapshot, f, coming)?;
        let more = choice.rows_of(&key);
        let missing_shards = bringing(shards, &key, &lacking);
        if !lacking.is_empty() && missing_shards.is_empty() {
            report.notes.push(format!(
                "{} lacks rows that were added after the snapshot of the shards: {lacking}",
                f.name()
            ));
        }
        report.features.push(AttachedFeature {
            feature: part.map_or_else(|| f.name(), |p| p.display_name()),
            key: key.clone(),
            added: more.len(),
            rows: published_rows(snapshot, &key)?.union(&more).len(),
            complete: lacking.is_empty(),
            missing: lacking.len(),
            missing_rows: lacking.pairs(),
            missing_shards,
        });
    }
    Ok(())
}

/// The shards, of the same splits, that some rows belong to.
fn bringing(shards: &[Shard], key: &str, rows: &RowSet) -> Vec<String> {
    let mut names = Vec::new();
    let mut splits: Vec<&[[u64; 2]]> = Vec::new();
    for s in shards.iter().filter(|s| s.receipt.features.iter().any(|f| f.desc.key() == key)) {
        if splits.contains(&s.receipt.split.as_slice()) {
            continue;
        }
        splits.push(&s.receipt.split);
        for (i, [start, end]) in s.receipt.split.iter().enumerate() {
            let own = RowSet::from_range(*start..(*end).min(s.receipt.note.next_row));
            if !rows.intersection(&own).is_empty() {
                names.push(format!("{}/{}", i + 1, s.receipt.split.len()));
            }
        }
    }
    names
}
