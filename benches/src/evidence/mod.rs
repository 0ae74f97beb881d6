//! Evidence for the guarantees of rankings: certificates, misses, tolerances, accuracy, storage types.
//!
//! Everything goes through the public interface of `gstore-query`. The truth of a ranking is every row's
//! score ([`Prepared::scores`]), sorted here. A trial is one ranking that is compared with it.

pub mod accuracy;
pub mod adversarial;
pub mod certified;
#[path = "../../../query/tests/common/memory.rs"]
mod memory;
pub mod numbers;
pub mod planes;
pub mod real;
pub mod statistics;
pub mod storage;
pub mod stored;
pub mod tolerance;

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::sync::Arc;

use anyhow::Result;
use gstore_query::influence::{InfluenceSpec, Mode, Order, Prepared, RowFilter, Scored, TargetRef};
use gstore_query::sketch::Sketch;
use gstore_store::{Cancel, Snapshot};

/// These programs are never cancelled.
pub static NEVER: Cancel = Cancel::new();

/// Sketches by feature number.
pub type Sketches = Vec<(u32, Arc<Sketch>)>;

/// The question about one target of a store built by [`stored::build`].
pub fn question(target: &str) -> InfluenceSpec {
    InfluenceSpec {
        pools: vec!["pool".to_owned()],
        targets: vec![TargetRef::parse(target)],
        ..InfluenceSpec::default()
    }
}

/// Sketches of all features of the pool, each with its own seed.
pub fn sketches(snapshot: &Snapshot, seed: u64, threads: usize) -> Result<Sketches> {
    let mut all = Sketches::new();
    for feature in snapshot.features_of("pool") {
        let reader = snapshot.open_feature(feature)?;
        let seed = seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ (u64::from(feature.number) << 48);
        all.push((feature.number, Arc::new(memory::in_memory(&reader, seed, threads, &NEVER)?)));
    }
    Ok(all)
}

/// The plan of a question that uses sketches.
pub fn by_sketch(
    snapshot: &Arc<Snapshot>,
    spec: &InfluenceSpec,
    mode: Mode,
    sketches: &Sketches,
) -> Result<Prepared> {
    let plan = Prepared::new(snapshot, &InfluenceSpec { mode, ..spec.clone() })?;
    Ok(sketches.iter().fold(plan, |plan, (number, sketch)| plan.with_sketch(*number, sketch.clone())))
}

/// Every score, in the order of the rows.
pub fn scores(plan: &Prepared, filter: Option<&RowFilter>) -> Result<Vec<Scored>> {
    let mut all = Vec::new();
    plan.scores(filter, 2, &NEVER, |part| {
        all.extend_from_slice(part);
        ControlFlow::Continue(())
    })?;
    Ok(all)
}

/// The first k in an order: by score, ties by pool and row.
pub fn first(all: &[Scored], order: Order, k: usize) -> Vec<Scored> {
    let mut sorted = all.to_vec();
    sorted.sort_by(|a, b| {
        // -0.0 equals 0.0.
        let by_score = a.score.partial_cmp(&b.score).unwrap_or(std::cmp::Ordering::Equal);
        let by_score = if order == Order::Best { by_score.reverse() } else { by_score };
        by_score.then((a.pool, a.row, a.pos).cmp(&(b.pool, b.row, b.pos)))
    });
    sorted.truncate(k);
    sorted
}

/// Rows, positions and bits of scores.
pub fn bits(rows: &[Scored]) -> Vec<(u32, u64, Option<u32>, u32)> {
    rows.iter().map(|s| (s.pool, s.row, s.pos, s.score.to_bits())).collect()
}
