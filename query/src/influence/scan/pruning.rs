//! Block pruning: lengths of vectors in block footers, compared with the k-th score so far.
//!
//! A dot product is at most the product of both lengths, so a window's rows score at most what the
//! terms make of those products. A window below the k-th score is not read; the ranking and its counts
//! are the same to the bit.
//!
//! Invariants
//! - only what is provably outside the answer is skipped: bounds hold for computed scores, rounding included
//! - only windows whose every wanted row is known to have a score are skipped, so that the counts
//!   need nothing of them

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use gstore_store::{FeatureReader, Granularity};

use super::windows::Window;
use crate::influence::scan::{Scan, ScanPool};
use crate::influence::spec::{Order, Sim};
use crate::topk::{TopK, from_ordered, ordered};

/// The length of each query vector in each module group: by query, then group.
pub(crate) fn query_lengths(vectors: &[f32], dim: usize, groups: &[Range<usize>]) -> Vec<f64> {
    let square = |x: &f32| f64::from(*x) * f64::from(*x);
    let of_vector = |vector: &[f32]| -> Vec<f64> {
        groups.iter().map(|group| vector[group.clone()].iter().map(square).sum::<f64>().sqrt()).collect()
    };
    vectors.chunks_exact(dim.max(1)).flat_map(of_vector).collect()
}

/// Products of lengths above this may overflow on the way to a score that is finite.
const LARGEST: f64 = 1e37;

/// What the windows of a ranking can reach at most, and the score that a row must reach.
pub(crate) struct Skipper {
    order: Order,
    /// For each window the best score that a row of it can have; infinite where nothing is known.
    bounds: Vec<f32>,
    /// Ordered bits of the best k-th score that a thread has, as of a highest score.
    reached: AtomicU32,
}

impl Skipper {
    /// Bounds of the windows, which are put into an order in which later ones are likely to be skipped.
    /// `None` where lengths bound nothing.
    pub(crate) fn new(scan: &Scan<'_>, order: Order, windows: &mut [Window]) -> Option<Self> {
        let usable = |pool: &ScanPool| {
            pool.granularity == Granularity::Sample && pool.lengths.iter().all(|lengths| !lengths.is_empty())
        };
        if scan.sim != Sim::Dot || !scan.pools.iter().all(usable) {
            return None;
        }
        let mut ranked: Vec<(f32, Window)> =
            windows.iter().map(|window| (bound(scan, order, window), window.clone())).collect();
        if ranked.iter().all(|(bound, _)| !bound.is_finite()) {
            return None;
        }
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        windows.iter_mut().zip(&ranked).for_each(|(slot, (_, window))| *slot = window.clone());
        let bounds = ranked.into_iter().map(|(bound, _)| bound).collect();
        Some(Self { order, bounds, reached: AtomicU32::new(0) })
    }

    /// Whether no row of a window can be in the answer.
    pub(crate) fn skips(&self, unit: usize) -> bool {
        let reached = self.reached.load(Ordering::Relaxed);
        // A row that equals the k-th score may win by its place.
        reached != 0 && self.bounds[unit] < from_ordered(reached)
    }

    /// Learns of the worst score that a thread keeps once it has k.
    pub(crate) fn learn(&self, top: &mut TopK) {
        if let Some(score) = top.kth() {
            self.reached.fetch_max(ordered(toward(self.order, score)), Ordering::Relaxed);
        }
    }
}

/// Turns lowest into highest.
fn toward(order: Order, score: f32) -> f32 {
    match order {
        Order::Best => score,
        Order::Worst => -score,
    }
}

/// The best score of a row of the window, the higher the better for both orders; infinite where nothing is
/// known of all its rows.
fn bound(scan: &Scan<'_>, order: Order, window: &Window) -> f32 {
    let pool = &scan.pools[window.pool as usize];
    let mut values = vec![0.0f64; pool.query_count()];
    for (c, reader) in pool.readers.iter().enumerate() {
        let Some(lengths) = longest(reader, window, pool.modules[c].len()) else { return f32::INFINITY };
        let groups = lengths.len();
        let scale = reader.part().attrs.dot_scale.abs();
        let (slack, least) = (1.0 + rounding(reader, pool.readers.len()), 1e-38 * scale.max(1.0));
        for (value, of_query) in values.iter_mut().zip(pool.lengths[c].chunks_exact(groups)) {
            for (row, query) in lengths.iter().zip(of_query) {
                let product = row * query;
                if !(product.max(product * scale) <= LARGEST && *query <= 1e25) {
                    return f32::INFINITY;
                }
                *value += product * scale * slack + least;
            }
        }
    }
    if values.iter().any(|value| *value > LARGEST) {
        return f32::INFINITY;
    }
    let values: Vec<f32> = values.iter().map(|value| order.sign() * (*value as f32).next_up()).collect();
    // Every aggregation is monotone in its values, and so is its rounding.
    match scan.terms.score(&values).0 {
        score if score.is_finite() => toward(order, score),
        _ => f32::INFINITY,
    }
}

/// The greatest lengths by module group among the vectors of a window at one checkpoint; `None` unless it is
/// sure that every row of the window has one that counts.
fn longest(reader: &FeatureReader, window: &Window, groups: usize) -> Option<Vec<f64>> {
    let mut lengths = vec![0.0f64; groups];
    let mut covered = window.rows.start;
    for block in window.blocks(reader) {
        let range = block.range();
        if range.end <= window.rows.start || range.start >= window.rows.end {
            continue;
        }
        let bounds = reader.bounds(block)?;
        if !block.is_dense() || bounds.flagged() > 0 || range.start > covered {
            return None;
        }
        covered = covered.max(range.end);
        lengths.iter_mut().zip(bounds.lengths()).for_each(|(longest, l)| *longest = longest.max(*l));
    }
    (covered >= window.rows.end).then_some(lengths)
}

/// How much a computed score can exceed the exact one, relative to the sum of the products of lengths: the
/// steps of the kernel's lanes, their tree, the sums over groups and checkpoints, and the factors, each a
/// rounding of at most 2^-24; and what rotating queries rounds where rows are signs of rotated groups.
fn rounding(reader: &FeatureReader, checkpoints: usize) -> f64 {
    let dim = reader.part().desc.dim() as usize;
    let steps = dim / crate::kernel::LANES + reader.part().attrs.groups.len() + checkpoints + 16;
    steps as f64 / f64::from(1 << 23) + f64::from(reader.part().desc.rotation.rounding())
}
