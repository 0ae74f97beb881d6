//! Cascades: features stage by stage for the rows that are left, so that few rows take all gradients.
//!
//! Invariants
//! - everything that is decided follows from a sample of rows, drawn by the seed, which has all features:
//!   learners, cuts and the bound of the recall are there before the other rows cost anything
//! - rows are numbers of one dataset from beginning to end: where another one has its name, the cascade ends
//! - what is computed are features of the pool, published stage by stage: the same request goes on from them,
//!   and decides the same

mod candidates;
mod cost;
mod fit;
mod known;
mod labelled;
mod report;
mod rounds;
mod run;
mod sample;
mod source;
mod stages;
mod twins;

use std::sync::Arc;

use gstore_core::many;
use gstore_ingest::pipeline::SampleEncoderOptions;
use gstore_learn::FitOptions;
use gstore_learn::judge::StageCut;
use gstore_learn::learners::{FittedLearner, Learner};
use gstore_query::influence::{InfluenceSpec, Order, named_targets};
use gstore_store::{RowSet, Store};

pub use report::{CascadeReport, LastReport, StageReport};

use self::cost::ComputeCost;
use self::fit::FittedCascade;
use self::known::{StageColumns, reliability_of};
use self::labelled::{LabelledSample, check_columns};
use self::report::expected_outcome;
use self::sample::{compute_sample, draw, inputs};
use self::source::{CascadeSource, open_newest};
use self::stages::{Stage, parse};
use crate::answer::{AnswerError, note_of_target};
use crate::ceiling::{notes_of, tell_ceiling};
use crate::work::JobContext;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct CascadeRequest {
    /// The question: one pool, targets that have gradients.
    pub spec: InfluenceSpec,
    /// How many rows will be selected: a number, or a part of the live ones such as `5%`.
    pub top: String,
    /// Which end of the ranking.
    pub order: Order,
    /// An SQL condition: rows for which it is not true are no candidates.
    pub condition: Option<String>,
    /// The stages, such as `loss -> embed -> 1 checkpoint -> all`.
    pub stages: String,
    /// The share of the selected rows that is to be kept, with 95 % confidence.
    pub recall: f64,
    /// How many rows are labelled; none: enough for the recall.
    pub labels: Option<u64>,
    /// What predicts.
    pub learner: Learner,
    /// How often rows near the last cut are labelled, to learn from.
    pub rounds: usize,
    /// Seed of the sample, of folds and networks.
    pub seed: u64,
    /// Where models are, and what computes.
    pub models: SampleEncoderOptions,
}

struct CalibratedStage {
    stage: Stage,
    columns: StageColumns,
    learner: FittedLearner,
    cut: StageCut,
}

/// A cascade whose decisions are made.
pub struct Cascade {
    /// What is expected of it.
    pub report: CascadeReport,
    source: CascadeSource,
    steps: Vec<CalibratedStage>,
    /// Rows that are not labelled.
    rest: RowSet,
    spent: ComputeCost,
    learned: FittedCascade,
    request: CascadeRequest,
}

/// Labels a sample, computes all features of it, and decides with them how the other rows are cut.
///
/// # Errors
/// A cascade that cannot save anything, or whose sample is too small, before anything is computed; features
/// that cannot be computed, data from which nothing can be learned, damage, being told to stop.
pub fn prepare_cascade(
    store: &Store,
    request: &CascadeRequest,
    work: &mut JobContext<'_>,
) -> Result<Cascade, AnswerError> {
    if !(request.recall > 0.0 && request.recall < 1.0) {
        return Err(AnswerError::Usage("the recall of a cascade is a share above 0 and below 1".to_owned()));
    }
    let (snapshot, lease) = open_newest(store, work)?;
    let targets = named_targets(&snapshot, &request.spec.targets)?;
    let spec = InfluenceSpec { targets, ..request.spec.clone() };
    let request = &CascadeRequest { spec, ..request.clone() };
    let source = CascadeSource::find(&snapshot, &request.spec, &request.models, work)?;
    let part = Arc::clone(snapshot.dataset(source.pool())?);
    let names: Vec<&str> = part.columns.iter().map(|column| column.name.as_str()).collect();
    let stages = parse(&request.stages, &names)?;
    let most = stages.iter().map(|stage| stage.checkpoints).max().unwrap_or(0);
    if most >= source.checkpoints() {
        return Err(AnswerError::Refused(format!(
            "the question has {}, so a stage of {most} is no cheaper than all",
            many(source.checkpoints() as u64, "checkpoint")
        )));
    }
    let (pool, mut spent) = draw((store, &snapshot), &source, request, &stages, work)?;
    check_columns(&snapshot, &source, &stages, &pool.labelled, request)?;
    drop((snapshot, lease));
    let keys = compute_sample(store, &source, &stages, (&pool.labelled, &mut spent), work)?;
    let (snapshot, _lease) = source.open_newest(store, work)?;
    let inputs = inputs(&snapshot, &stages, &keys)?;
    let sample = LabelledSample::read(&snapshot, &source, (&stages, &inputs), &pool.labelled, request, work)?;
    // Rows without a score are never selected, so the top is a larger share of the others.
    let top = (pool.top / sample.scored).min(1.0);
    let noise = reliability_of(&snapshot, &source.spec, (&pool.labelled, request.seed), work)?;
    let target = request.spec.target_names().join(", ");
    tell_ceiling(&target, noise.ok(), (top, &FitOptions::default().budgets), work);
    let mut widths: Vec<usize> = sample.columns.iter().map(|columns| columns.names().len()).collect();
    (1..widths.len()).for_each(|place| widths[place] += widths[place - 1]);
    let mut learned = FittedCascade::new(sample.data, sample.sampled, top, pool.selected);
    let mut learners = Vec::with_capacity(stages.len());
    for at in widths.into_iter().enumerate() {
        learners.push(learned.stage(at, request, work)?);
    }
    let cuts = learned.cuts(request.recall);
    let mut report = expected_outcome(request, &stages, &pool, (&learned, &cuts), &spent);
    report.notes.extend(note_of_target(pool.in_target).into_iter().chain(sample.notes));
    report.notes.extend(notes_of(&[noise]));
    let parts = stages.into_iter().zip(sample.columns).zip(learners.into_iter().zip(cuts));
    let steps = parts
        .map(|((stage, columns), (learner, cut))| CalibratedStage { stage, columns, learner, cut })
        .collect();
    let rest = pool.rows.difference(&pool.labelled);
    Ok(Cascade { report, source, steps, rest, spent, learned, request: request.clone() })
}

impl Cascade {
    /// The question of the selection among rows that have all gradients.
    pub fn spec(&self) -> &InfluenceSpec {
        &self.source.spec
    }
}
