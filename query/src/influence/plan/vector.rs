//! Questions about a vector: given numbers, or the vector of a stored row.

use gstore_store::Snapshot;

use super::resolve::NeededFeatures;
use super::{Plan, checkpoints, kinds, resolve};
use crate::error::{QueryError, SideOf};
use crate::hint::quoted;
use crate::influence::spec::{InfluenceSpec, Sim};

/// Why graphs never use raw inner products.
pub const NO_DOT: &str = "a graph is built from cosines: with raw dot products a few long vectors take all edges and most rows cannot be reached; \
    a scan of dot products is exact, and faster than a graph that finds as much";

/// A given vector.
#[derive(Debug, Clone, PartialEq)]
pub enum AtHandVector {
    /// Values of any length: they are divided by it before anything is rounded.
    Values(Vec<f64>),
    /// That of a row of a pool, which is left out of the answer.
    Row {
        /// Index into the pools.
        pool: usize,
        /// Row of that dataset.
        row: u64,
    },
}

impl Plan {
    /// Resolves a question about a given vector; `spec` has neither targets nor given samples.
    ///
    /// # Errors
    /// Those of [`Plan::new`]; a question that is not about neighbours.
    pub fn about_vector(
        snapshot: &Snapshot,
        spec: &InfluenceSpec,
        vector: AtHandVector,
    ) -> Result<Self, QueryError> {
        // What stands for the sample is never read: its vector is.
        let spec = InfluenceSpec { given: vec!["{}".to_owned()], ..spec.clone() };
        let plan = Self { vector: Some(vector), ..Self::new(snapshot, &spec)? };
        plan.check_nearest()?;
        Ok(plan)
    }

    /// The checkpoint of a question about neighbours that names neither one nor features, where its pools
    /// have vectors at several: the name of the newest, by the steps of the run, and their number. No
    /// features are chosen: which of several are meant is asked at that checkpoint alone. A question that
    /// cannot be resolved has none: what is wrong with it is said where it is asked.
    pub fn default_checkpoint(snapshot: &Snapshot, spec: &InfluenceSpec) -> Option<(String, usize)> {
        if spec.checkpoints.is_some() || !spec.features.is_empty() {
            return None;
        }
        let pools = resolve::pools(snapshot, &spec.pools).ok()?;
        let kind = kinds::kinds(snapshot, spec, &pools, &[]).ok()?.pool;
        let needed: Vec<NeededFeatures<'_>> =
            pools.iter().map(|pool| NeededFeatures::new(SideOf::Pool, pool, &kind, spec)).collect();
        let sides = resolve::sides(snapshot, &pools, &needed, spec).ok()?;
        let chosen = checkpoints::choose(snapshot, spec, &sides, &needed).ok()?.checkpoints;
        let newest = chosen.iter().max_by_key(|checkpoint| checkpoint.step)?;
        (chosen.len() > 1).then(|| (newest.name.clone(), chosen.len()))
    }

    /// Refuses a question that is not about neighbours.
    ///
    /// # Errors
    /// Dot products, tokens, selected modules, a preconditioner, and any number of checkpoints but one.
    pub fn check_nearest(&self) -> Result<(), QueryError> {
        if self.spec.sim == Sim::Dot {
            return Err(QueryError::Graph(NO_DOT.to_owned()));
        }
        if self.checkpoints.len() > 1 {
            return Err(QueryError::Spec(format!(
                "the pool has these vectors at {} checkpoints, and neighbours are looked for at one; name it with `checkpoint`: {}",
                self.checkpoints.len(),
                quoted(self.checkpoints.iter().map(|checkpoint| &checkpoint.name))
            )));
        }
        let is_plain = self.spec.modules.is_none() && self.precondition.is_none();
        if self.checkpoints.is_empty() || self.spec.per_token || !is_plain {
            return Err(QueryError::Spec(
                "neighbours are looked for among whole vectors of samples, as they are stored".to_owned(),
            ));
        }
        Ok(())
    }
}
