//! One bitmap on disk: a 64-bit roaring bitmap in its portable form, which other tools read too.

use crate::error::{Damage, StorageError};
use crate::layout::{Env, tombstone_file, tombstone_folder};
use crate::manifest::{DatasetPart, Extra, TombstoneEntry, write_new};

use gstore_core::{Digest, RowSet, many};
use roaring::RoaringTreemap;
use uuid::Uuid;

/// No bitmap is longer: 2^33 rows at one bit each.
const LIMIT: u64 = 1 << 30;

/// What is left of the rows of a bitmap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BitmapKind {
    /// Their samples, until a rewrite.
    Deleted,
    /// The same, and a newer row has, or had, the id.
    Superseded,
    /// Nothing but their numbers.
    Purged,
}

/// Writes a bitmap and flushes it; the caller flushes the folder. Nothing refers to it before the next
/// publish, and its name is new, so it is written in its place at once. After an error it is gone again, as
/// far as that is possible.
pub(super) fn write(
    env: &Env,
    dataset: u32,
    rows: &RowSet,
    kind: BitmapKind,
) -> Result<TombstoneEntry, StorageError> {
    let mut bitmap = RoaringTreemap::new();
    for range in rows.ranges() {
        bitmap.insert_range(range.clone());
    }
    let uuid = Uuid::new_v4();
    let name = tombstone_file(dataset, uuid);
    let mut bytes = Vec::with_capacity(bitmap.serialized_size());
    bitmap.serialize_into(&mut bytes).map_err(Env::io("write", &name))?;
    write_new(env.vfs(), &env.at(&name), &name, &bytes)?;
    Ok(TombstoneEntry {
        uuid,
        rows: rows.len(),
        len: bytes.len() as u64,
        digest: Digest::of(&bytes),
        purged: kind == BitmapKind::Purged,
        superseded: kind == BitmapKind::Superseded,
        extra: Extra::new(),
    })
}

/// Makes the folder of a dataset's bitmaps.
pub(super) fn make_folder(env: &Env, dataset: u32) -> Result<(), StorageError> {
    let folder = tombstone_folder(dataset);
    env.make_folder(&folder)?;
    // The folder above may be new as well: stores made before there were deletes do not have it.
    env.sync_folder("")
}

/// What is not known without a bitmap.
pub(crate) fn lost_with(entry: &TombstoneEntry, dataset: &str) -> String {
    format!("the bitmap of {} of dataset {dataset} cannot be read", many(entry.rows, "deleted row"))
}

/// Reads a bitmap, compared with its length, digest and number of rows.
pub(crate) fn read(env: &Env, part: &DatasetPart, entry: &TombstoneEntry) -> Result<RowSet, StorageError> {
    let name = tombstone_file(part.number, entry.uuid);
    let damage = |what: &str, expected: String, found: String| -> StorageError {
        Damage::new(&name, what, expected, found).affecting(lost_with(entry, &part.name)).into()
    };
    let bytes = match env.vfs().read(&env.at(&name), LIMIT) {
        Ok(bytes) => bytes,
        Err(e) => {
            let (expected, lost) = (format!("{} bytes", entry.len), lost_with(entry, &part.name));
            return Err(StorageError::of_lost(&name, &expected, Some(lost), e));
        }
    };
    if bytes.len() as u64 != entry.len {
        return Err(damage("length", entry.len.to_string(), bytes.len().to_string()));
    }
    let digest = Digest::of(&bytes);
    if digest != entry.digest {
        return Err(damage("digest", entry.digest.to_string(), digest.to_string()));
    }
    let rows = parse(&bytes).map_err(|e| damage("bitmap", "a roaring bitmap".into(), e))?;
    if rows.len() != entry.rows {
        return Err(damage("number of rows", entry.rows.to_string(), rows.len().to_string()));
    }
    if !rows.difference(&part.stored_rows()).is_empty() {
        let extra = rows.difference(&part.stored_rows());
        return Err(damage("rows", format!("rows of dataset {}", part.name), extra.to_string()));
    }
    Ok(rows)
}

/// The rows of a bitmap.
pub(crate) fn parse(bytes: &[u8]) -> Result<RowSet, String> {
    let mut rest = bytes;
    let bitmap = RoaringTreemap::deserialize_from(&mut rest).map_err(|e| e.to_string())?;
    if !rest.is_empty() {
        return Err(format!("{} bytes after its end", rest.len()));
    }
    if bitmap.contains(u64::MAX) {
        return Err("a row beyond 2^64 - 2".into());
    }
    Ok(RowSet::from_rows_sorted(bitmap.iter()))
}
