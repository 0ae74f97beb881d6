//! Token batches of chosen rows of a dataset, for jobs that store no features.

use std::sync::Arc;

use gstore_core::Cancel;
use gstore_store::{CELL_ROWS, DatasetPart, EncodingSpec, Granularity, RowSet, SampleReader, Snapshot};

use super::IngestError;
use super::plan::encoder;
use super::prepare::{BatchPreparer, TokenBatch};
use super::request::IngestRequest;
use super::tracked::positions;
use super::window::{BatchLimits, cut_batches};
use gstore_data::{Encoded, TextEncoder};
use gstore_model::weights::ModelFolder;

/// A row and its tokens.
#[derive(Debug, Clone)]
pub struct EncodedRow {
    /// Row of the dataset.
    pub row: u64,
    /// Its tokens, and which of them are scored.
    pub encoded: Arc<Encoded>,
}

/// Samples of a dataset as the model reads them, with the rules of an ingest of the same request.
///
/// Batches are cut cell by cell over the rows asked for: the same rows give the same batches, whatever the
/// number of threads.
pub struct RowBatches {
    dataset: String,
    samples: SampleReader,
    encoder: TextEncoder,
    /// Limits of the request, for batches of samples that the caller has.
    limits: BatchLimits,
    /// Those of batches of rows.
    limits_of_rows: BatchLimits,
    /// Values that the caller holds for each row of a batch.
    values: usize,
    threads: usize,
}

impl RowBatches {
    /// For a dataset, with the model, text options, batch tokens and threads of the request. The caller holds
    /// `values` values for each row of a batch at once, and `tell` hears what is to be noted of the tokenizer
    /// ([`TextEncoder::check_vocabulary`]).
    ///
    /// # Errors
    /// A dataset, model or tokenizer that cannot be used, and samples longer than the model's positions.
    pub fn new(
        snapshot: &Snapshot,
        dataset: &DatasetPart,
        request: &IngestRequest,
        values: usize,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Self, IngestError> {
        let encoder = encoder(request)?;
        let vocabulary = ModelFolder::open(&request.model)?.decoder().vocab_size;
        encoder.check_vocabulary(vocabulary)?.iter().for_each(|note| tell(note));
        let max_length = request.text.max_length;
        if let Some(most) = positions(&request.model)?.filter(|most| *most < max_length) {
            return Err(IngestError::TooLong { max_length, positions: most as usize });
        }
        let limits = BatchLimits::new(request.batch_tokens, values);
        let (samples, dataset) = (snapshot.samples(dataset)?, dataset.name.clone());
        let threads = request.threads;
        Ok(Self { dataset, samples, encoder, limits, limits_of_rows: limits, values, threads })
    }

    /// Cuts batches of at most so many tokens and rows from now on; those of [`RowBatches::cut`] stay as they
    /// are.
    pub fn resize(&mut self, tokens: usize, rows: usize) {
        let limits = BatchLimits::new(tokens, self.values);
        self.limits_of_rows = BatchLimits { rows: limits.rows.min(rows.max(1)), ..limits };
    }

    /// Description of the encoding.
    pub fn encoding(&self) -> EncodingSpec {
        self.encoder.spec()
    }

    /// Tokenizer and template.
    pub fn encoder(&self) -> &TextEncoder {
        &self.encoder
    }

    /// Name of the dataset.
    pub fn dataset(&self) -> &str {
        &self.dataset
    }

    /// Reader of the samples.
    pub fn samples(&self) -> &SampleReader {
        &self.samples
    }

    /// The largest number of rows in a batch.
    pub fn most_rows(&self) -> usize {
        self.limits_of_rows.rows
    }

    /// Tokens and samples in the largest batch of [`RowBatches::cut`], unless a sample has more tokens.
    pub fn most_of_cut(&self) -> [usize; 2] {
        [self.limits.tokens, self.limits.rows]
    }

    /// Passes the batches of some rows to `take`, in row order, until it returns false.
    ///
    /// # Errors
    /// A sample that cannot be read, parsed or encoded; cancellation.
    pub fn each(
        &self,
        rows: &RowSet,
        cancel: &Cancel,
        take: &mut dyn FnMut(Vec<EncodedRow>) -> bool,
    ) -> Result<(), IngestError> {
        let preparer = BatchPreparer {
            samples: &self.samples,
            encoder: &self.encoder,
            granularity: Granularity::Sample,
            limits: self.limits_of_rows,
            chosen: Some(rows),
            threads: self.threads,
            cancel,
        };
        for cell in rows.cells() {
            let encoded = preparer.encode(cell * CELL_ROWS..(cell + 1) * CELL_ROWS)?;
            cancel.check()?;
            for TokenBatch { rows } in preparer.batches(encoded, |_| true) {
                let batch = rows.into_iter().map(|row| EncodedRow { row: row.row, encoded: row.encoded });
                if !take(batch.collect()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Batches of samples of these lengths by the limits of the request, as contiguous ranges of indices.
    pub fn cut(&self, tokens: impl IntoIterator<Item = usize>) -> Vec<std::ops::Range<usize>> {
        cut_batches(tokens, self.limits)
    }
}
