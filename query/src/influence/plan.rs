//! A question resolved against a snapshot, and its answers.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use gstore_store::{DatasetPart, FeaturePart, FeatureReader, Snapshot};

use super::checkpoints::{self, PlanCheckpoint};
use super::drive;
use super::filter::RowFilter;
use super::members::members;
use super::resolve::{self, Side, Target};
use super::result::{Excluded, Ranking, ScanSummary, Scored};
use super::scan::{Scan, ScanPool, Totals, Worker, lacking, pack};
use super::spec::{InfluenceSpec, Missing, Order};
use super::target::{self, Shape, TargetVectors};
use crate::error::QueryError;
use crate::kernel::{Kernel, Queries};
use crate::topk::TopK;

/// What exact scans promise: every eligible row was compared with every target row, from the stored values.
pub const EXACT: &str = "exact";

/// A question resolved against a snapshot. Making one reads only the catalog; target vectors and feature footers are read by the first
/// answer and kept for further ones. It can be shared between threads.
pub struct InfluencePlan {
    snapshot: Arc<Snapshot>,
    spec: InfluenceSpec,
    run: Option<String>,
    checkpoints: Vec<PlanCheckpoint>,
    pools: Vec<PlanSide>,
    targets: Vec<Target>,
    target_features: Vec<PlanSide>,
    notes: Vec<String>,
    ready: Mutex<Option<Arc<Ready>>>,
}

/// A dataset of a plan and its feature at each checkpoint of the plan.
#[derive(Debug, Clone)]
pub struct PlanSide {
    /// The dataset.
    pub dataset: Arc<DatasetPart>,
    /// The feature kind.
    pub kind: String,
    /// One feature per checkpoint of the plan, in step with it.
    pub features: Vec<Arc<FeaturePart>>,
}

impl PlanSide {
    /// Key of the encoding whose tokens the features were computed from; `None` if they differ.
    pub fn encoding(&self) -> Option<&str> {
        let first = self.features.first()?.desc.encoding.as_str();
        self.features.iter().all(|f| f.desc.encoding == first).then_some(first)
    }
}

/// What answers need beyond the catalog.
pub(super) struct Ready {
    pub(super) pools: Vec<ScanPool>,
    pub(super) target: TargetVectors,
    pub(super) weights: Vec<f64>,
}

impl InfluencePlan {
    /// Resolves names, kinds, checkpoints, weights and features.
    pub fn new(snapshot: &Arc<Snapshot>, spec: &InfluenceSpec) -> Result<Self, QueryError> {
        let pools = resolve::pools(snapshot, &spec.pools)?;
        let targets = resolve::targets(snapshot, &spec.targets)?;
        resolve::check_preferences(snapshot, &spec.features)?;
        let (pool_kind, target_kind) = resolve::kinds(snapshot, spec, &pools);
        let mut sides: Vec<Side> = Vec::new();
        for pool in &pools {
            sides.push(resolve::side(snapshot, pool, &pool_kind, &spec.features)?);
        }
        for target in &targets {
            sides.push(resolve::side(snapshot, &target.dataset, &target_kind, &spec.features)?);
        }
        let chosen = checkpoints::choose(snapshot, spec, &sides)?;
        let mut resolved: Vec<PlanSide> = sides
            .iter()
            .map(|side| PlanSide {
                dataset: side.dataset.clone(),
                kind: side.kind.clone(),
                features: Vec::new(),
            })
            .collect();
        for checkpoint in &chosen.checkpoints {
            let features = resolve::fit(&sides, &checkpoint.id, &checkpoint.name, spec)?;
            resolved.iter_mut().zip(features).for_each(|(side, feature)| side.features.push(feature));
        }
        let target_features = resolved.split_off(pools.len());
        Ok(Self {
            snapshot: snapshot.clone(),
            spec: spec.clone(),
            run: chosen.run,
            checkpoints: chosen.checkpoints,
            pools: resolved,
            targets,
            target_features,
            notes: chosen.notes,
            ready: Mutex::new(None),
        })
    }

    /// The question.
    pub fn spec(&self) -> &InfluenceSpec {
        &self.spec
    }

    /// The snapshot it is asked of.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The run whose checkpoints are used, if they belong to one.
    pub fn run(&self) -> Option<&str> {
        self.run.as_deref()
    }

    /// The checkpoints used, in the run's order, with weights that sum to 1.
    pub fn checkpoints(&self) -> &[PlanCheckpoint] {
        &self.checkpoints
    }

    /// The pools; `Scored::pool` points here.
    pub fn pools(&self) -> &[PlanSide] {
        &self.pools
    }

    /// The target datasets; `TargetRow::target` points here.
    pub fn targets(&self) -> &[PlanSide] {
        &self.target_features
    }

    /// What a user should know about how the question was resolved.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Live rows of the pools: what a percentage is taken of.
    pub fn live(&self) -> u64 {
        self.pools.iter().map(|pool| pool.dataset.rows).sum()
    }

    /// Names of the subtasks; `Scored::subtask` points here. Reads the targets.
    pub fn subtasks(&self) -> Result<Vec<String>, QueryError> {
        Ok(self.ready()?.target.subtasks.clone())
    }

    /// The k best or worst rows. `threads` 0 means one per core; the bits of the result do not depend on it.
    ///
    /// Memory grows with k, not with the number of rows.
    pub fn top_k(
        &self,
        order: Order,
        k: usize,
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &AtomicBool,
    ) -> Result<Ranking, QueryError> {
        let ready = self.ready()?;
        self.check_missing(&ready, filter)?;
        let scan = self.scan(&ready, filter);
        let windows = scan.windows(ready.queries());
        let collector = || match order {
            Order::Best => TopK::highest(k),
            Order::Worst => TopK::lowest(k),
        };
        let states = drive::unordered(
            windows.len(),
            threads,
            cancel,
            || (Worker::default(), collector(), Totals::default()),
            |(worker, top, totals), unit| {
                let found = scan.window(&windows[unit], worker)?;
                found.scored.iter().for_each(|s| top.push(s.score, s.pool, s.row, s.subtask));
                totals.merge(&found.totals);
                Ok(())
            },
        )?;
        let (mut top, mut totals) = (collector(), Totals::default());
        for (_, other, counts) in states {
            top.merge(other);
            totals.merge(&counts);
        }
        let summary = self.summary(&ready, &totals);
        Ok(Ranking {
            rows: top
                .into_sorted()
                .into_iter()
                .map(|s| Scored { pool: s.major, row: s.minor, score: s.score, subtask: s.payload })
                .collect(),
            eligible: summary.eligible,
            live: summary.live,
            excluded: summary.excluded,
            bytes_read: summary.bytes_read,
            subtasks: ready.target.subtasks.clone(),
            summary,
        })
    }

    /// Hands out every eligible row in (pool, row) order, in slices; `Break` ends the scan early. Memory is bounded: a slice is at most
    /// one cell, and few wait at a time.
    pub fn scores(
        &self,
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &AtomicBool,
        mut emit: impl FnMut(&[Scored]) -> ControlFlow<()>,
    ) -> Result<ScanSummary, QueryError> {
        let ready = self.ready()?;
        self.check_missing(&ready, filter)?;
        self.stream(&ready, filter, threads, cancel, |scored, _| {
            if scored.is_empty() { ControlFlow::Continue(()) } else { emit(scored) }
        })
    }

    /// Hands out every row without a score and the reason, in (pool, row) order. Rows that lack a checkpoint are among them also where
    /// `missing` says that they are an error.
    pub fn excluded(
        &self,
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &AtomicBool,
        mut emit: impl FnMut(&[Excluded]) -> ControlFlow<()>,
    ) -> Result<ScanSummary, QueryError> {
        let ready = self.ready()?;
        self.stream(&ready, filter, threads, cancel, |_, excluded| {
            if excluded.is_empty() { ControlFlow::Continue(()) } else { emit(excluded) }
        })
    }

    fn stream(
        &self,
        ready: &Ready,
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &AtomicBool,
        mut emit: impl FnMut(&[Scored], &[Excluded]) -> ControlFlow<()>,
    ) -> Result<ScanSummary, QueryError> {
        let scan = self.scan(ready, filter);
        let windows = scan.windows(ready.queries());
        let mut totals = Totals::default();
        drive::ordered(
            windows.len(),
            threads,
            cancel,
            Worker::default,
            |worker, unit| scan.window(&windows[unit], worker),
            |found| {
                totals.merge(&found.totals);
                emit(&found.scored, &found.excluded)
            },
        )?;
        Ok(self.summary(ready, &totals))
    }

    pub(super) fn scan<'a>(&self, ready: &'a Ready, filter: Option<&'a RowFilter>) -> Scan<'a> {
        Scan {
            pools: &ready.pools,
            kernel: Kernel::detect(),
            sim: self.spec.sim,
            missing: self.spec.missing,
            weights: &ready.weights,
            terms: &ready.target.terms,
            filter,
        }
    }

    /// Refuses rows that lack a checkpoint where the question wants that, before anything is scored.
    pub(super) fn check_missing(&self, ready: &Ready, filter: Option<&RowFilter>) -> Result<(), QueryError> {
        if self.spec.missing != Missing::Error || self.spec.partial {
            return Ok(());
        }
        let found = lacking(&ready.pools, filter)?;
        if found.rows == 0 {
            return Ok(());
        }
        let detail: Vec<String> = found
            .by_checkpoint
            .iter()
            .map(|&(pool, checkpoint, rows)| {
                let (pool, checkpoint) = (&self.pools[pool], &self.checkpoints[checkpoint]);
                format!("{rows} of `{}` at {}", pool.dataset.name, checkpoint.name)
            })
            .collect();
        Err(QueryError::Missing { rows: found.rows, scanned: found.scanned, detail: detail.join(", ") })
    }

    fn summary(&self, ready: &Ready, totals: &Totals) -> ScanSummary {
        ScanSummary {
            live: self.live(),
            scanned: totals.scanned,
            eligible: totals.eligible,
            excluded: totals.excluded,
            bytes_read: totals.bytes_read,
            target_rows: ready.target.rows.len() as u64,
            target_excluded: ready.target.excluded,
            guarantee: EXACT,
        }
    }

    /// The readers of the targets: by checkpoint, then by target.
    fn target_readers(&self) -> Result<Vec<Vec<FeatureReader>>, QueryError> {
        let mut readers = Vec::new();
        for c in 0..self.checkpoints.len() {
            let mut at = Vec::new();
            for side in &self.target_features {
                at.push(self.snapshot.open_feature(&side.features[c])?);
            }
            readers.push(at);
        }
        Ok(readers)
    }

    pub(super) fn load_targets(&self, shape: Shape) -> Result<TargetVectors, QueryError> {
        let members = members(&self.snapshot, &self.targets, self.spec.by)?;
        target::load(&self.spec, &self.checkpoints, &self.target_readers()?, members, shape)
    }

    /// The readers of the pools at some checkpoints, with queries packed for them. `vectors[c]` are the query vectors of checkpoint `checkpoints.start + c`.
    pub(super) fn open_pools(
        &self,
        checkpoints: Range<usize>,
        vectors: &[Vec<f32>],
    ) -> Result<Vec<ScanPool>, QueryError> {
        let mut pools: Vec<ScanPool> = Vec::new();
        for side in &self.pools {
            let mut pool =
                ScanPool { live: side.dataset.row_set(), readers: Vec::new(), queries: Vec::new() };
            for (c, feature) in side.features[checkpoints.clone()].iter().enumerate() {
                let reader = self.snapshot.open_feature(feature)?;
                // Pools whose module groups agree share the packed queries.
                let shared = pools.iter().find(|other| {
                    other.readers.get(c).is_some_and(|r| r.part().attrs.groups == feature.attrs.groups)
                });
                let queries: Arc<Queries> = match shared {
                    Some(other) => other.queries[c].clone(),
                    None => Arc::new(pack(&vectors[c], &reader)),
                };
                pool.readers.push(reader);
                pool.queries.push(queries);
            }
            pools.push(pool);
        }
        Ok(pools)
    }

    pub(super) fn ready(&self) -> Result<Arc<Ready>, QueryError> {
        let mut slot = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = &*slot {
            return Ok(ready.clone());
        }
        let mut target = self.load_targets(Shape::Terms)?;
        let pools = self.open_pools(0..self.checkpoints.len(), &target.vectors)?;
        // The pools hold them packed.
        target.vectors = Vec::new();
        let weights = self.checkpoints.iter().map(|c| c.weight).collect();
        let ready = Arc::new(Ready { pools, target, weights });
        *slot = Some(ready.clone());
        Ok(ready)
    }
}

impl Ready {
    /// Number of query vectors per checkpoint.
    pub(super) fn queries(&self) -> usize {
        self.pools.first().and_then(|pool| pool.queries.first()).map_or(0, |q| q.len())
    }
}
