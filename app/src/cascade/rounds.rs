//! Active rounds: the rows nearest to the last cut get all gradients and are learned from, and the cut is
//! chosen again on the random sample.

use gstore_core::many;
use gstore_store::{RowSet, Store};

use super::Cascade;
use super::known::{OpenStageColumns, labels_of};
use crate::answer::{AnswerError, ids_of};
use crate::rows::SmallestKeys;
use crate::work::JobContext;

impl Cascade {
    /// Labels rows near the cut of the last stage, which is at `place`, in as many rounds as were asked for;
    /// gives those rows, which have all gradients then.
    pub(super) fn rounds(
        &mut self,
        store: &Store,
        place: usize,
        left: &RowSet,
        work: &mut JobContext<'_>,
    ) -> Result<RowSet, AnswerError> {
        let mut labelled = RowSet::new();
        for _ in 0..self.request.rounds {
            let near = self.nearest(store, place, &left.difference(&labelled), work)?;
            if near.is_empty() {
                break;
            }
            let all = self.source.gradients_at(self.source.checkpoints());
            let found = self.source.compute(store, all, &near, work)?;
            self.spent.gradients(found.measured);
            // Rows of a round go on, so that these are gradients of the last stage, taken early.
            self.report.last.computed += found.rows.len();
            self.report.last.seconds += found.measured.seconds;
            self.add(store, &near, work)?;
            labelled = labelled.union(&near);
            let width = self.learned.data.x.cols();
            self.steps[place].learner = self.learned.stage((place, width), &self.request, work)?;
            if let Some(cut) = self.learned.cuts(self.request.recall).last() {
                self.steps[place].cut = *cut;
                let report = &mut self.report.stages[place];
                (report.cut, report.recall, report.bound) = (cut.from, cut.recall, cut.bound);
                report.spearman = self.learned.spearman(place);
                self.report.bound = cut.bound;
            }
        }
        if !labelled.is_empty() {
            self.report.notes.push(format!(
                "{} nearest to the last cut were labelled to learn from; the cut is calibrated on the random sample alone",
                many(labelled.len(), "row")
            ));
        }
        Ok(labelled)
    }

    /// The rows whose predictions are nearest to a stage's cut.
    fn nearest(
        &self,
        store: &Store,
        place: usize,
        rows: &RowSet,
        work: &mut JobContext<'_>,
    ) -> Result<RowSet, AnswerError> {
        let Some(from) = self.steps[place].cut.from else { return Ok(RowSet::new()) };
        let mut nearest = SmallestKeys::new(self.learned.in_round() as u64);
        self.predictions(store, place, rows, work, |row, prediction| {
            let Some(prediction) = prediction else { return };
            // The bits of numbers that are not negative have their order.
            nearest.push((prediction - from).abs().to_bits(), row);
        })?;
        Ok(nearest.rows())
    }

    /// Adds labelled rows to those that are learned from.
    fn add(&mut self, store: &Store, rows: &RowSet, work: &mut JobContext<'_>) -> Result<(), AnswerError> {
        let (snapshot, _lease) = self.source.open_newest(store, work)?;
        let rows: Vec<u64> = rows.iter().collect();
        let columns = self.steps.iter().map(|step| &step.columns);
        let x = OpenStageColumns::open(&snapshot, &self.source, columns)?.read(&rows, work)?;
        let labels = labels_of(&snapshot, (&self.source.spec, self.request.order), &rows, work)?;
        let data = &mut self.learned.data;
        for (row, id) in ids_of(&snapshot, self.source.pool(), &rows)?.into_iter().enumerate() {
            if x.is_finite(row) && labels[row].is_finite() {
                data.ids.push(id);
                data.x.push(x.row(row));
                data.y.push(&[labels[row]]);
            }
        }
        Ok(())
    }
}
