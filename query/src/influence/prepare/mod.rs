//! Prepared plans: a plan bound to its snapshot, with target vectors, pool readers and row filters.
//!
//! Preparing reads only the catalog. The rest is loaded by the first answer that needs it and kept for
//! further ones; it can be shared between threads.

mod at_hand;
mod binding;
pub(super) mod encoder;
mod inverses;
pub(super) mod loss_sides;
pub(super) mod losses;
pub(super) mod operands;
pub(super) mod overlap;
pub(super) mod target_rows;
pub(super) mod target_samples;
mod target_source;
pub(super) mod target_vectors;
mod targets;

use std::collections::BTreeMap;
use std::sync::Arc;

use gstore_core::Cancel;
use gstore_curvature::Preconditioner;
use gstore_store::{RowSet, Snapshot};
use once_cell::sync::OnceCell;

use self::encoder::{Encoder, GivenSamples};
use self::loss_sides::LossSides;
use self::losses::LossOperands;
use self::operands::Operands;
use self::overlap::{TargetContents, rows_in_targets};
use self::target_vectors::TargetForm;
use crate::error::QueryError;
use crate::hint::in_any_case;
use crate::influence::plan::Plan;
use crate::influence::plan::checkpoints::PlanCheckpoint;
use crate::influence::plan::side::PlanSide;
use crate::influence::plan::vector::AtHandVector;
use crate::influence::scan::terms::Terms;
use crate::influence::spec::{InfluenceSpec, Missing};
use crate::sketch::Sketch;

/// A question that can be answered: a [`Plan`] with its snapshot.
pub struct Prepared {
    plan: Plan,
    inputs: Arc<Inputs>,
    /// The only target rows that are compared, as (target, row) in order; all where there is none.
    only: Option<Arc<[(u32, u64)]>>,
    /// Sketches that were given, by the number of the feature.
    sketches: BTreeMap<u32, Arc<Sketch>>,
    loaded: Loaded,
}

/// What answers have loaded.
#[derive(Default)]
struct Loaded {
    /// With the query vectors that the question's terms need.
    by_terms: OnceCell<Operands>,
    /// With a query vector for each target sample.
    by_sample: OnceCell<Operands>,
    /// The same of losses.
    losses_by_terms: OnceCell<LossOperands>,
    losses_by_sample: OnceCell<LossOperands>,
}

/// What the parts of one question share.
struct Inputs {
    snapshot: Arc<Snapshot>,
    encoder: Option<Arc<dyn Encoder>>,
    given: OnceCell<GivenSamples>,
    contents: OnceCell<TargetContents>,
    candidates: OnceCell<Vec<Arc<RowSet>>>,
    losses: OnceCell<LossSides>,
    /// For each checkpoint the preconditioner of the target's vectors.
    inverses: OnceCell<Vec<Preconditioner>>,
}

impl Prepared {
    /// Who computes what is not stored, if anybody was named.
    pub fn encoder(&self) -> Option<&Arc<dyn Encoder>> {
        self.inputs.encoder.as_ref()
    }

    /// How the question was resolved.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The question.
    pub fn spec(&self) -> &InfluenceSpec {
        &self.plan.spec
    }

    /// The snapshot it is asked of.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.inputs.snapshot
    }

    /// The run whose checkpoints are used, if they belong to one.
    pub fn run(&self) -> Option<&str> {
        self.plan.run()
    }

    /// The checkpoints used, in the run's order, with weights that sum to 1.
    pub fn checkpoints(&self) -> &[PlanCheckpoint] {
        &self.plan.checkpoints
    }

    /// The pools; `Scored::pool` points here.
    pub fn pools(&self) -> &[PlanSide] {
        &self.plan.pools
    }

    /// The metadata column of its pools that a name means, in any case where only one fits.
    pub fn metadata_column(&self, name: &str) -> Option<&str> {
        let columns = self.pools().iter().flat_map(|side| &side.dataset.columns);
        in_any_case(name, columns.map(|column| column.name.as_str()))
    }

    /// The target datasets; `TargetRow::target` points here. None where samples are given with the question:
    /// `TargetRow::row` then counts those.
    pub fn targets(&self) -> &[PlanSide] {
        &self.plan.targets
    }

    /// The feature kind of the targets.
    pub fn target_kind(&self) -> &str {
        &self.plan.target_kind
    }

    /// The samples that are given with the question, as they are asked.
    pub fn given_records(&self) -> &[String] {
        &self.plan.given
    }

    /// What a user should know about how the question was resolved.
    pub fn notes(&self) -> &[String] {
        &self.plan.notes
    }

    /// Live rows of the pools: what a percentage is taken of.
    pub fn live(&self) -> u64 {
        self.pools().iter().map(|pool| pool.dataset.rows).sum()
    }

    /// More results than the question can have, from the catalog: live rows, or vectors that fit
    /// into the features' files.
    pub fn most_results(&self) -> usize {
        let of_pool = |pool: &PlanSide| -> u64 {
            let each = pool.features.iter().map(|f| f.most_vectors());
            // A token that lacks a checkpoint is a result only where the weights are renormalised.
            if self.spec().missing == Missing::Renormalise { each.sum() } else { each.min().unwrap_or(0) }
        };
        let most: u64 = match self.spec().per_token {
            true => self.pools().iter().map(of_pool).sum(),
            false => self.live(),
        };
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    /// Names of the subtasks; `Scored::subtask` points here. Reads the targets.
    pub fn subtasks(&self, cancel: &Cancel) -> Result<Vec<String>, QueryError> {
        if self.plan.models.is_some() {
            return Ok(self.loss_operands(cancel)?.target.subtasks.clone());
        }
        Ok(self.operands(cancel)?.target.subtasks.clone())
    }

    /// A pool and a row of it that is no candidate: its own vector is the question.
    fn left_out(&self) -> Option<(usize, u64)> {
        match &self.plan.vector {
            Some(AtHandVector::Row { pool, row }) => Some((*pool, *row)),
            _ => None,
        }
    }

    /// The rows of each pool that may be scored.
    pub(super) fn candidates(&self, cancel: &Cancel) -> Result<&[Arc<RowSet>], QueryError> {
        let find = || {
            let mut found = Vec::new();
            for (pool, side) in self.pools().iter().enumerate() {
                let mut live = self.snapshot().live_rows(&side.dataset)?;
                if let Some((_, row)) = self.left_out().filter(|(of, _)| *of == pool) {
                    live = Arc::new(live.difference(&RowSet::from_rows([row])));
                }
                found.push(match self.spec().exclude_target {
                    false => live,
                    true => Arc::new(live.difference(&rows_in_targets(&[self], &side.dataset, cancel)?)),
                });
            }
            Ok(found)
        };
        self.inputs.candidates.get_or_try_init(find).map(Vec::as_slice)
    }

    /// Refuses a question about losses where vectors are needed.
    pub(super) fn check_vectors(&self) -> Result<(), QueryError> {
        match self.plan.models {
            None => Ok(()),
            Some(_) => Err(QueryError::Spec(
                "this answer takes vectors, and the method daunce compares losses; ask without it".into(),
            )),
        }
    }

    /// The pools and the query vectors that the question's terms need.
    pub(super) fn operands(&self, cancel: &Cancel) -> Result<&Operands, QueryError> {
        self.loaded.by_terms.get_or_try_init(|| {
            let target = self.load_targets(TargetForm::Terms, cancel)?;
            Operands::open(self, target, cancel)
        })
    }

    /// The same, with the inverses of a preconditioner made on `threads`.
    pub(super) fn operands_on(&self, threads: usize, cancel: &Cancel) -> Result<&Operands, QueryError> {
        self.make_inverses(threads, cancel)?;
        self.operands(cancel)
    }

    /// The pools with one query vector for each target sample.
    pub(super) fn operands_by_sample(&self, cancel: &Cancel) -> Result<&Operands, QueryError> {
        self.loaded.by_sample.get_or_try_init(|| {
            let mut target = self.load_targets(TargetForm::Samples, cancel)?;
            target.terms = Terms::each(target.rows.len());
            Operands::open(self, target, cancel)
        })
    }
}
