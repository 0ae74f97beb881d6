//! A matrix as batches of rows, for readers that take it as it comes.
//!
//! Invariants
//! - rows and scores are those of the file that [`MatrixJob`](super::MatrixJob) writes, in its order and
//!   with its bits
//! - memory: the vectors of the target samples, and a few batches for each thread

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use gstore_core::{Cancel, parallel};
use gstore_store::SampleReader;

use super::error::MatrixError;
use super::work::TARGETS_KEY;
use super::{encode, of_stored_samples, open_samples, targets};
use crate::error::QueryError;
use crate::influence::{MOST_SAMPLES, Prepared, TargetNames, TileWorker};
use crate::size::needed_and_allowed;

/// A matrix that can be read.
pub struct MatrixRows {
    /// As it was asked, and about the target samples that have scores.
    asked: Prepared,
    part: Prepared,
    samples: Vec<SampleReader>,
    schema: SchemaRef,
    /// Bytes of the vectors of the target samples.
    vectors: u64,
}

impl MatrixRows {
    /// Finds the target samples, whose vectors may take `memory` bytes. Loads no vectors yet.
    ///
    /// # Errors
    /// Where tokens are scored, samples are given with the question, or their vectors do not fit.
    pub fn new(asked: Prepared, memory: u64, cancel: &Cancel) -> Result<Self, MatrixError> {
        of_stored_samples(&asked)?;
        let found = asked.target_samples(cancel)?;
        let count = found.rows.len() as u64;
        if count > MOST_SAMPLES {
            return Err(MatrixError::Refused(format!(
                "a row has the scores of at most {MOST_SAMPLES} target samples, and these are {count}; ask for some subtasks at a time"
            )));
        }
        let needed = asked.sample_bytes().saturating_mul(count);
        if needed > memory {
            let (needed, allowed) = needed_and_allowed(needed, memory);
            return Err(MatrixError::Refused(format!(
                "the vectors of {count} target samples take {needed}, and {allowed} are allowed; ask for some subtasks at a time"
            )));
        }
        let told = targets::as_json(&found, &TargetNames::new(&asked)?)?;
        let told = HashMap::from([(TARGETS_KEY.to_owned(), told)]);
        let fields = encode::schema(asked.pools().len(), found.rows.len());
        let schema = Arc::new(Schema::new_with_metadata(fields.fields().clone(), told));
        let part = asked.of_samples(&found.rows, cancel)?;
        let samples = open_samples(&asked)?;
        Ok(Self { asked, part, samples, schema, vectors: needed })
    }

    /// The columns: `pool` where there are several, `row`, `id`, `scores`. The metadata lists the
    /// target samples.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Bytes that are held while the rows are computed on `threads`: the vectors of the target samples, and
    /// the matrices of a preconditioner while they are made.
    ///
    /// # Errors
    /// An artifact that cannot be read.
    pub fn memory(&self, threads: usize) -> Result<u64, MatrixError> {
        Ok(self.vectors.saturating_add(self.asked.inverse_making_bytes(threads)?))
    }

    /// Hands over all rows in batches of about `bytes`, until one is not wanted any more.
    ///
    /// # Errors
    /// Rows that lack a checkpoint where that is an error, damage, and being told to stop.
    pub fn each(
        &self,
        bytes: u64,
        threads: usize,
        cancel: &Cancel,
        take: &mut dyn FnMut(RecordBatch) -> ControlFlow<()>,
    ) -> Result<(), MatrixError> {
        self.part.make_inverses(threads, cancel)?;
        let tiles = self.part.tiles(bytes / size_of::<f32>() as u64, cancel)?;
        parallel::ordered::<_, _, MatrixError>(
            tiles.len(),
            threads,
            cancel,
            TileWorker::default,
            |worker, unit| {
                let tile = tiles.score(unit, worker, cancel)?;
                if tile.rows.is_empty() {
                    return Ok(None);
                }
                let columns = encode::columns(&self.asked, &self.samples, &self.schema, tile)?;
                let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns);
                Ok(Some(batch.map_err(QueryError::from)?))
            },
            |batch| Ok(batch.map_or(ControlFlow::Continue(()), &mut *take)),
        )
    }
}
