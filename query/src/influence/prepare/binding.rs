//! Binding of plans to the snapshots that they were made for.

use std::collections::BTreeMap;
use std::sync::Arc;

use gstore_store::Snapshot;
use once_cell::sync::OnceCell;

use super::encoder::{Encoder, GivenSamples};
use super::{Inputs, Loaded, Prepared};
use crate::error::QueryError;
use crate::influence::plan::Plan;
use crate::influence::plan::vector::AtHandVector;
use crate::influence::spec::InfluenceSpec;
use crate::influence::spec::mode::Mode;
use crate::sketch::Sketch;

impl Prepared {
    /// Plans a question of stored samples.
    ///
    /// # Errors
    /// Those of [`Plan::new`]; also where samples are given with the question, which takes an encoder:
    /// [`Prepared::with_encoder`].
    pub fn new(snapshot: &Arc<Snapshot>, spec: &InfluenceSpec) -> Result<Self, QueryError> {
        Self::with_encoder(snapshot, spec, None)
    }

    /// The same with an encoder, which computes the vectors of samples that are given with the
    /// question at the first answer.
    ///
    /// # Errors
    /// Those of [`Plan::new`].
    pub fn with_encoder(
        snapshot: &Arc<Snapshot>,
        spec: &InfluenceSpec,
        encoder: Option<Arc<dyn Encoder>>,
    ) -> Result<Self, QueryError> {
        Self::bound(snapshot, Plan::new(snapshot, spec)?, encoder)
    }

    /// Plans a question about a given vector; `spec` has neither targets nor given samples. Of the encoder it
    /// takes what multiplies the rows.
    ///
    /// # Errors
    /// Those of [`Plan::about_vector`]; a vector of another length than the pools', or that is not finite; a
    /// row without a vector that has a direction.
    pub fn about_vector(
        snapshot: &Arc<Snapshot>,
        spec: &InfluenceSpec,
        vector: AtHandVector,
        encoder: Option<Arc<dyn Encoder>>,
    ) -> Result<Self, QueryError> {
        Self::bound(snapshot, Plan::about_vector(snapshot, spec, vector)?, encoder)
    }

    fn bound(
        snapshot: &Arc<Snapshot>,
        plan: Plan,
        encoder: Option<Arc<dyn Encoder>>,
    ) -> Result<Self, QueryError> {
        let is_given = !plan.spec.given.is_empty() && plan.vector.is_none();
        if is_given && encoder.is_none() {
            return Err(QueryError::NoEncoder);
        }
        let given = OnceCell::new();
        if let Some(vector) = &plan.vector {
            given.get_or_try_init(|| GivenSamples::at_hand(snapshot, &plan.pools, vector))?;
        }
        Ok(Self {
            inputs: Arc::new(Inputs {
                snapshot: snapshot.clone(),
                encoder,
                given,
                contents: OnceCell::new(),
                candidates: OnceCell::new(),
                losses: OnceCell::new(),
                inverses: OnceCell::new(),
            }),
            plan,
            only: None,
            sketches: BTreeMap::new(),
            loaded: Loaded::default(),
        })
    }

    /// The same question about these target rows alone, given as (target, row) in order. What was found out
    /// for it is known already.
    pub(super) fn narrowed(&self, only: Arc<[(u32, u64)]>) -> Self {
        Self {
            plan: self.plan.clone(),
            inputs: Arc::clone(&self.inputs),
            only: Some(only),
            sketches: self.sketches.clone(),
            loaded: Loaded::default(),
        }
    }

    /// One of several parts of a question: each may miss as much less, so that together
    /// they keep what was stated.
    pub fn with_share(mut self, parts: usize) -> Self {
        if let Mode::Sketch(mode) = &mut self.plan.spec.mode {
            mode.miss /= parts.max(1) as f64;
        }
        self
    }

    /// Uses a sketch of the feature with this number, built from the same snapshot's files.
    pub fn with_sketch(mut self, feature: u32, sketch: Arc<Sketch>) -> Self {
        self.sketches.insert(feature, sketch);
        Self { loaded: Loaded::default(), ..self }
    }
}
