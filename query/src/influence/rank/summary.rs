//! What every answer says of how it was found.

use super::shortlist::MANY;
use crate::influence::plan::InfluencePlan;
use crate::influence::prepare::Ready;
use crate::influence::result::{PlaneSummary, ScanSummary};
use crate::influence::scan::Totals;
use crate::influence::spec::mode::{Mode, Plane, SketchMode};

/// What exact scans promise: the answer is that of comparing every eligible row with every target row, from the stored values. Rows that are shown
/// to be out of the running by the lengths of their vectors need not be read for it.
pub const EXACT: &str = "exact";

impl InfluencePlan {
    /// Of an exact scan.
    pub(super) fn summary(&self, ready: &Ready, totals: &Totals) -> ScanSummary {
        ScanSummary {
            live: self.live(),
            in_target: ready.in_target,
            scanned: totals.scanned,
            eligible: totals.eligible,
            excluded: totals.excluded,
            whole_rows: totals.whole_rows,
            bytes_read: totals.bytes_read,
            target_rows: ready.target.rows.len() as u64,
            target_excluded: ready.target.excluded,
            guarantee: EXACT.to_owned(),
            planes: Vec::new(),
            rows_scored: totals.scored,
            notes: Vec::new(),
        }
    }

    /// The note that every row was scored, where the question asked for a sketch.
    pub(super) fn every_row(&self, why: &str) -> Option<String> {
        (self.spec().mode != Mode::Exact).then(|| format!("every row was scored: {why}"))
    }

    /// Of what is always found by scoring every row.
    pub(super) fn summary_of_scan(&self, ready: &Ready, totals: &Totals) -> ScanSummary {
        let notes = self.every_row("only a plain ranking can be found by a sketch").into_iter().collect();
        ScanSummary { notes, ..self.summary(ready, totals) }
    }

    /// What a scan for several rankings, or for many values, did, or the codes that took its place.
    pub(super) fn summary_of_lists(
        &self,
        ready: &Ready,
        totals: &Totals,
        planes: Vec<PlaneSummary>,
    ) -> ScanSummary {
        let summary = self.summary(ready, totals);
        match &self.spec().mode {
            Mode::Sketch(mode) if !planes.is_empty() => {
                let probable = planes.iter().any(|plane| plane.plane != Plane::Certified);
                // What the tolerance would allow is made no use of.
                let kept = SketchMode { tolerance: 0.0, ..mode.clone() };
                ScanSummary { guarantee: kept.guarantee(probable), planes, ..summary }
            }
            Mode::Exact => summary,
            Mode::Sketch(_) => {
                let why = match self.sides(ready) {
                    Err(why) => why.to_owned(),
                    Ok(_) => {
                        format!(
                            "they pay from {MANY} target vectors on, where few rows are wanted and few may rank"
                        )
                    }
                };
                let notes =
                    vec![format!("the result is exact, as codes of the sketch left no row out: {why}")];
                ScanSummary { notes, ..summary }
            }
        }
    }
}
