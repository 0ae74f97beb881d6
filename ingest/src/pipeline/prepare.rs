//! From the samples of a window to batches of tokens.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use gstore_store::{RowFlags, SampleReader, TokenCount};

use super::IngestError;
use super::window::{BatchLimits, cut_batches};
use super::work::WindowWork;
use crate::data::{Encoded, TextEncoder, parse_record};

/// A batch of whole rows, ready for the model.
pub struct Prepared {
    /// The rows and their tokens.
    pub rows: Vec<PreparedRow>,
}

/// One row of a batch.
pub struct PreparedRow {
    /// Row of the dataset.
    pub row: u64,
    /// Its tokens and which of them are scored.
    pub encoded: Encoded,
}

impl Prepared {
    /// Tokens in the batch.
    pub fn tokens(&self) -> u64 {
        self.rows.iter().map(|row| row.encoded.ids.len() as u64).sum()
    }
}

impl PreparedRow {
    /// What the encoding knows of the row.
    pub fn count(&self) -> TokenCount {
        TokenCount {
            row: self.row,
            tokens: self.encoded.ids.len() as u32,
            scored: self.encoded.scored_tokens() as u32,
            truncated: self.encoded.truncated,
        }
    }

    /// Flags that follow from the tokens alone.
    pub fn flags(&self) -> RowFlags {
        token_flags(&self.encoded)
    }
}

/// Flags that follow from the tokens alone.
pub fn token_flags(encoded: &Encoded) -> RowFlags {
    let mut flags = RowFlags::default();
    if encoded.scored_tokens() == 0 {
        flags.insert(RowFlags::NO_SCORED);
    }
    if encoded.truncated {
        flags.insert(RowFlags::TRUNCATED);
    }
    flags
}

/// Reads and tokenises the samples of one dataset.
pub struct Preparer<'a> {
    /// Where the samples are.
    pub samples: &'a SampleReader,
    /// Template and tokenizer.
    pub encoder: &'a TextEncoder,
    /// Where a batch ends.
    pub limits: BatchLimits,
    /// Raised to stop: what is prepared after that is not to be used.
    pub cancel: &'a AtomicBool,
}

impl Preparer<'_> {
    /// The batches of a window that hold a row which some feature lacks.
    ///
    /// Batches are cut over all live rows of the cell, so that a row meets the same neighbours in every run.
    ///
    /// # Errors
    /// A sample that cannot be read, parsed or encoded.
    pub fn window(&self, window: &WindowWork) -> Result<Vec<Prepared>, IngestError> {
        let rows = self.encode(window.cell_rows())?;
        let cuts = cut_batches(rows.iter().map(|row| row.encoded.ids.len()), self.limits);
        let mut rows = rows.into_iter();
        let mut batches = Vec::with_capacity(cuts.len());
        for cut in cuts {
            let batch: Vec<PreparedRow> = rows.by_ref().take(cut.len()).collect();
            if batch.iter().any(|row| window.is_missing(row.row)) {
                batches.push(Prepared { rows: batch });
            }
        }
        Ok(batches)
    }

    /// The live samples of a row range, tokenised, in row order; fewer once the run is stopped.
    ///
    /// # Errors
    /// A sample that cannot be read, parsed or encoded.
    pub fn encode(&self, rows: Range<u64>) -> Result<Vec<PreparedRow>, IngestError> {
        let mut encoded = Vec::new();
        for batch in self.samples.scan(&["row", "record"], Some(rows)) {
            let batch = batch?;
            for (row, record) in columns::rows_and_records(&batch)? {
                if self.cancel.load(Ordering::Relaxed) {
                    return Ok(encoded);
                }
                let Some(record) = record else { return Err(IngestError::NoRecord { row }) };
                let record =
                    parse_record(record).map_err(|source| IngestError::StoredRecord { row, source })?;
                let encoded_row = self
                    .encoder
                    .encode(&record.content)
                    .map_err(|source| IngestError::Encode { row, source })?;
                encoded.push(PreparedRow { row, encoded: encoded_row });
            }
        }
        Ok(encoded)
    }
}

mod columns {
    //! Typed access to the columns that the store gives back.

    use arrow_array::cast::AsArray;
    use arrow_array::types::UInt64Type;
    use arrow_array::{Array, RecordBatch};

    use super::IngestError;

    /// Pairs of row and original record; a row without one yields `None`.
    pub fn rows_and_records(
        batch: &RecordBatch,
    ) -> Result<impl Iterator<Item = (u64, Option<&[u8]>)> + '_, IngestError> {
        let rows = batch.column_by_name("row").and_then(|c| c.as_primitive_opt::<UInt64Type>());
        let records = batch.column_by_name("record").and_then(|c| c.as_binary_opt::<i32>());
        let (Some(rows), Some(records)) = (rows, records) else { return Err(IngestError::SampleColumns) };
        Ok((0..batch.num_rows()).map(|i| (rows.value(i), records.is_valid(i).then(|| records.value(i)))))
    }
}
