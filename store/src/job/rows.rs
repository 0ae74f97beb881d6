//! Rows of a snapshot, as jobs see them.

use crate::error::{ReadError, StorageError};
use crate::manifest::DatasetPart;
use crate::segment::BlockBuffer;
use crate::store::Snapshot;
use gstore_core::RowSet;

/// The rows that a feature has in files of a snapshot, deleted ones among them; none if it is not there.
pub(crate) fn published_rows(snapshot: &Snapshot, key: &str) -> Result<RowSet, ReadError> {
    let part = match snapshot.feature_by_key(key) {
        None => return Ok(RowSet::new()),
        Some(part) if !part.has_gaps() => return Ok(part.row_ranges()),
        Some(part) => part,
    };
    let reader = snapshot.open_feature(part)?;
    let mut scratch = BlockBuffer::new();
    let mut ranges = Vec::new();
    for block in reader.blocks() {
        let range = block.range();
        if range.end - range.start == block.rows() as u64 {
            ranges.push(range);
        } else {
            let rows = reader.read_block(*block, &mut scratch)?.rows;
            ranges.extend(rows.iter().map(|row| *row..row.saturating_add(1)));
        }
    }
    Ok(RowSet::from_ranges(ranges))
}

pub(crate) fn live_rows(snapshot: &Snapshot, dataset: &DatasetPart) -> Result<RowSet, ReadError> {
    Ok(RowSet::clone(&*snapshot.live_rows(dataset)?))
}

/// Rows of a dataset of which nothing may come back: their samples were taken out of the files.
pub(crate) fn purged_rows(snapshot: &Snapshot, dataset: &DatasetPart) -> Result<RowSet, StorageError> {
    let known = snapshot.rows_of(dataset)?;
    let in_files = known.live.union(&known.deleted);
    Ok(RowSet::from_range(0..dataset.next_row).difference(&in_files))
}
