//! A question resolved against a snapshot.

pub(super) mod checkpoints;
pub(super) mod describe;
pub(super) mod resolve;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use gstore_store::{DatasetPart, FeaturePart, RowSet, Snapshot};

use self::checkpoints::{self, PlanCheckpoint};
use self::resolve::{self, Side, Target};
use crate::error::{QueryError, SideOf};
use crate::influence::prepare::Ready;
use crate::influence::prepare::encoder::{Encoder, Given};
use crate::influence::prepare::overlap::TargetContents;
use crate::influence::spec::mode::Mode;
use crate::influence::spec::{InfluenceSpec, Missing};
use crate::sketch::Sketch;

/// A question resolved against a snapshot. Making one reads only the catalog; target vectors and feature footers are read by the first
/// answer and kept for further ones. It can be shared between threads.
pub struct InfluencePlan {
    snapshot: Arc<Snapshot>,
    spec: InfluenceSpec,
    run: Option<String>,
    checkpoints: Vec<PlanCheckpoint>,
    pools: Vec<PlanSide>,
    pub(super) target_rows: Vec<Target>,
    /// The only target rows that are compared, as (target, row) in order; all where there is none.
    pub(super) only: Option<Arc<[(u32, u64)]>>,
    target_features: Vec<PlanSide>,
    target_kind: String,
    notes: Vec<String>,
    /// Sketches that were given, by the number of the feature.
    pub(super) sketches: BTreeMap<u32, Arc<Sketch>>,
    pub(super) encoder: Option<Arc<dyn Encoder>>,
    /// A pool and a row of it that is no candidate: its own vector is the question.
    pub(super) left_out: Option<(usize, u64)>,
    pub(super) given: Mutex<Option<Arc<Given>>>,
    pub(super) contents: Mutex<Option<Arc<TargetContents>>>,
    pub(super) candidates: Mutex<Option<Vec<Arc<RowSet>>>>,
    pub(super) ready: Mutex<Option<Arc<Ready>>>,
    /// The same with a query vector for each target sample.
    pub(super) ready_samples: Mutex<Option<Arc<Ready>>>,
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

impl InfluencePlan {
    /// Resolves names, kinds, checkpoints, weights and features.
    ///
    /// # Errors
    /// Also where samples are given with the question, which takes an encoder: [`InfluencePlan::with_encoder`].
    pub fn new(snapshot: &Arc<Snapshot>, spec: &InfluenceSpec) -> Result<Self, QueryError> {
        Self::with_encoder(snapshot, spec, None)
    }

    /// The same with somebody who can compute the vectors of samples that are given with the question; the first answer does it.
    pub fn with_encoder(
        snapshot: &Arc<Snapshot>,
        spec: &InfluenceSpec,
        encoder: Option<Arc<dyn Encoder>>,
    ) -> Result<Self, QueryError> {
        if let Mode::Sketch(mode) = &spec.mode {
            mode.check()?;
        }
        let pools = resolve::pools(snapshot, &spec.pools)?;
        let targets = match (spec.targets.is_empty(), spec.given.is_empty()) {
            (false, false) => {
                return Err(QueryError::Spec(
                    "the target is a dataset or given with the question, not both".into(),
                ));
            }
            (true, false) if encoder.is_none() => return Err(QueryError::NoEncoder),
            (true, false) => Vec::new(),
            (_, true) => resolve::targets(snapshot, &spec.targets)?,
        };
        resolve::check_preferences(snapshot, spec)?;
        let (pool_kind, target_kind) = resolve::kinds(snapshot, spec, &pools);
        let mut sides: Vec<Side> = Vec::new();
        for pool in &pools {
            sides.push(resolve::side(snapshot, pool, &pool_kind, SideOf::Pool, spec)?);
        }
        for target in &targets {
            sides.push(resolve::side(snapshot, &target.dataset, &target_kind, SideOf::Target, spec)?);
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
        if spec.per_token {
            resolved.iter().try_for_each(same_tokens)?;
        }
        Ok(Self {
            snapshot: snapshot.clone(),
            spec: spec.clone(),
            run: chosen.run,
            checkpoints: chosen.checkpoints,
            pools: resolved,
            target_rows: targets,
            only: None,
            target_features,
            target_kind,
            notes: chosen.notes,
            sketches: BTreeMap::new(),
            encoder,
            left_out: None,
            given: Mutex::new(None),
            contents: Mutex::new(None),
            candidates: Mutex::new(None),
            ready: Mutex::new(None),
            ready_samples: Mutex::new(None),
        })
    }

    /// The same question about these target rows alone, given as (target, row) in order. What was found out for it is known already.
    pub(super) fn narrowed(&self, only: Arc<[(u32, u64)]>, candidates: Vec<Arc<RowSet>>) -> Self {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self {
            snapshot: self.snapshot.clone(),
            spec: self.spec.clone(),
            run: self.run.clone(),
            checkpoints: self.checkpoints.clone(),
            pools: self.pools.clone(),
            target_rows: self.target_rows.clone(),
            only: Some(only),
            target_features: self.target_features.clone(),
            target_kind: self.target_kind.clone(),
            notes: self.notes.clone(),
            sketches: self.sketches.clone(),
            encoder: self.encoder.clone(),
            given: Mutex::new(given),
            contents: Mutex::new(contents),
            candidates: Mutex::new(Some(candidates)),
            ready: Mutex::new(None),
            ready_samples: Mutex::new(None),
            left_out: self.left_out,
        }
    }

    /// One of several parts of a question: each may miss as much less, so that together they keep what was stated.
    pub fn with_share(mut self, parts: usize) -> Self {
        if let Mode::Sketch(mode) = &mut self.spec.mode {
            mode.miss /= parts.max(1) as f64;
        }
        self
    }

    /// Gives the plan a sketch of the feature with this number, made of the same snapshot's files.
    pub fn with_sketch(mut self, feature: u32, sketch: Arc<Sketch>) -> Self {
        self.sketches.insert(feature, sketch);
        self.ready = Mutex::new(None);
        self.ready_samples = Mutex::new(None);
        self
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

    /// The target datasets; `TargetRow::target` points here. None where samples are given with the question: `TargetRow::row` then counts
    /// those.
    pub fn targets(&self) -> &[PlanSide] {
        &self.target_features
    }

    /// The feature kind of the targets.
    pub fn target_kind(&self) -> &str {
        &self.target_kind
    }

    /// What a user should know about how the question was resolved.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Live rows of the pools: what a percentage is taken of.
    pub fn live(&self) -> u64 {
        self.pools.iter().map(|pool| pool.dataset.rows).sum()
    }

    /// More results than the question can have, from the catalog: live rows, or vectors that fit into the features' files.
    pub fn most_results(&self) -> u64 {
        if !self.spec.per_token {
            return self.live();
        }
        let of_pool = |pool: &PlanSide| -> u64 {
            let each = pool.features.iter().map(|f| f.most_vectors());
            // A token that lacks a checkpoint is a result only where the weights are renormalised.
            if self.spec.missing == Missing::Renormalise { each.sum() } else { each.min().unwrap_or(0) }
        };
        self.pools.iter().map(of_pool).sum()
    }

    /// Names of the subtasks; `Scored::subtask` points here. Reads the targets.
    pub fn subtasks(&self) -> Result<Vec<String>, QueryError> {
        Ok(self.ready(&AtomicBool::new(false))?.target.subtasks.clone())
    }
}

/// Refuses checkpoints whose features saw different tokens of the same sample: a position would not mean the same token.
fn same_tokens(side: &PlanSide) -> Result<(), QueryError> {
    match side.encoding() {
        Some(_) => Ok(()),
        None => Err(QueryError::Spec(format!(
            "the features of tokens of dataset `{}` have different encodings, so their tokens cannot be matched: {}; name \
             checkpoints or features of one",
            side.dataset.name,
            side.features.iter().map(|f| resolve::describe(f)).collect::<Vec<_>>().join("; ")
        ))),
    }
}
