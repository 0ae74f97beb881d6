//! Token counts of samples, looked up by row.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use gstore_store::{EncodingReader, TokenCount};

use super::arrays::row_numbers;
use crate::error::SqlError;

/// The counts of given rows, ascending by row. Rows far apart are looked up one run at a time.
pub(super) fn token_counts(reader: &EncodingReader, rows: &[u64]) -> Result<Vec<TokenCount>, SqlError> {
    const GAP: u64 = 65_536;
    let mut sorted = rows.to_vec();
    sorted.sort_unstable();
    let mut counts = Vec::with_capacity(rows.len());
    for run in sorted.chunk_by(|row, next| *next <= row.saturating_add(GAP + 1)) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        counts.extend(reader.counts(*first..last.saturating_add(1))?);
    }
    Ok(counts)
}

/// The counts of each sample of a batch.
pub(super) struct BatchTokenCounts<'a>(Vec<Option<&'a TokenCount>>);

impl<'a> BatchTokenCounts<'a> {
    pub(super) fn new(stored: &RecordBatch, counts: &'a [TokenCount]) -> Result<Self, SqlError> {
        if counts.is_empty() {
            return Ok(Self(vec![None; stored.num_rows()]));
        }
        let find = |row: &u64| counts.binary_search_by_key(row, |c| c.row).ok().and_then(|i| counts.get(i));
        Ok(Self(row_numbers(stored)?.iter().map(find).collect()))
    }

    pub(super) fn number(&self, value: impl Fn(&TokenCount) -> u32) -> ArrayRef {
        Arc::new(self.0.iter().map(|c| c.map(&value)).collect::<UInt32Array>())
    }

    pub(super) fn flag(&self, value: impl Fn(&TokenCount) -> bool) -> ArrayRef {
        Arc::new(self.0.iter().map(|c| c.map(&value)).collect::<BooleanArray>())
    }
}
