//! The exact scan: windows of rows, all checkpoints in step.
//!
//! Invariants
//! - tokens of a sample are scored by themselves, and found again at another checkpoint by row and position
//! - what a window yields depends on its rows' bytes and the question, not on where blocks or windows are cut
//! - a block in which no wanted row lies is not read

pub(super) mod disk;
pub(super) mod filter;
mod found;
pub(super) mod kept;
pub(super) mod lengths;
mod passes;
mod products;
pub(super) mod pruning;
mod rates;
mod slate;
pub(super) mod slots;
pub(super) mod terms;
mod wants;
pub(super) mod windows;

pub(super) use self::found::{Totals, Yield};
pub(super) use self::slate::Worker;

use std::sync::Arc;

use gstore_core::Cancel;
use gstore_curvature::Preconditioner;
use gstore_store::{Block, FeatureReader, Granularity, RowFlags, RowSet};

use self::disk::Disk;
use self::filter::RowFilter;
use self::lengths::Measure;
use self::terms::Terms;
use crate::error::QueryError;
use crate::influence::result::Reason;
use crate::influence::spec::{Missing, Sim};
use crate::kernel::{Kernel, Queries, RowProducts};

/// A pool as the scan sees it: its live rows, and for each checkpoint the feature and the queries packed
/// for its module groups.
#[derive(Default)]
pub(super) struct ScanPool {
    /// What is scored: samples, or their tokens one by one.
    pub(super) granularity: Granularity,
    pub(super) live: Arc<RowSet>,
    pub(super) readers: Vec<FeatureReader>,
    pub(super) queries: Vec<Arc<Queries>>,
    /// For each checkpoint the weights of the feature's module groups; the queries have them folded in.
    pub(super) modules: Vec<Vec<f64>>,
    /// For each checkpoint the preconditioner under which a row of a cosine is as long as it is; none where
    /// the stored lengths count.
    pub(super) metrics: Vec<Option<Preconditioner>>,
    /// For each checkpoint the lengths of the queries by module group, where dot products are
    /// bounded by them; else empty.
    pub(super) lengths: Vec<Vec<f64>>,
}

impl ScanPool {
    /// Number of query vectors per checkpoint, the same for every pool of a scan.
    pub(super) fn query_count(&self) -> usize {
        self.queries.first().map_or(0, |queries| queries.len())
    }

    /// What the lengths of rows are taken by at a checkpoint.
    pub(super) fn measure(&self, c: usize) -> Measure<'_> {
        (&self.modules[c], self.metrics[c].as_ref())
    }
}

/// Whether rows are divided by other lengths than those that are stored, and that sketches know.
pub(super) fn has_metrics(pools: &[ScanPool]) -> bool {
    pools.iter().any(|pool| pool.metrics.iter().any(Option::is_some))
}

/// Number of query vectors per checkpoint.
pub(super) fn query_count(pools: &[ScanPool]) -> usize {
    pools.first().map_or(0, ScanPool::query_count)
}

#[derive(Clone, Copy)]
pub(super) struct Scan<'a> {
    pub(super) pools: &'a [ScanPool],
    pub(super) kernel: Kernel,
    /// What multiplies in its place, with the same bits, where a good part of a block is scored.
    pub(super) device: Option<&'a dyn RowProducts>,
    pub(super) sim: Sim,
    pub(super) missing: Missing,
    /// Weights of the checkpoints, in step with `ScanPool::readers`; the queries have them folded in.
    pub(super) weights: &'a [f64],
    pub(super) terms: &'a Terms,
    pub(super) filter: Option<&'a RowFilter>,
    pub(super) cancel: &'a Cancel,
    /// What is read ahead of it.
    pub(super) disk: &'a Disk,
}

impl Scan<'_> {
    pub(super) fn check_cancelled(&self) -> Result<(), QueryError> {
        Ok(self.cancel.check()?)
    }

    /// Whether a row that counts has every checkpoint; or why it does not count. `weighty`: a checkpoint that
    /// has a weight has the row.
    pub(super) fn is_whole(
        &self,
        flags: RowFlags,
        checkpoints: usize,
        weighty: bool,
    ) -> Result<bool, Reason> {
        if flags.contains(RowFlags::NO_SCORED) {
            return Err(Reason::NoScored);
        }
        if flags.intersects(RowFlags::NON_FINITE.union(RowFlags::MISSING)) {
            return Err(Reason::NonFinite);
        }
        let whole = checkpoints == self.weights.len();
        if !whole && (self.missing != Missing::Renormalise || !weighty) {
            return Err(Reason::Missing);
        }
        Ok(whole)
    }
}

/// Bytes of a block's vectors with what belongs to them.
pub(super) fn block_bytes(block: &Block<'_>) -> u64 {
    let values = block.values.bytes().len();
    let keys = size_of_val(block.rows) + size_of_val(block.pos);
    let rest = size_of_val(block.scale) + size_of_val(block.norm);
    (values + keys + rest + size_of_val(block.flags) + size_of_val(block.check)) as u64
}

/// The share of them that so many of its vectors have.
pub(super) fn vector_bytes(block: &Block<'_>, vectors: usize) -> u64 {
    block_bytes(block) / block.len().max(1) as u64 * vectors as u64
}
