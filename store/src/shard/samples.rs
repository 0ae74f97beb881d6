//! `samples.xxh3`: identity of the samples behind a shard's rows.
//!
//! A copy of a store keeps the store's UUID and goes on numbering where the copy was made, so neither a
//! number of a snapshot nor one of a row says which sample was meant. The file has 8 bytes for each row of
//! the shard, ascending: XXH3-64 over the digest of the sample and its id, little-endian. Compaction does not
//! change it, because it is of what the files say and not of the files.

use crate::error::ReadError;
use crate::manifest::DatasetPart;
use crate::samples::scan_known;
use crate::store::Snapshot;
use gstore_core::RowSet;
use xxhash_rust::xxh3::Xxh3;

const ROW_BYTES: usize = 8;

/// The bytes that the file of some rows has.
pub(super) fn file_len(rows: &RowSet) -> u64 {
    rows.len().saturating_mul(ROW_BYTES as u64)
}

/// Calls `each` with the stored samples among some rows, deleted ones too, until it says stop.
fn scan(
    snapshot: &Snapshot,
    dataset: &DatasetPart,
    rows: &RowSet,
    mut each: impl FnMut(u64, &str, u64) -> bool,
) -> Result<(), ReadError> {
    let (Some(first), Some(last)) = (rows.ranges().first(), rows.ranges().last()) else { return Ok(()) };
    let reader = snapshot.samples(dataset)?.stored();
    for sample in scan_known(&reader, first.start) {
        let (id, row, digest) = sample?;
        if row >= last.end {
            break;
        }
        let mut hash = Xxh3::new();
        hash.update(&digest.number().to_le_bytes());
        hash.update(id.as_bytes());
        if rows.contains(row) && !each(row, &id, hash.digest()) {
            break;
        }
    }
    Ok(())
}

/// The content of the file. A row without a sample has zeros.
pub(super) fn of_rows(
    snapshot: &Snapshot,
    dataset: &DatasetPart,
    rows: &RowSet,
) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    let mut wanted = rows.iter();
    scan(snapshot, dataset, rows, |row, _, digest| {
        wanted.by_ref().take_while(|w| *w < row).for_each(|_| bytes.extend([0; ROW_BYTES]));
        bytes.extend(digest.to_le_bytes());
        true
    })?;
    bytes.resize(rows.len() as usize * ROW_BYTES, 0);
    Ok(bytes)
}

/// The first stored row that is another sample than the file says, and its id.
pub(super) fn difference(
    snapshot: &Snapshot,
    dataset: &DatasetPart,
    rows: &RowSet,
    file: &[u8],
) -> Result<Option<(u64, String)>, ReadError> {
    let mut expected = rows.iter().zip(file.chunks_exact(ROW_BYTES));
    let mut found = None;
    scan(snapshot, dataset, rows, |row, id, digest| {
        let same = expected.find(|(r, _)| *r == row).is_some_and(|(_, e)| *e == digest.to_le_bytes());
        if !same {
            found = Some((row, id.to_owned()));
        }
        same
    })?;
    Ok(found)
}
