//! A question resolved against a snapshot, as plain data.
//!
//! Invariants
//! - a plan holds parts of the catalog, and no file of the store is open in it
//! - it belongs to one state of one store, and is answered for that state alone

pub(super) mod checkpoints;
pub(super) mod conversation;
pub(super) mod covariance;
mod fitting;
mod kinds;
pub(super) mod named;
pub(super) mod precondition;
mod projection;
pub(super) mod resolve;
pub(super) mod side;
pub(super) mod vector;

use std::collections::BTreeSet;
use std::sync::Arc;

use gstore_store::{FeaturePart, Snapshot};

use self::checkpoints::PlanCheckpoint;
use self::conversation::SideTexts;
use self::covariance::PlanModels;
use self::precondition::PlanPrecondition;
use self::resolve::NeededFeatures;
use self::side::PlanSide;
use self::vector::AtHandVector;
use crate::error::{QueryError, SideOf};
use crate::influence::spec::InfluenceSpec;
use crate::influence::spec::mode::Mode;

/// A question resolved against a snapshot: names, kinds, checkpoints with their weights, and one feature of
/// each side for each checkpoint.
///
/// Making one reads only the catalog and some records of each dataset: a given prompt with its completion is
/// asked as a conversation where the pool's samples are, unless the question says `raw`; of a stored one a
/// note says that they differ. [`super::Prepared`] answers it.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub(super) spec: InfluenceSpec,
    /// The given samples as they are asked: a prompt with its completion may be a conversation.
    pub(super) given: Vec<String>,
    /// The question's vector, where it is given.
    pub(super) vector: Option<AtHandVector>,
    pub(super) run: Option<String>,
    pub(super) checkpoints: Vec<PlanCheckpoint>,
    pub(super) pools: Vec<PlanSide>,
    /// None where samples are given with the question.
    pub(super) targets: Vec<PlanSide>,
    /// For each target the subtasks that are asked about; `None`: all its rows.
    pub(super) subtasks: Vec<Option<BTreeSet<String>>>,
    pub(super) target_kind: String,
    pub(super) notes: Vec<String>,
    /// The models whose losses are compared, where the question asks for that.
    pub(super) models: Option<PlanModels>,
    /// What the target's vectors are preconditioned by, where the question asks for that.
    pub(super) precondition: Option<PlanPrecondition>,
}

impl Plan {
    /// Resolves names, kinds, checkpoints, weights and features.
    ///
    /// # Errors
    /// Names that the snapshot does not have, features that cannot be compared, and options that
    /// contradict each other.
    pub fn new(snapshot: &Snapshot, spec: &InfluenceSpec) -> Result<Self, QueryError> {
        let targets = resolve::named_targets(snapshot, &spec.targets)?;
        let spec = &InfluenceSpec { targets, ..spec.clone() };
        if let Some(covariance) = &spec.covariance {
            return covariance::plan(snapshot, spec, covariance);
        }
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
            (true, false) => Vec::new(),
            (_, true) => resolve::targets(snapshot, &spec.targets)?,
        };
        named::check(snapshot, spec)?;
        let kinds::Kinds { pool: pool_kind, target: target_kind, note: of_kinds } =
            kinds::kinds(snapshot, spec, &pools, &targets)?;
        let of_pools = pools.iter().map(|pool| (SideOf::Pool, pool, &pool_kind));
        let of_targets = targets.iter().map(|(target, _)| (SideOf::Target, target, &target_kind));
        let (datasets, needed): (Vec<_>, Vec<_>) = of_pools
            .chain(of_targets)
            .map(|(of, dataset, kind)| (dataset, NeededFeatures::new(of, dataset, kind, spec)))
            .unzip();
        let sides = resolve::sides(snapshot, datasets, &needed, spec)?;
        let chosen = checkpoints::choose(snapshot, spec, &sides, &needed)?;
        let mut features: Vec<Vec<Arc<FeaturePart>>> = vec![Vec::new(); sides.len()];
        let mut of_texts: Vec<String> = Vec::new();
        for checkpoint in &chosen.checkpoints {
            let (of_sides, note) = fitting::fit(snapshot, &sides, checkpoint, &chosen.checkpoints, spec)?;
            of_texts.extend(note);
            features.iter_mut().zip(of_sides).for_each(|(side, feature)| side.push(feature));
        }
        of_texts.dedup();
        let places: Vec<&str> =
            chosen.checkpoints.iter().map(|checkpoint| checkpoint.name.as_str()).collect();
        named::check_used(snapshot, spec, &features, &places)?;
        if spec.per_token {
            features.iter().take(pools.len()).try_for_each(|features| fitting::same_tokens(features))?;
        }
        let texts: Vec<SideTexts<'_>> =
            sides.iter().zip(&features).map(|(side, features)| side.texts(features)).collect();
        let (given, of_given) = conversation::resolve(snapshot, &texts[..pools.len()], spec)?;
        let mut notes: Vec<String> = of_kinds.into_iter().chain(chosen.notes).chain(of_texts).collect();
        let run = chosen.run.as_deref();
        notes.extend(of_given);
        notes.extend(conversation::note_of_forms(snapshot, &texts, run));
        let asked = (&pools[..], &chosen.checkpoints[..], &features[..]);
        let (precondition, own) = precondition::resolve(snapshot, spec, asked)?;
        notes.extend(own);
        let side = |(side, features): (resolve::QuestionDataset, Vec<Arc<FeaturePart>>)| PlanSide {
            dataset: side.dataset,
            kind: side.kind,
            features,
            losses: None,
        };
        let mut sides = sides.into_iter().zip(features).map(side);
        Ok(Self {
            spec: spec.clone(),
            given,
            vector: None,
            run: chosen.run,
            checkpoints: chosen.checkpoints,
            pools: sides.by_ref().take(pools.len()).collect(),
            targets: sides.collect(),
            subtasks: targets.into_iter().map(|(_, subtasks)| subtasks).collect(),
            target_kind,
            notes,
            models: None,
            precondition,
        })
    }

    /// The run whose checkpoints are used, if they belong to one.
    pub fn run(&self) -> Option<&str> {
        self.run.as_deref()
    }

    /// The checkpoints used, in the run's order, with weights that sum to 1.
    pub fn checkpoints(&self) -> &[PlanCheckpoint] {
        &self.checkpoints
    }

    /// The models whose losses are compared, where the question asks for that.
    pub fn models(&self) -> Option<&PlanModels> {
        self.models.as_ref()
    }

    /// What the target's vectors are preconditioned by, where the question asks for that.
    pub fn precondition(&self) -> Option<&PlanPrecondition> {
        self.precondition.as_ref()
    }
}
