//! The list of deleted ids that no sample file has any more: salted digests in one sorted, immutable file.
//!
//! Invariants
//! - digests ascend, each occurs once; a page is compared with its digest before a lookup believes it
//! - every list of a dataset has the salt of the one before it, so lists are merged without the ids
//! - an id that a live row has, because it was added again, is not in the list

mod list;
mod writer;

pub(crate) use list::{DeletedIds, regions};
pub(crate) use writer::rewrite;

use crate::error::{ReadError, StorageError};
use crate::layout::{Env, sample_file};
use crate::manifest::{DatasetPart, FileEntry};
use crate::table::{TableFile, row_ids};
use gstore_core::{Cancel, RowSet};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use uuid::Uuid;

/// The first half of the SHA-256 of the salt and an id.
pub(crate) type IdDigest = [u8; 16];

/// Bytes of a digest.
const WIDTH: usize = 16;
/// Digests of a page.
const PAGE: usize = 256;
/// Bytes of a page's entry in the tail: its first digest, and the XXH3-64 of its bytes.
const FENCE: usize = WIDTH + 8;
/// What the tail ends in: salt, number of ids, [`MAGIC`], XXH3-128 of the tail before it.
const END: usize = 16 + 8 + 8 + 16;
/// Rows that are read at a time from a damaged file.
const PIECE: usize = 8192;
/// Format and version.
const MAGIC: &[u8; 8] = b"GSDELID1";

pub(crate) fn digest(salt: Uuid, id: &str) -> IdDigest {
    let hash = Sha256::new().chain_update(salt.as_bytes()).chain_update(id.as_bytes()).finalize();
    let mut out = [0; WIDTH];
    out.iter_mut().zip(hash.as_slice()).for_each(|(to, from)| *to = *from);
    out
}

/// What the ids of a dataset are hashed with: what its list has, or a new random salt.
pub(crate) fn salt_of(part: &DatasetPart) -> Uuid {
    part.deleted_ids.as_ref().map_or_else(Uuid::new_v4, |entry| entry.salt)
}

/// The digests of the ids that some rows of a dataset have, and the rows whose ids cannot be read because
/// their file is damaged there: a damaged file is read in pieces. `None`: it was told to stop.
pub(crate) fn readable_digests(
    env: &Env,
    part: &DatasetPart,
    rows: &RowSet,
    salt: Uuid,
    cancel: Option<&Cancel>,
) -> Result<Option<(Vec<IdDigest>, RowSet)>, StorageError> {
    let (mut out, mut lost) = (Vec::new(), RowSet::new());
    let mut read = |file: &FileEntry, rows: &RowSet| -> Result<bool, StorageError> {
        match digests_of(env, part, std::slice::from_ref(file), rows, salt) {
            Ok(found) => out.extend(found.into_iter().map(|(_, id)| id)),
            Err(e) if e.is_damage() => return Ok(false),
            Err(e) => return Err(e),
        }
        Ok(true)
    };
    for file in &part.files {
        if cancel.is_some_and(|flag| flag.is_raised()) {
            return Ok(None);
        }
        if read(file, rows)? {
            continue;
        }
        let range = file.range();
        for start in range.clone().step_by(PIECE) {
            let end = start.saturating_add(PIECE as u64).min(range.end);
            let piece = rows.intersection(&RowSet::from_range(start..end));
            if !piece.is_empty() && !read(file, &piece)? {
                lost = lost.union(&piece);
            }
        }
    }
    Ok(Some((out, lost)))
}

/// The digests of the ids that some rows of sample files have, with their rows. A row of which nothing is
/// left has none.
pub(crate) fn digests_of(
    env: &Env,
    part: &DatasetPart,
    files: &[FileEntry],
    rows: &RowSet,
    salt: Uuid,
) -> Result<Vec<(u64, IdDigest)>, StorageError> {
    let mut out = Vec::new();
    for entry in files {
        let ranges: Vec<_> = rows.within(entry.range()).collect();
        if ranges.is_empty() {
            continue;
        }
        let name = sample_file(part.number, entry.uuid);
        let file = TableFile::new(env.file(&name), entry);
        for batch in file.read(&["row", "id"], &ranges)? {
            let batch = batch?;
            let ids = row_ids(&batch, &name)?.filter(|(_, id)| !id.is_empty());
            out.extend(ids.map(|(row, id)| (row, digest(salt, id))));
        }
    }
    Ok(out)
}

/// The ids that were deleted from a dataset, for callers without a ledger: an append asks that for the rows.
///
/// Memory: 16 bytes for each deleted row that is still in a file, and what the list takes (24
/// bytes for every 256 ids).
pub struct DeletedIdLookup {
    list: Option<DeletedIds>,
    salt: Uuid,
    rows: HashSet<IdDigest>,
}

impl DeletedIdLookup {
    /// Reads the ids of the deleted rows of a dataset.
    pub(crate) fn open(env: &Env, part: &DatasetPart, deleted: &RowSet) -> Result<Self, StorageError> {
        let (list, salt) = (DeletedIds::open(env, part)?, salt_of(part));
        let rows = digests_of(env, part, &part.files, deleted, salt)?;
        Ok(DeletedIdLookup { list, salt, rows: rows.into_iter().map(|(_, id)| id).collect() })
    }

    /// Whether an id that no live row has was deleted.
    ///
    /// # Errors
    /// A list of deleted ids that cannot be read.
    pub fn contains(&mut self, id: &str) -> Result<bool, ReadError> {
        if self.rows.contains(&digest(self.salt, id)) {
            return Ok(true);
        }
        match &mut self.list {
            Some(list) => Ok(list.find(id)?.is_some()),
            None => Ok(false),
        }
    }
}
