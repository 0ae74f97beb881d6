//! Columns of an ensemble: losses of one checkpoint, stored relative to an offset of each row.

use std::ops::Range;
use std::sync::Arc;

use gstore_model::weights::NOT_NUMBERS;
use gstore_store::{CELL_ROWS, FeatureReader, RowFlags};

use super::IngestError;

/// What the losses of a checkpoint are stored relative to.
#[derive(Debug, Clone)]
pub(super) struct EnsembleColumn {
    /// Name of the checkpoint.
    pub checkpoint: String,
    /// One value a row; none where these losses are the offsets themselves.
    pub offset: Option<Arc<FeatureReader>>,
}

pub(super) struct LossOffsets {
    checkpoint: String,
    first: u64,
    values: Vec<f32>,
}

impl EnsembleColumn {
    /// The offsets of the rows of a cell.
    pub fn offsets(&self, rows: Range<u64>) -> Result<LossOffsets, IngestError> {
        let values = match &self.offset {
            Some(reader) => reader.offsets(rows.start / CELL_ROWS)?,
            None => Vec::new(),
        };
        Ok(LossOffsets { checkpoint: self.checkpoint.clone(), first: rows.start, values })
    }
}

impl LossOffsets {
    /// What is stored of a loss: its difference to the row's offset, or nothing (NaN) where no token is
    /// scored.
    ///
    /// # Errors
    /// A loss that is not a number.
    pub fn delta(&self, row: u64, loss: f32, flags: RowFlags) -> Result<f32, IngestError> {
        if flags.contains(RowFlags::NO_SCORED) {
            return Ok(f32::NAN);
        }
        if !loss.is_finite() {
            let (checkpoint, model) = (self.checkpoint.clone(), NOT_NUMBERS.to_owned());
            return Err(IngestError::Diverged { checkpoint, loss, row, model });
        }
        let offset = row.checked_sub(self.first).and_then(|at| self.values.get(at as usize));
        Ok(loss - offset.copied().filter(|offset| offset.is_finite()).unwrap_or(0.0))
    }
}
