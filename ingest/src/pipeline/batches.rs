//! Token batches of chosen rows of a dataset, for jobs that store no features of them.

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

/// Samples of a dataset as the model reads them, by the rules of an ingest with the same request.
///
/// Batches are cut over the rows that are asked for, cell by cell: the same rows give the same batches,
/// whatever the threads.
pub struct RowBatches {
    dataset: String,
    samples: SampleReader,
    encoder: TextEncoder,
    limits: BatchLimits,
    threads: usize,
    note: Option<String>,
}

impl RowBatches {
    /// Of a dataset, with the model, the text options, the tokens of a batch and the threads of the request.
    /// `values` of a row are held at once by who takes the batches.
    ///
    /// # Errors
    /// A dataset, model or tokenizer that cannot be used, and samples longer than the model's positions.
    pub fn new(
        snapshot: &Snapshot,
        dataset: &DatasetPart,
        request: &IngestRequest,
        values: usize,
    ) -> Result<Self, IngestError> {
        let encoder = encoder(request)?;
        let note = encoder.check_vocabulary(ModelFolder::open(&request.model)?.decoder().vocab_size)?;
        let max_length = request.text.max_length;
        if let Some(most) = positions(&request.model)?.filter(|most| *most < max_length) {
            return Err(IngestError::TooLong { max_length, positions: most as usize });
        }
        let limits = BatchLimits::new(request.batch_tokens, values);
        let (samples, dataset) = (snapshot.samples(dataset)?, dataset.name.clone());
        Ok(Self { dataset, samples, encoder, limits, threads: request.threads, note })
    }

    /// What the user should know of the tokenizer, as [`TextEncoder::check_vocabulary`] says it.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
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

    /// Where the samples are.
    pub fn samples(&self) -> &SampleReader {
        &self.samples
    }

    /// Rows of a batch at most.
    pub fn most_rows(&self) -> usize {
        self.limits.rows
    }

    /// Hands the batches of some rows to `take`, in the order of the rows, until it says false.
    ///
    /// # Errors
    /// A sample that cannot be read, parsed or encoded, and being told to stop.
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
            limits: self.limits,
            chosen: Some(rows),
            threads: self.threads,
            cancel,
        };
        for cell in rows.cells() {
            let encoded = preparer.encode(cell * CELL_ROWS..(cell + 1) * CELL_ROWS)?;
            if cancel.is_raised() {
                return Err(IngestError::Stopped);
            }
            for TokenBatch { rows } in preparer.batches(encoded, |_| true) {
                let batch = rows.into_iter().map(|row| EncodedRow { row: row.row, encoded: row.encoded });
                if !take(batch.collect()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Batches of samples of these lengths, as places without gaps.
    pub fn cut(&self, tokens: impl IntoIterator<Item = usize>) -> Vec<std::ops::Range<usize>> {
        cut_batches(tokens, self.limits)
    }
}
