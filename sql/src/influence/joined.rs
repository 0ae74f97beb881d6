//! Sample columns of scored rows: read once for each sample, however many of its tokens are scored.

use std::ops::Range;

use arrow_array::RecordBatch;
use arrow_select::interleave::interleave_record_batch;
use gstore_query::influence::Scored;

use crate::distinct::{DistinctRows, distinct};
use crate::error::SqlError;
use crate::samples::text_bytes;
use crate::union::SampleUnion;

/// Bytes of text that are copied at a time. A sample can have thousands of tokens, and its record in the row
/// of each of them would be thousands of times what was read.
const MOST_TEXT: usize = 16 << 20;

/// Some columns of the samples of scored rows.
pub(super) struct JoinedSamples {
    /// One for each pool of which there are rows.
    read: Vec<RecordBatch>,
    /// In step with the scored rows; empty where no column was asked for.
    places: Vec<SamplePosition>,
    /// Whether what was read has the scored rows in their order, so that nothing needs to be copied.
    as_given: bool,
}

/// Where the sample of a scored row is.
#[derive(Clone, Copy, Default)]
struct SamplePosition {
    /// Which of the batches.
    batch: usize,
    /// The row in there.
    row: usize,
    /// Bytes of its text.
    text: usize,
}

impl JoinedSamples {
    /// Reads the columns.
    pub(super) fn new(samples: &SampleUnion, part: &[Scored], columns: &[usize]) -> Result<Self, SqlError> {
        if columns.is_empty() {
            return Ok(Self { read: Vec::new(), places: Vec::new(), as_given: true });
        }
        let pools = distinct(part.iter().map(|s| s.pool));
        let mut read = Vec::with_capacity(pools.len());
        let mut places = vec![SamplePosition::default(); part.len()];
        let mut as_given = pools.len() == 1;
        for pool in pools {
            let rows: Vec<u64> = part.iter().filter(|s| s.pool == pool).map(|s| s.row).collect();
            let once = DistinctRows::new(&rows);
            let batch = samples.fetch_part(pool as usize, once.rows(), columns)?;
            let text = text_of_rows(&batch);
            let of_pool = places.iter_mut().zip(part).filter(|(_, s)| s.pool == pool);
            for ((place, _), row) in of_pool.zip(once.places()) {
                let text = text.get(*row).copied().unwrap_or_default();
                *place = SamplePosition { batch: read.len(), row: *row, text };
            }
            as_given &= once.as_given();
            read.push(batch);
        }
        Ok(Self { read, places, as_given })
    }

    /// Where a batch of the scored rows from `start` on ends: after `most` of them, or sooner if much text
    /// has to be copied for it.
    pub(super) fn end(&self, start: usize, most: usize) -> usize {
        let rows = match self.as_given {
            true => most,
            false => {
                let mut bytes = 0usize;
                let fits = |place: &&SamplePosition| {
                    bytes = bytes.saturating_add(place.text);
                    bytes <= MOST_TEXT
                };
                self.places.iter().skip(start).take(most).take_while(fits).count()
            }
        };
        start.saturating_add(rows.max(1))
    }

    /// The columns of some of the scored rows; of none if none was asked for.
    pub(super) fn columns(&self, rows: Range<usize>) -> Result<RecordBatch, SqlError> {
        match self.read.as_slice() {
            [] => Ok(RecordBatch::new_empty(arrow_schema::Schema::empty().into())),
            [only] if self.as_given => Ok(only.slice(rows.start, rows.len())),
            several => {
                let places = self.places.get(rows).unwrap_or_default();
                let places: Vec<(usize, usize)> = places.iter().map(|p| (p.batch, p.row)).collect();
                Ok(interleave_record_batch(&several.iter().collect::<Vec<_>>(), &places)?)
            }
        }
    }
}

/// Bytes of text in each row.
fn text_of_rows(batch: &RecordBatch) -> Vec<usize> {
    let of_row = |row| batch.columns().iter().map(|column| text_bytes(column, row..row + 1)).sum();
    (0..batch.num_rows()).map(of_row).collect()
}
