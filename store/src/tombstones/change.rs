//! Deleting rows from a dataset part, before it is published.

use super::file::BitmapKind;
use super::{LiveRows, file};
use crate::error::StorageError;
use crate::layout::{Env, deleted_ids_file, tombstone_file, tombstone_folder};
use crate::manifest::{DatasetPart, TombstoneEntry};

use gstore_core::RowSet;

/// More bitmaps than this are merged into one, so that a dataset opens as fast after a
/// thousand deletes as after one.
const FILES: usize = 8;

/// Deletes rows of a dataset: the bitmap is written and flushed, `part` gets it. Rows that are not live are
/// left out; returns those that were. The caller holds the writer lock and publishes the part, or removes its
/// [`new_files`]. After an error there is none.
pub(crate) fn bury(env: &Env, part: &mut DatasetPart, rows: &RowSet) -> Result<RowSet, StorageError> {
    let before = LiveRows::read(env, part)?;
    let rows = rows.intersection(&before.live);
    if rows.is_empty() {
        return Ok(rows);
    }
    if part.tombstones.len() < FILES {
        let added = write(env, part, &[(&rows, BitmapKind::Deleted)])?;
        let mut tombstones = part.tombstones.clone();
        tombstones.extend(added);
        part.set_tombstones(tombstones);
    } else {
        set_dead(env, part, &before.deleted.union(&rows), &before.superseded, &before.purged)?;
    }
    Ok(rows)
}

/// Says of rows that newer ones have their ids: live rows are deleted, and of deleted ones it is noted. The
/// same holds for the files as for [`bury`].
pub(crate) fn supersede(env: &Env, part: &mut DatasetPart, rows: &RowSet) -> Result<(), StorageError> {
    if rows.is_empty() {
        return Ok(());
    }
    let before = LiveRows::read(env, part)?;
    let strange = rows.difference(&before.live).difference(&before.deleted);
    if !strange.is_empty() {
        let detail = format!("rows {strange} are neither live nor deleted");
        return Err(StorageError::io("replace samples", std::io::Error::other(detail)));
    }
    set_dead(env, part, &before.deleted.union(rows), &before.superseded.union(rows), &before.purged)
}

/// Replaces all bitmaps of a dataset: at most one of deleted rows, one of those among them that have a
/// successor, and one of purged rows. Rows outside of the files need none. The same holds for the
/// files as for [`bury`].
pub(crate) fn set_dead(
    env: &Env,
    part: &mut DatasetPart,
    deleted: &RowSet,
    superseded: &RowSet,
    purged: &RowSet,
) -> Result<(), StorageError> {
    let stored = part.stored_rows();
    let purged = purged.intersection(&stored);
    let deleted = deleted.intersection(&stored).difference(&purged);
    let superseded = superseded.intersection(&deleted);
    let sets = [
        (&deleted.difference(&superseded), BitmapKind::Deleted),
        (&superseded, BitmapKind::Superseded),
        (&purged, BitmapKind::Purged),
    ];
    let tombstones = write(env, part, &sets)?;
    part.set_tombstones(tombstones);
    Ok(())
}

/// Bitmaps, and the list of ids, that `after` has and `before` does not, relative to the store.
pub(crate) fn new_files(before: &DatasetPart, after: &DatasetPart) -> Vec<String> {
    let old = |t: &TombstoneEntry| before.tombstones.iter().any(|o| o.uuid == t.uuid);
    let bitmaps = after.tombstones.iter().filter(|t| !old(t)).map(|t| tombstone_file(after.number, t.uuid));
    let list = after.deleted_ids.iter().filter(|_| before.deleted_ids != after.deleted_ids);
    bitmaps.chain(list.map(|l| deleted_ids_file(after.number, l.uuid))).collect()
}

/// Writes a bitmap for each set that has rows, all of them or none.
fn write(
    env: &Env,
    part: &DatasetPart,
    sets: &[(&RowSet, BitmapKind)],
) -> Result<Vec<TombstoneEntry>, StorageError> {
    let mut written: Vec<TombstoneEntry> = Vec::new();
    let mut all = || {
        for (rows, kind) in sets.iter().filter(|(rows, _)| !rows.is_empty()) {
            if written.is_empty() {
                file::make_folder(env, part.number)?;
            }
            written.push(file::write(env, part.number, rows, *kind)?);
        }
        if written.is_empty() { Ok(()) } else { env.sync_folder(&tombstone_folder(part.number)) }
    };
    match all() {
        Ok(()) => Ok(written),
        Err(e) => {
            for entry in written {
                let _ = env.vfs().remove(&env.at(&tombstone_file(part.number, entry.uuid)));
            }
            Err(e)
        }
    }
}
