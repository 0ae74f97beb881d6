//! Both sides of the products: the pools' readers, and the query vectors packed for them.

use std::sync::{Arc, OnceLock};

use gstore_core::Cancel;
use gstore_store::FeatureReader;

use super::Prepared;
use super::target_vectors::TargetVectors;
use crate::error::QueryError;
use crate::influence::scan::disk::Disk;
use crate::influence::scan::filter::RowFilter;
use crate::influence::scan::windows::{Window, joined, windows};
use crate::influence::scan::{Scan, ScanPool, pruning, query_count};
use crate::influence::sides::{PoolSketches, SearchSides, SketchSide, sides};
use crate::influence::spec::mode::Mode;
use crate::influence::spec::{InfluenceSpec, Sim, modules};
use crate::kernel::{Kernel, Queries, RowProducts};
use crate::sketch::{self, Sketch};
use crate::values::groups;

/// The pools, open, with the queries of a question.
pub(crate) struct Operands {
    pub(crate) pools: Vec<ScanPool>,
    pub(crate) target: TargetVectors,
    pub(crate) weights: Vec<f64>,
    /// What multiplies rows in the place of the processor.
    pub(crate) device: Option<Arc<dyn RowProducts>>,
    /// Sketches, where the mode asks for them.
    sides: Option<LazySides>,
    /// What rankings by bounds need.
    pub(crate) bounded: SearchSides,
    /// What was read ahead of their files.
    pub(crate) disk: Disk,
    /// Live rows that are no candidates because they occur in the target.
    pub(crate) in_target: u64,
}

/// Sketches that are opened by the first ranking that reads them.
#[derive(Default)]
struct LazySides {
    opened: OnceLock<PoolSketches>,
    /// Why they are not read any more.
    given_up: OnceLock<String>,
}

impl Operands {
    /// The pools and a target, whose vectors they hold packed.
    pub(crate) fn open(
        prepared: &Prepared,
        mut target: TargetVectors,
        cancel: &Cancel,
    ) -> Result<Self, QueryError> {
        let vectors = std::mem::take(&mut target.vectors);
        let pools = open_pools(prepared, &vectors, cancel)?;
        let candidates: u64 = pools.iter().map(|pool| pool.live.len()).sum();
        let left_out = prepared.left_out().map_or(0, |_| 1);
        let device = prepared.encoder().map_or(Ok(None), |encoder| encoder.products())?;
        Ok(Self {
            pools,
            target,
            weights: prepared.checkpoints().iter().map(|c| c.weight).collect(),
            device,
            sides: matches!(prepared.spec().mode, Mode::Sketch(_)).then(LazySides::default),
            bounded: SearchSides::default(),
            disk: Disk::default(),
            in_target: (prepared.live() - candidates).saturating_sub(left_out),
        })
    }

    /// Number of query vectors per checkpoint.
    pub(crate) fn queries(&self) -> usize {
        query_count(&self.pools)
    }

    /// Number of rows that a filter lets through; of a pool that it restricts, those that it names.
    pub(crate) fn rows(&self, filter: Option<&RowFilter>) -> u64 {
        let count = |(p, pool): (usize, &ScanPool)| match filter.and_then(|filter| filter.pool(p)) {
            Some(mask) => mask.len(),
            None => pool.live.len(),
        };
        self.pools.iter().enumerate().map(count).sum()
    }

    pub(crate) fn scan<'a>(
        &'a self,
        spec: &InfluenceSpec,
        filter: Option<&'a RowFilter>,
        cancel: &'a Cancel,
    ) -> Scan<'a> {
        Scan {
            pools: &self.pools,
            kernel: Kernel::detect(),
            device: self.device.as_deref(),
            sim: spec.sim,
            missing: spec.missing,
            weights: &self.weights,
            terms: &self.target.terms,
            filter,
            cancel,
            disk: &self.disk,
        }
    }

    /// The units of work of an exact scan.
    pub(crate) fn scan_windows(&self) -> Vec<Window> {
        let windows = windows(&self.pools, self.queries());
        joined(windows, (&self.pools, self.queries()), self.device.as_deref())
    }

    /// The sketches of the pools, or why they cannot be used; the first call opens them.
    pub(crate) fn sides(&self, prepared: &Prepared) -> Result<&[Vec<SketchSide>], &str> {
        let Some(lazy) = &self.sides else { return Err("") };
        if let Some(why) = lazy.given_up.get() {
            return Err(why);
        }
        let opened = lazy.opened.get_or_init(|| {
            let queries = self.pools.first().map(|pool| &pool.queries[..]).unwrap_or_default();
            let vectors: Vec<Vec<f32>> = queries.iter().map(|queries| queries.vectors()).collect();
            sides(prepared.spec(), &self.pools, &vectors, |reader| find_sketch(prepared, reader))
        });
        opened.as_deref().map_err(String::as_str)
    }

    /// The answer of `work`; where a sketch turns out to be damaged on the way, that of a second attempt, for
    /// which there are no sketches.
    pub(crate) fn despite_sketches<T>(
        &self,
        work: impl Fn() -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        match (work(), &self.sides) {
            (Err(QueryError::Sketch(why)), Some(lazy)) => {
                // Another thread may have said it.
                lazy.given_up.get_or_init(|| why);
                work()
            }
            (answer, _) => answer,
        }
    }
}

/// The sketch of a feature: one that was given, or that of its files.
fn find_sketch(prepared: &Prepared, reader: &FeatureReader) -> Result<Arc<Sketch>, String> {
    match prepared.sketches.get(&reader.part().number) {
        Some(given) => Ok(given.clone()),
        None => Ok(Arc::new(sketch::open(reader)?)),
    }
}

/// The readers of the pools, with queries packed for them. `vectors[c]` are the query vectors of checkpoint c.
fn open_pools(
    prepared: &Prepared,
    vectors: &[Vec<f32>],
    cancel: &Cancel,
) -> Result<Vec<ScanPool>, QueryError> {
    let spec = prepared.spec();
    let metrics = match spec.sim {
        Sim::Cosine => prepared.inverses(cancel)?,
        Sim::Dot => None,
    };
    let mut pools: Vec<ScanPool> = Vec::new();
    for (side, candidates) in prepared.pools().iter().zip(prepared.candidates(cancel)?) {
        let mut pool =
            ScanPool { granularity: spec.granularity(), live: candidates.clone(), ..ScanPool::default() };
        for (c, feature) in side.features.iter().enumerate() {
            let reader = prepared.snapshot().open_feature_shared(feature)?;
            let dim = feature.desc.dim() as usize;
            // Pools whose module groups agree share the packed queries.
            let shared = pools.iter().find(|other| {
                other.readers.get(c).is_some_and(|r| r.part().attrs.groups == feature.attrs.groups)
            });
            let queries: Arc<Queries> = match shared {
                Some(other) => other.queries[c].clone(),
                None => Arc::new(Queries::new(&vectors[c], dim, &groups(feature))),
            };
            pool.modules.push(modules::weights(spec.modules.as_ref(), feature));
            pool.metrics.push(metrics.and_then(|metrics| metrics.get(c)).cloned());
            pool.lengths.push(match spec.sim {
                Sim::Dot => pruning::query_lengths(&vectors[c], dim, &groups(feature)),
                Sim::Cosine => Vec::new(),
            });
            pool.readers.push(reader);
            pool.queries.push(queries);
        }
        pools.push(pool);
    }
    Ok(pools)
}
