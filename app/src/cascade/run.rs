//! Unlabelled rows of a cascade, stage by stage: the features computed for them, and which rows go on.

use gstore_core::{Unit, many_of};
use gstore_store::{RowSet, Store};

use super::candidates::unscored_rows;
use super::known::OpenStageColumns;
use super::report::CascadeReport;
use super::{CalibratedStage, Cascade};
use crate::answer::AnswerError;
use crate::work::JobContext;

impl Cascade {
    /// Computes the stages of the rows that are left, and at last their gradients. What is known of rows
    /// stays in the store; the pool's rows with all gradients can be ranked then. Memory: about 100
    /// bytes, and 32 for each checkpoint, for each row that goes on.
    ///
    /// # Errors
    /// What stops an ingest, damage, and being told to stop: the same request goes on then.
    pub fn run(mut self, store: &Store, work: &mut JobContext<'_>) -> Result<CascadeReport, AnswerError> {
        let mut left = self.rest.clone();
        for place in 0..self.steps.len() {
            let stage = &self.steps[place].stage;
            let (seconds, rows) = (self.spent.seconds(), left.len());
            let mut computed = RowSet::new();
            if !stage.kinds.is_empty() {
                let found = self.source.compute(store, self.source.forward(&stage.kinds), &left, work)?;
                self.spent.forward(place, found.measured);
                computed = found.rows;
            }
            if stage.checkpoints > 0 {
                let request = self.source.gradients_at(stage.checkpoints);
                let found = self.source.compute(store, request, &left, work)?;
                self.spent.gradients(found.measured);
                computed = computed.union(&found.rows);
            }
            let seconds = self.spent.seconds() - seconds;
            left = self.candidates(store, place, &left, work)?;
            let labelled = match place + 1 == self.steps.len() {
                true => self.rounds(store, place, &left, work)?,
                false => RowSet::new(),
            };
            left = self.survivors(store, place, &left.difference(&labelled), work)?.union(&labelled);
            let report = &mut self.report.stages[place];
            (report.rows_in, report.rows_out) = (rows, left.len());
            (report.computed, report.seconds) = (computed.len(), seconds);
        }
        let all = self.source.gradients_at(self.source.checkpoints());
        let found = self.source.compute(store, all, &left, work)?;
        self.spent.gradients(found.measured);
        // Added to the rows of rounds, which have all gradients and are not computed again.
        let last = &mut self.report.last;
        last.rows = left.len();
        last.computed += found.rows.len();
        last.seconds += found.measured.seconds;
        let mut entering: Vec<f64> = self.report.stages.iter().map(|stage| stage.rows_in as f64).collect();
        entering.push(left.len() as f64);
        let (rows, labelled) = (self.report.rows, self.report.labelled);
        self.report.cost = self.spent.passes(rows, labelled, entering.clone());
        self.report.time = self.spent.time(rows, labelled, entering);
        (self.report.seconds, self.report.done) = (self.spent.seconds(), true);
        if !self.report.saves() {
            let cut = self.rest.len().saturating_sub(left.len());
            self.report.notes.push(format!(
                "the cascade has saved nothing: its cuts were expected to remove enough of {}, and removed {}",
                many_of(self.rest.len(), "row that was not labelled", "rows that were not labelled"),
                if cut == 0 { "none".to_owned() } else { cut.to_string() }
            ));
        }
        Ok(self.report)
    }

    /// The rows that may be selected, of those of which a stage is there: not those without a scored token.
    /// They are only looked for once the tokens of all are counted, so that the same command decides the
    /// same.
    fn candidates(
        &self,
        store: &Store,
        place: usize,
        rows: &RowSet,
        work: &JobContext<'_>,
    ) -> Result<RowSet, AnswerError> {
        let is_counted = |step: &CalibratedStage| step.stage.computes() || step.stage.has_counts();
        if !self.steps[..=place].iter().any(is_counted) {
            return Ok(rows.clone());
        }
        let (snapshot, _lease) = self.source.open_newest(store, work)?;
        Ok(rows.difference(&unscored_rows(&snapshot, &self.source, rows)?))
    }

    /// The rows that a stage lets go on: those that it predicts enough of, and those of which a value is
    /// missing.
    fn survivors(
        &self,
        store: &Store,
        place: usize,
        rows: &RowSet,
        work: &mut JobContext<'_>,
    ) -> Result<RowSet, AnswerError> {
        let Some(from) = self.steps[place].cut.from else { return Ok(rows.clone()) };
        let mut left: Vec<u64> = Vec::new();
        self.predictions(store, place, rows, work, |row, prediction| {
            if prediction.is_none_or(|prediction| prediction >= from) {
                left.push(row);
            }
        })?;
        Ok(RowSet::from_rows_sorted(left))
    }

    /// Hands on what a stage predicts of rows, in their order; none of one of which a value is missing.
    pub(super) fn predictions(
        &self,
        store: &Store,
        place: usize,
        rows: &RowSet,
        work: &mut JobContext<'_>,
        mut take: impl FnMut(u64, Option<f64>),
    ) -> Result<(), AnswerError> {
        let (snapshot, _lease) = self.source.open_newest(store, work)?;
        let columns = self.steps[..=place].iter().map(|step| &step.columns);
        let known = OpenStageColumns::open(&snapshot, &self.source, columns)?;
        work.progress.start("predict", rows.len(), Unit::Rows);
        for own in rows.by_cell() {
            work.cancel.check()?;
            let x = known.read(&own, work)?;
            let whole: Vec<usize> = (0..own.len()).filter(|row| x.is_finite(*row)).collect();
            let mut found: Vec<Option<f64>> = vec![None; own.len()];
            let predictions = self.steps[place].learner.predict(&x.select(&whole));
            let finite = |at: usize| Some(predictions.row(at)[0]).filter(|value| value.is_finite());
            whole.iter().enumerate().for_each(|(at, row)| found[*row] = finite(at));
            own.iter().zip(found).for_each(|(row, prediction)| take(*row, prediction));
            work.progress.advance(own.len() as u64);
        }
        work.progress.finish();
        Ok(())
    }
}
