//! Batch preparation: from the samples of a window to batches of tokens.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use gstore_core::{Cancel, parallel};
use gstore_store::{Granularity, RowFlags, RowSet, SampleReader, TokenCount};

use super::IngestError;
use super::window::{BatchLimits, cut_batches};
use super::work::WindowWork;
use gstore_data::{Content, Encoded, TextEncoder, parse_record};
use gstore_model::PackedSample;

/// A batch of samples or of parts of them, ready for the model.
pub(crate) struct TokenBatch {
    pub rows: Vec<BatchRow>,
}

/// One entry of a batch: a row, or one scored token of it.
#[derive(Clone)]
pub(crate) struct BatchRow {
    /// Row of the dataset.
    pub row: u64,
    /// Where each scored token has a vector of its own, the position of this one; 0 in a row without one.
    pub pos: Option<u32>,
    /// The row's tokens and which of them are scored.
    pub encoded: Arc<Encoded>,
}

impl TokenBatch {
    pub fn tokens(&self) -> u64 {
        self.rows.iter().map(|row| row.len() as u64).sum()
    }
}

impl BatchRow {
    /// Tokens that the model reads for it: nothing after the token that it is about.
    pub fn len(&self) -> usize {
        match self.pos {
            Some(pos) if pos > 0 => pos as usize,
            _ => self.encoded.ids.len(),
        }
    }

    /// What the model is given.
    pub fn sample(&self) -> PackedSample<'_> {
        let part = self.pos.filter(|pos| *pos > 0).map(|pos| pos as usize);
        PackedSample { part, ..PackedSample::new(&self.encoded.ids, &self.encoded.scored) }
    }

    /// Tokens of its row that are done with it: all, or where a row has several entries a share, by what the
    /// model reads for each. Those of all entries sum to the row's tokens.
    pub fn tokens_done(&self) -> u64 {
        let all = self.encoded.ids.len() as u64;
        let Some(pos) = self.pos.filter(|pos| *pos > 0).map(|pos| pos as usize) else { return all };
        let read = |to: usize| -> u128 {
            self.sample().labels().take_while(|label| *label <= to).map(|label| label as u128).sum()
        };
        let total = read(usize::MAX).max(1);
        let done = |read: u128| (read * u128::from(all) / total) as u64;
        done(read(pos)) - done(read(pos - 1))
    }

    /// Its entries: itself, or one for each scored token.
    pub fn entries(self, granularity: Granularity) -> Vec<BatchRow> {
        if granularity == Granularity::Sample {
            return vec![self];
        }
        let mut positions: Vec<u32> = self.sample().labels().map(|label| label as u32).collect();
        if positions.is_empty() {
            positions.push(0);
        }
        positions.into_iter().map(|pos| BatchRow { pos: Some(pos), ..self.clone() }).collect()
    }

    /// The encoding's entry of the row.
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
pub(crate) fn token_flags(encoded: &Encoded) -> RowFlags {
    let mut flags = RowFlags::default();
    if encoded.scored_tokens() == 0 {
        flags.insert(RowFlags::NO_SCORED);
    }
    if encoded.truncated {
        flags.insert(RowFlags::TRUNCATED);
    }
    flags
}

pub(crate) struct BatchPreparer<'a> {
    pub samples: &'a SampleReader,
    /// Template and tokenizer.
    pub encoder: &'a TextEncoder,
    /// What an entry of a batch is: what a pass of the model is for.
    pub granularity: Granularity,
    pub limits: BatchLimits,
    /// The rows that are prepared; none: all live ones.
    pub chosen: Option<&'a RowSet>,
    /// Threads that tokenise. What comes out does not depend on them.
    pub threads: usize,
    /// Raised to stop: what is prepared after that is not to be used.
    pub cancel: &'a Cancel,
}

impl BatchPreparer<'_> {
    /// The id of a row.
    ///
    /// # Errors
    /// A row that is not live, or cannot be read.
    pub fn id_of(&self, row: u64) -> Result<String, IngestError> {
        Ok(self.samples.ids(&[row])?.pop().unwrap_or_default())
    }

    /// The batches of a window that hold a row which some feature lacks.
    ///
    /// Batches are cut over all live rows of the cell, or over those that were chosen, so that a row meets
    /// the same neighbours in every run of the request. Entries are made one batch after the other: those of
    /// a window would not fit in memory where each token is one.
    ///
    /// # Errors
    /// A sample that cannot be read, parsed or encoded.
    pub fn window<'w>(
        &self,
        window: &'w WindowWork,
    ) -> Result<impl Iterator<Item = TokenBatch> + use<'w>, IngestError> {
        Ok(self.batches(self.encode(window.cell_rows())?, |row| window.is_missing(row)))
    }

    /// The batches of some rows that hold a wanted one.
    pub fn batches<W: Fn(u64) -> bool>(
        &self,
        rows: Vec<BatchRow>,
        wanted: W,
    ) -> impl Iterator<Item = TokenBatch> + use<W> {
        let granularity = self.granularity;
        let lengths = rows.iter().flat_map(|row| row.clone().entries(granularity)).map(|entry| entry.len());
        let cuts = cut_batches(lengths, self.limits);
        let mut entries = rows.into_iter().flat_map(move |row| row.entries(granularity));
        cuts.into_iter()
            .map(move |cut| TokenBatch { rows: entries.by_ref().take(cut.len()).collect() })
            .filter(move |batch| batch.rows.iter().any(|entry| wanted(entry.row)))
    }

    /// The live samples of a row range, tokenised, in row order; fewer once the run is stopped.
    ///
    /// # Errors
    /// A sample that cannot be read, parsed or encoded.
    pub fn encode(&self, rows: Range<u64>) -> Result<Vec<BatchRow>, IngestError> {
        self.encode_rows(RowSet::from_range(rows))
    }

    /// The same of any rows.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_rows(&self, rows: RowSet) -> Result<Vec<BatchRow>, IngestError> {
        let mut encoded = Vec::new();
        for batch in self.samples.scan_rows(&["row", "record"], rows) {
            let batch = batch?;
            let is_chosen = |(row, _): &StoredRecord<'_>| self.chosen.is_none_or(|rows| rows.contains(*row));
            let records: Vec<StoredRecord<'_>> = rows_and_records(&batch)?.filter(is_chosen).collect();
            let share = records.len().div_ceil(self.threads.max(1)).max(1);
            let shares: Vec<&[StoredRecord<'_>]> = records.chunks(share).collect();
            let parts = parallel::each(shares.iter(), |share| self.encode_share(share))?;
            for (part, share) in parts.into_iter().zip(&shares) {
                let stopped = part.len() < share.len();
                encoded.extend(part);
                // What later threads did would leave a gap.
                if stopped {
                    return Ok(encoded);
                }
            }
        }
        Ok(encoded)
    }

    fn encode_share(&self, records: &[StoredRecord<'_>]) -> Result<Vec<BatchRow>, IngestError> {
        let mut encoded = Vec::with_capacity(records.len());
        for &(row, record) in records {
            let found = self.encode_row(row, record);
            // Before its errors: a stop is no failure.
            if self.cancel.is_raised() {
                break;
            }
            encoded.push(found?);
        }
        Ok(encoded)
    }

    fn encode_row(&self, row: u64, record: Option<&[u8]>) -> Result<BatchRow, IngestError> {
        let tokens = self.encoder.encode(&stored_content(row, record)?);
        let tokens = tokens.map_err(|source| IngestError::Encode { row, source })?;
        Ok(BatchRow { row, pos: None, encoded: Arc::new(tokens) })
    }
}

type StoredRecord<'a> = (u64, Option<&'a [u8]>);

pub(super) fn stored_content(row: u64, record: Option<&[u8]>) -> Result<Content, IngestError> {
    let record = parse_record(record.ok_or(IngestError::NoRecord { row })?);
    Ok(record.map_err(|source| IngestError::StoredRecord { row, source })?.content)
}

fn rows_and_records(batch: &RecordBatch) -> Result<impl Iterator<Item = StoredRecord<'_>>, IngestError> {
    let rows = batch.column_by_name("row").and_then(|c| c.as_primitive_opt::<UInt64Type>());
    let records = batch.column_by_name("record").and_then(|c| c.as_binary_opt::<i32>());
    let (Some(rows), Some(records)) = (rows, records) else { return Err(IngestError::SampleColumns) };
    Ok(rows.values().iter().copied().zip(records))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_of_a_row_are_done_as_its_entries_are() {
        let row = |scored: Vec<bool>| {
            let encoded = Encoded { ids: vec![7; scored.len()], scored, truncated: false };
            BatchRow { row: 3, pos: None, encoded: Arc::new(encoded) }
        };
        let done = |row: BatchRow, granularity: Granularity| -> Vec<u64> {
            row.entries(granularity).iter().map(BatchRow::tokens_done).collect()
        };
        let scored: Vec<bool> = (0..100).map(|pos| pos >= 40).collect();
        let of_tokens = done(row(scored.clone()), Granularity::Token);
        assert_eq!((of_tokens.len(), of_tokens.iter().sum::<u64>()), (60, 100));
        // A later token takes a longer pass.
        assert!(of_tokens.iter().all(|tokens| *tokens <= 3), "{of_tokens:?}");
        assert!(of_tokens[..30].iter().sum::<u64>() < 50, "{of_tokens:?}");
        assert_eq!(done(row(scored), Granularity::Sample), [100]);
        assert_eq!(done(row(vec![false; 100]), Granularity::Token), [100]);
    }
}
