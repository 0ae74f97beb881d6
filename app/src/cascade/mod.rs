//! Cascades: features stage by stage for the rows that are left, so that few rows take all gradients.
//!
//! Invariants
//! - everything that is decided follows from a sample of rows, drawn by the seed, which has all features:
//!   learners, cuts and the bound of the recall are there before the other rows cost anything
//! - what is computed are features of the pool, published stage by stage: the same request goes on from them, and
//!   decides the same

mod cost;
mod fit;
mod known;
mod report;
mod sample;
mod source;
mod stages;

use std::sync::Arc;

use gstore_core::{Unit, many};
use gstore_ingest::pipeline::GivenOptions;
use gstore_learn::LearnError;
use gstore_learn::judge::StageCut;
use gstore_learn::learners::{Fitted, Learner};
use gstore_query::influence::{InfluenceSpec, Order};
use gstore_store::{Lease, RowSet, Snapshot, Store};

pub use report::{CascadeReport, StageReport};

use self::cost::Spent;
use self::fit::{Calibrated, calibrate};
use self::known::{Columns, Known};
use self::sample::{Pool, Sample, compute_sample, draw, inputs};
use self::source::Source;
use self::stages::{Stage, parse};
use crate::answer::AnswerError;
use crate::rows::cells;
use crate::work::Work;

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
    /// Seed of the sample, of folds and networks.
    pub seed: u64,
    /// Where models are, and what computes.
    pub models: GivenOptions,
}

/// A stage that is calibrated.
struct Step {
    stage: Stage,
    columns: Columns,
    learner: Fitted,
    cut: StageCut,
}

/// A cascade whose decisions are made.
pub struct Cascade {
    /// What is expected of it.
    pub report: CascadeReport,
    source: Source,
    steps: Vec<Step>,
    /// Rows that are not labelled.
    rest: RowSet,
    spent: Spent,
}

/// Labels a sample, computes all features of it, and decides with them how the other rows are cut.
///
/// # Errors
/// A cascade that cannot save anything, or whose sample is too small, before anything is computed; features that
/// cannot be computed, data from which nothing can be learned, damage, being told to stop.
pub fn prepare_cascade(
    store: &Store,
    request: &CascadeRequest,
    work: &mut Work<'_>,
) -> Result<Cascade, AnswerError> {
    if !(request.recall > 0.0 && request.recall <= 0.999) {
        return Err(AnswerError::Refused(
            "the recall of a cascade is a share above 0, at most 99.9 %".to_owned(),
        ));
    }
    let (snapshot, lease) = current(store, work)?;
    let source = Source::find(&snapshot, &request.spec, &request.models, work)?;
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
    let pool = draw(&snapshot, &source, request, &stages, work)?;
    drop((snapshot, lease));
    let mut spent = Spent::new(&stages, source.checkpoints());
    let keys = compute_sample(store, &source, &stages, (&pool.labelled, &mut spent), work)?;
    let (snapshot, _lease) = current(store, work)?;
    let inputs = inputs(&snapshot, &stages, &keys)?;
    let sample = Sample::read(&snapshot, &source, (&stages, &inputs), &pool.labelled, request, work)?;
    let mut widths: Vec<usize> = sample.columns.iter().map(|columns| columns.names().len()).collect();
    (1..widths.len()).for_each(|place| widths[place] += widths[place - 1]);
    let found = calibrate(&sample.data, &widths, pool.top, request, work)?;
    let report = expected(request, &stages, &pool, (&found, sample.lacking), &spent);
    let Calibrated { learners, cuts, .. } = found;
    let parts = stages.into_iter().zip(sample.columns).zip(learners.into_iter().zip(cuts));
    let steps =
        parts.map(|((stage, columns), (learner, cut))| Step { stage, columns, learner, cut }).collect();
    let rest = pool.rows.difference(&pool.labelled);
    Ok(Cascade { report, source, steps, rest, spent })
}

/// What the labelled rows let expect. `lacking`: the share of rows that go on because a value is missing.
fn expected(
    request: &CascadeRequest,
    stages: &[Stage],
    pool: &Pool,
    (found, lacking): (&Calibrated, f64),
    spent: &Spent,
) -> CascadeReport {
    let (rows, labelled) = (pool.rows.len(), pool.labelled.len());
    let rest = rows.saturating_sub(labelled) as f64;
    let left = |cut: &StageCut| rest * (cut.kept * (1.0 - lacking) + lacking);
    let entering: Vec<f64> = std::iter::once(rest).chain(found.cuts.iter().map(left)).collect();
    let of_stage = |place: usize| StageReport {
        stage: stages[place].name.clone(),
        rows_in: entering[place].round() as u64,
        rows_out: entering[place + 1].round() as u64,
        spearman: found.spearman[place],
        cut: found.cuts[place].from,
        recall: found.cuts[place].recall,
        bound: found.cuts[place].bound,
        computed: 0,
        seconds: 0.0,
    };
    CascadeReport {
        pool: request.spec.pools.join(", "),
        targets: request.spec.target_names(),
        rows,
        labelled,
        top: pool.top,
        top_labelled: found.top,
        learner: request.learner.name().to_owned(),
        recall: request.recall,
        bound: found.cuts.last().map_or(1.0, |cut| cut.bound),
        stages: (0..stages.len()).map(of_stage).collect(),
        cost: spent.passes(rows, labelled, entering.clone()),
        time: spent.time(rows, labelled, entering),
        seconds: spent.seconds(),
        done: false,
        notes: found.notes.clone(),
    }
}

impl Cascade {
    /// Computes the stages of the rows that are left, and at last their gradients. What is known of rows stays in
    /// the store; the pool's rows with all gradients can be ranked then.
    ///
    /// # Errors
    /// What stops an ingest, damage, and being told to stop: the same request goes on then.
    pub fn run(mut self, store: &Store, work: &mut Work<'_>) -> Result<CascadeReport, AnswerError> {
        let mut left = self.rest.clone();
        for place in 0..self.steps.len() {
            let stage = &self.steps[place].stage;
            let (seconds, rows) = (self.spent.seconds(), left.len());
            let mut computed = 0;
            if !stage.kinds.is_empty() {
                let found = self.source.compute(store, self.source.forward(&stage.kinds), &left, work)?;
                computed += found.measured.rows;
                self.spent.forward(place, found.measured);
            }
            if stage.checkpoints > 0 {
                let request = self.source.gradients_at(stage.checkpoints);
                let found = self.source.compute(store, request, &left, work)?;
                computed += found.measured.rows;
                self.spent.gradients(found.measured);
            }
            left = self.survivors(store, place, &left, work)?;
            let report = &mut self.report.stages[place];
            (report.rows_in, report.rows_out) = (rows, left.len());
            (report.computed, report.seconds) = (computed, self.spent.seconds() - seconds);
        }
        let all = self.source.gradients_at(self.source.checkpoints());
        let found = self.source.compute(store, all, &left, work)?;
        self.spent.gradients(found.measured);
        let mut entering: Vec<f64> = self.report.stages.iter().map(|stage| stage.rows_in as f64).collect();
        entering.push(left.len() as f64);
        let (rows, labelled) = (self.report.rows, self.report.labelled);
        self.report.cost = self.spent.passes(rows, labelled, entering.clone());
        self.report.time = self.spent.time(rows, labelled, entering);
        (self.report.seconds, self.report.done) = (self.spent.seconds(), true);
        Ok(self.report)
    }

    /// The question of the selection among rows that have all gradients.
    pub fn spec(&self) -> &InfluenceSpec {
        &self.source.spec
    }

    /// The rows that a stage lets go on: those that it predicts enough of, and those of which a value is missing.
    fn survivors(
        &self,
        store: &Store,
        place: usize,
        rows: &RowSet,
        work: &mut Work<'_>,
    ) -> Result<RowSet, AnswerError> {
        let step = &self.steps[place];
        let Some(from) = step.cut.from else { return Ok(rows.clone()) };
        let (snapshot, _lease) = current(store, work)?;
        let columns = self.steps[..=place].iter().map(|step| &step.columns);
        let known = Known::open(&snapshot, &self.source, columns)?;
        let mut left: Vec<u64> = Vec::new();
        work.progress.start("predict", rows.len(), Unit::Rows);
        for own in cells(rows) {
            work.cancel.check().map_err(LearnError::from)?;
            let x = known.read(&own, work)?;
            let (whole, others): (Vec<usize>, Vec<usize>) = (0..own.len()).partition(|row| x.is_finite(*row));
            let predictions = step.learner.predict(&x.select(&whole));
            let kept = whole.iter().enumerate().filter(|(at, _)| predictions.row(*at)[0] >= from);
            left.extend(kept.map(|(_, row)| own[*row]).chain(others.iter().map(|row| own[*row])));
            work.progress.advance(own.len() as u64);
        }
        work.progress.finish();
        Ok(RowSet::from_rows(left))
    }
}

/// The store as it is now; the lease keeps it while it is read.
fn current(store: &Store, work: &Work<'_>) -> Result<(Arc<Snapshot>, Option<Lease>), AnswerError> {
    store.snapshot_leased(None, work.command).map_err(|error| AnswerError::Refused(error.to_string()))
}
