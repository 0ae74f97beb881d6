//! The report of a cascade: what enters and leaves each stage, what it takes, and the bound on the recall.

use std::fmt::{Display, Formatter};

use gstore_learn::judge::{CascadeCost, StageCut, percent, saved, taken};
use serde::Serialize;

use super::CascadeRequest;
use super::cost::ComputeCost;
use super::fit::FittedCascade;
use super::sample::CandidatePool;
use super::stages::{LAST, Stage};

/// A stage before the last.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageReport {
    /// As it was written.
    pub stage: String,
    /// Rows that enter it; before it was done, as the labelled rows let expect.
    pub rows_in: u64,
    /// Rows that go on.
    pub rows_out: u64,
    /// Rank correlation of its predictions with the scores of labelled rows that were not learned from.
    pub spearman: f64,
    /// Predictions from here on go on; none: all rows do.
    pub cut: Option<f64>,
    /// Share of the labelled rows of the true top that is left.
    pub recall: f64,
    /// The one-sided 95 % lower bound of the share of the pool's true top that is left or labelled, over this
    /// stage and those before.
    pub bound: f64,
    /// Rows of which this run computed something, at whatever number of checkpoints; others were there.
    pub computed: u64,
    /// Seconds that this took.
    pub seconds: f64,
}

/// The last stage: the gradients at all checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct LastReport {
    /// Rows that enter it; before it was done, as the labelled rows let expect.
    pub rows: u64,
    /// Rows of which this run computed something, those of rounds among them; others were there.
    pub computed: u64,
    /// Seconds that this took.
    pub seconds: f64,
}

/// All that is said of a cascade.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CascadeReport {
    /// The pool.
    pub pool: String,
    /// Its targets.
    pub targets: Vec<String>,
    /// Rows that might be selected.
    pub rows: u64,
    /// Rows that were labelled: a sample with all features.
    pub labelled: u64,
    /// The share of rows that is selected.
    pub top: f64,
    /// Labelled rows among it.
    pub top_labelled: usize,
    /// What predicts.
    pub learner: String,
    /// The recall that was asked for.
    pub recall: f64,
    /// Its lower bound over all stages, with 95 % confidence.
    pub bound: f64,
    /// The stages before the last.
    pub stages: Vec<StageReport>,
    /// The last one.
    pub last: LastReport,
    /// What all of it takes in forward passes; a gradient is three.
    pub cost: CascadeCost,
    /// The same in seconds, where this run computed something of every kind.
    pub time: Option<CascadeCost>,
    /// Seconds that this run computed.
    pub seconds: f64,
    /// Whether it was done; else rows and cost are what the labelled rows let expect.
    pub done: bool,
    /// What a reader should know.
    pub notes: Vec<String>,
}

impl CascadeReport {
    /// Whether less is computed than the gradients of all rows.
    pub fn saves(&self) -> bool {
        self.cost.saving() > 0.0
    }

    /// What a stage takes for all of its rows.
    fn takes(&self, place: usize) -> String {
        let (rows, each) = (self.cost.entering.get(place), self.cost.each.get(place));
        format!("{:.0} passes", rows.zip(each).map_or(0.0, |(rows, each)| rows * each))
    }
}

/// A table and sentences, each line ended by a line break.
impl Display for CascadeReport {
    fn fmt(&self, text: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(
            text,
            "cascade over {} for {}: {} of {} rows are labelled, {} of them in the top {}; {}{}\n",
            self.pool,
            self.targets.join(", "),
            self.labelled,
            self.rows,
            self.top_labelled,
            percent(self.top),
            self.learner,
            if self.done { "" } else { "; rows and costs are expected" }
        )?;
        writeln!(
            text,
            "{:<24} {:>10} {:>10} {:>9} {:>7} {:>9} {:>12} {:>10} {:>10}",
            "stage", "rows in", "rows out", "Spearman", "recall", "at least", "takes", "computed", "in"
        )?;
        for (place, stage) in self.stages.iter().enumerate() {
            writeln!(
                text,
                "{:<24} {:>10} {:>10} {:>9.3} {:>7.3} {:>9.3} {:>12} {:>10} {:>10}",
                stage.stage,
                stage.rows_in,
                stage.rows_out,
                stage.spearman,
                stage.recall,
                stage.bound,
                self.takes(place),
                stage.computed,
                taken(stage.seconds, true)
            )?;
        }
        let LastReport { rows, computed, seconds } = self.last;
        let (takes, seconds) = (self.takes(self.stages.len()), taken(seconds, true));
        writeln!(text, "{LAST:<24} {rows:>10} {:>38} {takes:>12} {computed:>10} {seconds:>10}", "")?;
        for stage in self.stages.iter().filter(|stage| stage.cut.is_none()) {
            writeln!(
                text,
                "{}: every row is kept: no cut that is known to keep enough removes any",
                stage.stage
            )?;
        }
        writeln!(
            text,
            "\nwith 95 % confidence at least {:.3} of the top is kept; asked for is {:.3}",
            self.bound, self.recall
        )?;
        for cost in std::iter::once(&self.cost).chain(&self.time) {
            writeln!(
                text,
                "{} against {} for the gradients of all rows; {}",
                taken(cost.with(), cost.measured),
                taken(cost.without(), cost.measured),
                saved(cost.saving())
            )?;
        }
        writeln!(text, "this run computed for {}", taken(self.seconds, true))?;
        self.notes.iter().try_for_each(|note| writeln!(text, "note: {note}"))
    }
}

/// What the labelled rows let expect.
pub(super) fn expected_outcome(
    request: &CascadeRequest,
    stages: &[Stage],
    pool: &CandidatePool,
    (learned, cuts): (&FittedCascade, &[StageCut]),
    spent: &ComputeCost,
) -> CascadeReport {
    let (rows, labelled) = (pool.rows.len(), pool.labelled.len());
    let rest = rows.saturating_sub(labelled) as f64;
    let left = |cut: &StageCut| rest * cut.kept;
    let mut entering: Vec<f64> = std::iter::once(rest).chain(cuts.iter().map(left)).collect();
    // What rounds label goes on, on whichever side of the cut it is.
    entering[cuts.len()] += learned.below_in_rounds(cuts, (rest, request.rounds));
    let last = entering.last().copied().unwrap_or(rest);
    let of_stage = |place: usize| StageReport {
        stage: stages[place].name.clone(),
        rows_in: entering[place].round() as u64,
        rows_out: entering[place + 1].round() as u64,
        spearman: learned.spearman(place),
        cut: cuts[place].from,
        recall: cuts[place].recall,
        bound: cuts[place].bound,
        computed: 0,
        seconds: 0.0,
    };
    CascadeReport {
        pool: request.spec.pools.join(", "),
        targets: request.spec.target_names(),
        rows,
        labelled,
        top: pool.top,
        top_labelled: learned.top().into_iter().filter(|top| *top).count(),
        learner: request.learner.name().to_owned(),
        recall: request.recall,
        bound: cuts.last().map_or(1.0, |cut| cut.bound),
        stages: (0..stages.len()).map(of_stage).collect(),
        last: LastReport { rows: last.round() as u64, ..LastReport::default() },
        cost: spent.passes(rows, labelled, entering.clone()),
        time: spent.time(rows, labelled, entering),
        seconds: spent.seconds(),
        done: false,
        notes: learned.notes(),
    }
}
