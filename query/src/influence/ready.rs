//! What answers need beyond the catalog: open readers and the query side, loaded once.

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};

use gstore_store::FeatureReader;

use super::members::members;
use super::modules;
use super::plan::InfluencePlan;
use super::scan::ScanPool;
use super::skip;
use super::spec::Sim;
use super::target::{Shape, TargetLoader, TargetVectors};
use super::values::groups;
use crate::error::QueryError;
use crate::kernel::Queries;

/// What answers need beyond the catalog.
pub(super) struct Ready {
    pub(super) pools: Vec<ScanPool>,
    pub(super) target: TargetVectors,
    pub(super) weights: Vec<f64>,
}

impl Ready {
    /// Number of query vectors per checkpoint.
    pub(super) fn queries(&self) -> usize {
        self.pools.first().and_then(|pool| pool.queries.first()).map_or(0, |q| q.len())
    }
}

impl InfluencePlan {
    /// The readers of the targets: by checkpoint, then by target.
    pub(super) fn target_readers(&self) -> Result<Vec<Vec<FeatureReader>>, QueryError> {
        let mut readers = Vec::new();
        for c in 0..self.checkpoints().len() {
            let mut at = Vec::new();
            for side in self.targets() {
                at.push(self.snapshot().open_feature(&side.features[c])?);
            }
            readers.push(at);
        }
        Ok(readers)
    }

    /// Reads the target vectors.
    pub(super) fn load_targets(
        &self,
        shape: Shape,
        cancel: &AtomicBool,
    ) -> Result<TargetVectors, QueryError> {
        let members = members(self.snapshot(), &self.target_rows, self.spec().by)?;
        let readers = self.target_readers()?;
        let loader =
            TargetLoader { spec: self.spec(), checkpoints: self.checkpoints(), readers: &readers, cancel };
        loader.load(members, shape)
    }

    /// The readers of the pools at some checkpoints, with queries packed for them. `vectors[c]` are the query vectors of
    /// checkpoint `checkpoints.start + c`.
    pub(super) fn open_pools(
        &self,
        checkpoints: Range<usize>,
        vectors: &[Vec<f32>],
    ) -> Result<Vec<ScanPool>, QueryError> {
        let mut pools: Vec<ScanPool> = Vec::new();
        for side in self.pools() {
            let mut pool = ScanPool {
                granularity: self.spec().granularity(),
                live: self.snapshot().live_rows(&side.dataset)?,
                readers: Vec::new(),
                queries: Vec::new(),
                modules: Vec::new(),
                lengths: Vec::new(),
            };
            for (c, feature) in side.features[checkpoints.clone()].iter().enumerate() {
                let reader = self.snapshot().open_feature(feature)?;
                // Pools whose module groups agree share the packed queries.
                let shared = pools.iter().find(|other| {
                    other.readers.get(c).is_some_and(|r| r.part().attrs.groups == feature.attrs.groups)
                });
                let queries: Arc<Queries> = match shared {
                    Some(other) => other.queries[c].clone(),
                    None => {
                        Arc::new(Queries::new(&vectors[c], feature.desc.dim() as usize, &groups(feature)))
                    }
                };
                pool.modules.push(modules::weights(self.spec().modules.as_ref(), feature));
                pool.lengths.push(match self.spec().sim {
                    Sim::Dot => {
                        skip::query_lengths(&vectors[c], feature.desc.dim() as usize, &groups(feature))
                    }
                    Sim::Cosine => Vec::new(),
                });
                pool.readers.push(reader);
                pool.queries.push(queries);
            }
            pools.push(pool);
        }
        Ok(pools)
    }

    /// The loaded plan; the first call loads it.
    pub(super) fn ready(&self, cancel: &AtomicBool) -> Result<Arc<Ready>, QueryError> {
        let mut slot = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = &*slot {
            return Ok(ready.clone());
        }
        let mut target = self.load_targets(Shape::Terms, cancel)?;
        let pools = self.open_pools(0..self.checkpoints().len(), &target.vectors)?;
        // The pools hold them packed.
        target.vectors = Vec::new();
        let weights = self.checkpoints().iter().map(|c| c.weight).collect();
        let ready = Arc::new(Ready { pools, target, weights });
        *slot = Some(ready.clone());
        Ok(ready)
    }
}
