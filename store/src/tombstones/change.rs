//! Deleting rows from a dataset part, before it is published.

use super::{LiveRows, file};
use crate::error::StorageError;
use crate::ident::RowSet;
use crate::manifest::{DatasetPart, TombstoneEntry};
use crate::store::{Env, tombstone_folder};

/// More bitmaps than this are merged into one, so that a dataset opens as fast after a thousand deletes as after one.
const FILES: usize = 8;

/// Deletes rows of a dataset: the bitmap is written and flushed, `part` gets it. Rows that are not live are left out; returns
/// those that were. The caller holds the writer lock and publishes the part, or removes the files of [`TombstoneEntry`]s that
/// only `part` has.
pub(crate) fn bury(env: &Env, part: &mut DatasetPart, rows: &RowSet) -> Result<RowSet, StorageError> {
    let before = LiveRows::read(env, part)?;
    let rows = rows.intersection(&before.live);
    if rows.is_empty() {
        return Ok(rows);
    }
    if part.tombstones.len() < FILES {
        file::make_folder(env, part.number)?;
        let mut tombstones = part.tombstones.clone();
        tombstones.push(file::write(env, part.number, &rows, false)?);
        env.sync_folder(&tombstone_folder(part.number))?;
        part.set_tombstones(tombstones);
    } else {
        set_dead(env, part, &before.deleted.union(&rows), &before.purged)?;
    }
    Ok(rows)
}

/// Replaces all bitmaps of a dataset: at most one of deleted rows and one of purged ones. Rows outside of the files need none.
pub(crate) fn set_dead(
    env: &Env,
    part: &mut DatasetPart,
    deleted: &RowSet,
    purged: &RowSet,
) -> Result<(), StorageError> {
    let stored = part.stored_rows();
    let purged = purged.intersection(&stored);
    let deleted = deleted.intersection(&stored).difference(&purged);
    let mut tombstones: Vec<TombstoneEntry> = Vec::new();
    if !deleted.is_empty() || !purged.is_empty() {
        file::make_folder(env, part.number)?;
        for (rows, purged) in [(deleted, false), (purged, true)] {
            if !rows.is_empty() {
                tombstones.push(file::write(env, part.number, &rows, purged)?);
            }
        }
        env.sync_folder(&tombstone_folder(part.number))?;
    }
    part.set_tombstones(tombstones);
    Ok(())
}
