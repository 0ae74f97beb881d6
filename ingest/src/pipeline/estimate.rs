//! Dry run of an ingest: forecast of reads, writes and memory.

use std::time::Instant;

use gstore_core::Cancel;
use gstore_store::{CELL_ROWS, Granularity, RowSet};

use super::IngestError;
use super::compute::FeatureComputer;
use super::disk_space::vectors_of_row;
use super::memory::BatchExtent;
use super::plan::{CheckpointPlan, IngestPlan};
use super::prepare::{BatchPreparer, BatchRow, TokenBatch};
use super::row_sample::sample_rows;
use super::window::cut_batches;
use super::work::{CheckpointWork, rows_of};

/// What an ingest would take.
#[derive(Debug, Clone)]
pub struct IngestEstimate {
    /// Rows asked for.
    pub rows: u64,
    /// Passes of the model, summed over checkpoints: one for each row to compute; where each token takes one,
    /// extrapolated from some of the rows.
    pub passes: u64,
    /// Tokens of these, extrapolated from some of the rows.
    pub tokens: u64,
    /// Bytes of the new segments.
    pub disk: u64,
    /// Bytes of memory at the peak, for batches and samples up to twice as large as those of these rows.
    pub memory: u64,
    /// Seconds, from one batch at the first checkpoint that has work.
    pub seconds: f64,
    /// What is said against that checkpoint's projection.
    pub warning: Option<String>,
}

impl IngestEstimate {
    /// What this one and another, done one after the other, would take.
    #[must_use]
    pub fn and(self, other: &IngestEstimate) -> IngestEstimate {
        IngestEstimate {
            rows: self.rows + other.rows,
            passes: self.passes + other.passes,
            tokens: self.tokens + other.tokens,
            disk: self.disk + other.disk,
            memory: self.memory.max(other.memory),
            seconds: self.seconds + other.seconds,
            warning: self.warning.or_else(|| other.warning.clone()),
        }
    }
}

/// Estimates an ingest; computes one batch to learn the speed and writes nothing.
///
/// # Errors
/// What would also stop the ingest: samples that cannot be read, a model that does not load;
/// [`IngestError::Stopped`].
pub fn estimate(plan: &IngestPlan, cancel: &Cancel) -> Result<IngestEstimate, IngestError> {
    let found = forecast(plan, cancel);
    // Before its errors: a stop is no failure.
    cancel.check()?;
    found
}

fn forecast(plan: &IngestPlan, cancel: &Cancel) -> Result<IngestEstimate, IngestError> {
    let works: Vec<CheckpointWork> = plan
        .checkpoints
        .iter()
        .map(|checkpoint| {
            let present: Vec<RowSet> = checkpoint.features.iter().map(|f| f.published.clone()).collect();
            let features = (0..present.len()).collect();
            CheckpointWork::new(&checkpoint.arg.name, features, &plan.rows, &present)
        })
        .collect();
    let passes: u64 = works.iter().map(|work| work.rows().len()).sum();
    let disk = plan.features().map(|f| plan.rows.difference(&f.published).len() * f.vector_bytes()).sum();
    let mut estimate = IngestEstimate {
        rows: plan.rows.len(),
        passes,
        tokens: 0,
        disk,
        memory: memory(plan, |c| c.memory.bytes()),
        seconds: 0.0,
        warning: None,
    };
    let Some(first) = works.iter().position(|work| !work.windows.is_empty()) else { return Ok(estimate) };
    let checkpoint = &plan.checkpoints[first];
    let samples = plan.snapshot.samples(&plan.dataset)?;
    let preparer = BatchPreparer { threads: 1, ..plan.preparer(&samples, checkpoint.limits, cancel) };
    let rows = preparer.encode_rows(sample_rows(&rows_of(&works)))?;
    let sampled = rows.len().max(1) as f64;
    let entries = |row: &BatchRow, granularity| row.clone().entries(granularity);
    let of_row: Vec<usize> = rows.iter().map(|row| entries(row, plan.request.granularity).len()).collect();
    let most_vectors = of_row.iter().copied().max().unwrap_or(0) as u64;
    let lengths: Vec<usize> =
        rows.iter().flat_map(|row| entries(row, plan.request.pass())).map(|entry| entry.len()).collect();
    let tokens: usize = lengths.iter().sum();
    estimate.memory = memory(plan, |checkpoint| {
        let (rows, tokens) = doubled_extent(&lengths, checkpoint);
        let sample_vectors = (2 * most_vectors).min(checkpoint.memory.largest.sample_vectors);
        let segment_vectors = sample_vectors * plan.rows.len().min(CELL_ROWS);
        checkpoint.memory.bytes_of(BatchExtent { rows, tokens, sample_vectors, segment_vectors })
    });
    estimate.tokens = (passes as f64 * tokens as f64 / sampled) as u64;
    if plan.request.pass() == Granularity::Token {
        estimate.passes = (passes as f64 * lengths.len() as f64 / sampled) as u64;
    }
    estimate.disk = (estimate.disk as f64 * vectors_of_row(&rows, plan.request.granularity)) as u64;
    let batches: Vec<TokenBatch> = preparer.batches(rows, |_| true).collect();
    let Some(batch) = timed_batch(&batches) else { return Ok(estimate) };
    let computer: FeatureComputer = super::computer(&plan.request, checkpoint)?;
    estimate.warning = super::mask_warning::warning(checkpoint, &computer, &preparer, &works[first].rows())?;
    computer.compute(batch, cancel)?;
    let begun = Instant::now();
    computer.compute(batch, cancel)?;
    let per_token = begun.elapsed().as_secs_f64() / batch.tokens().max(1) as f64;
    let threads = checkpoint.memory.threads;
    estimate.seconds = per_token * estimate.tokens as f64 / threads as f64;
    Ok(estimate)
}

/// The batch whose time stands for all: the one nearest to the middle that has a scored token, as the model may
/// pass over one without; else the middle one. Each row takes time of its own, and those of the first batch are
/// the shortest ones of a sorted dataset.
fn timed_batch(batches: &[TokenBatch]) -> Option<&TokenBatch> {
    let middle = batches.len().saturating_sub(1) / 2;
    let is_scored = |at: &usize| batches[*at].rows.iter().any(|row| row.encoded.scored_tokens() > 0);
    let nearest = (0..batches.len()).filter(is_scored).min_by_key(|at| at.abs_diff(middle));
    batches.get(nearest.unwrap_or(middle))
}

/// Bytes at the peak: of the checkpoint that needs most.
fn memory(plan: &IngestPlan, bytes: impl Fn(&CheckpointPlan) -> u64) -> u64 {
    plan.checkpoints.iter().map(bytes).max().unwrap_or(0)
}

/// Twice the rows and tokens of the largest batch of some rows: others may be shorter, so that more of them
/// make a batch, or longer.
fn doubled_extent(lengths: &[usize], checkpoint: &CheckpointPlan) -> (u64, u64) {
    let cuts = cut_batches(lengths.iter().copied(), checkpoint.limits);
    let rows = cuts.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
    let longest = lengths.iter().copied().max().unwrap_or(0);
    (2 * rows as u64, checkpoint.limits.tokens.max(2 * longest) as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gstore_data::Encoded;

    use super::*;

    #[test]
    fn the_batch_that_is_timed_has_a_scored_token_if_any_has() {
        let batch = |(at, scored): (usize, &bool)| {
            let encoded = Encoded { ids: vec![0, 1], scored: vec![false, *scored], truncated: false };
            TokenBatch { rows: vec![BatchRow { row: at as u64, pos: None, encoded: Arc::new(encoded) }] }
        };
        let timed = |scored: &[bool]| {
            let batches: Vec<TokenBatch> = scored.iter().enumerate().map(batch).collect();
            timed_batch(&batches).map(|batch| batch.rows[0].row)
        };
        assert_eq!(timed(&[]), None);
        assert_eq!(timed(&[true; 5]), Some(2));
        assert_eq!(timed(&[false; 5]), Some(2));
        assert_eq!(timed(&[true, false, false, true, false]), Some(3));
        assert_eq!(timed(&[true, false, false, false, false]), Some(0));
    }
}
