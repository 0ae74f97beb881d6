//! Results: scored rows, excluded rows with reasons, and the guarantee of the answer.

use serde::{Deserialize, Serialize};

use crate::influence::spec::mode::Plane;

/// `Scored::subtask` where no subtask can be named.
pub const NO_SUBTASK: u32 = u32::MAX;

/// One row, or one token of it, and its score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scored {
    /// Index into the pools of the plan.
    pub pool: u32,
    /// Row of that dataset.
    pub row: u64,
    /// Where tokens are scored, the position of this one in its sample.
    pub pos: Option<u32>,
    /// Finite.
    pub score: f32,
    /// Index into the plan's subtasks: the one that decided (`max`: the largest value, `min`: the smallest),
    /// or contributed most (`mean`, `sum`: the largest value). Between equal ones the first.
    pub subtask: u32,
}

/// Why a row has no score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No token of the sample is scored at one of the checkpoints used, so it has no gradient of its own.
    NoScored,
    /// The vector of one of the checkpoints used was not finite.
    NonFinite,
    /// A checkpoint used has no vector for the row (`missing` says what happens), or none of them has; or the
    /// row lacks the losses of all models, or of too many.
    Missing,
    /// The vectors are finite and the score is not.
    Overflow,
    /// The losses of the row do not vary over the models, so that they correlate with nothing.
    Constant,
}

impl Reason {
    /// The word shown to users.
    pub fn word(self) -> &'static str {
        ["no_scored", "non_finite", "missing", "overflow", "constant"][self as usize]
    }
}

/// A row, or a token of it, without a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ExcludedRow {
    /// Index into the pools of the plan.
    pub pool: u32,
    /// Row of that dataset.
    pub row: u64,
    /// Where tokens are scored, the position of this one in its sample; `None` where none of the
    /// sample's tokens has a vector.
    pub pos: Option<u32>,
    /// The first reason that applies, in the order of [`Reason`].
    pub reason: Reason,
}

/// How many rows have no score, by reason; tokens where those are scored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExcludedCounts {
    /// See [`Reason::NoScored`].
    pub no_scored: u64,
    /// See [`Reason::NonFinite`].
    pub non_finite: u64,
    /// See [`Reason::Missing`].
    pub missing: u64,
    /// See [`Reason::Overflow`].
    pub overflow: u64,
    /// See [`Reason::Constant`].
    #[serde(default)]
    pub constant: u64,
}

impl ExcludedCounts {
    /// All excluded rows.
    pub fn total(&self) -> u64 {
        self.no_scored + self.non_finite + self.missing + self.overflow + self.constant
    }

    /// Counts one row.
    pub fn add(&mut self, reason: Reason) {
        match reason {
            Reason::NoScored => self.no_scored += 1,
            Reason::NonFinite => self.non_finite += 1,
            Reason::Missing => self.missing += 1,
            Reason::Overflow => self.overflow += 1,
            Reason::Constant => self.constant += 1,
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.no_scored += other.no_scored;
        self.non_finite += other.non_finite;
        self.missing += other.missing;
        self.overflow += other.overflow;
        self.constant += other.constant;
    }
}

/// What exact scans promise: the answer is that of comparing every eligible row with every target row, from
/// the stored values. Rows that are shown to be out of the running by the lengths of their vectors need not
/// be read for it.
pub const EXACT: &str = "exact";

/// What a scan did. Where tokens are scored, `scanned`, `eligible` and `excluded` count those; a sample that
/// has none counts once, and in `whole_rows`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanSummary {
    /// Live rows of the pools, whatever the filter says: what a percentage is taken of.
    pub live: u64,
    /// Live rows that were left out because they occur in the target, whatever the filter says.
    pub in_target: u64,
    /// Rows, or tokens of rows, that the filter let through.
    pub scanned: u64,
    /// Those that got a score.
    pub eligible: u64,
    /// Those that did not.
    pub excluded: ExcludedCounts,
    /// Where tokens are scored, those among the excluded that are samples without a scored
    /// token or without a vector.
    pub whole_rows: u64,
    /// Bytes of feature blocks read; where a sketch was used, those of its planes and of the
    /// rows that were scored.
    pub bytes_read: u64,
    /// Target rows that were compared.
    pub target_rows: u64,
    /// Target rows that were left out (no scored token, not finite, or lacking a checkpoint).
    pub target_excluded: ExcludedCounts,
    /// What the answer guarantees: `exact`, or what a sketch leaves open.
    pub guarantee: String,
    /// The planes of a sketch that were read, in order; none where every row was scored.
    pub planes: Vec<PlaneSummary>,
    /// Rows that were scored from their full vectors.
    pub rows_scored: u64,
    /// What a user should know of how the answer was found, as why a sketch was not used.
    pub notes: Vec<String>,
    /// What was not in memory and was read ahead; nothing of it in notes of earlier versions.
    #[serde(default)]
    pub disk: DiskSummary,
}

impl ScanSummary {
    /// Adds a pass over the same rows for other target samples to those before it. What is read adds up. Rows
    /// with and without a score are those of the pass in which most have one. Notes count them, so they are
    /// of passes with as many, and of one that promises less, which they explain.
    pub fn add_pass(passes: &mut Option<Self>, pass: Self) {
        match passes {
            Some(all) => all.merge(pass),
            None => *passes = Some(pass),
        }
    }

    fn merge(&mut self, mut pass: Self) {
        if pass.eligible > self.eligible {
            std::mem::swap(self, &mut pass);
        }
        self.bytes_read += pass.bytes_read;
        self.target_rows += pass.target_rows;
        self.rows_scored += pass.rows_scored;
        self.disk.merge(&pass.disk);
        for plane in pass.planes {
            match self.planes.iter_mut().find(|own| own.plane == plane.plane) {
                Some(own) => {
                    own.rows += plane.rows;
                    own.excluded += plane.excluded;
                    own.bytes_read += plane.bytes_read;
                }
                None => self.planes.push(plane),
            }
        }
        // What the weakest pass promises.
        let is_weaker = pass.guarantee != EXACT;
        if is_weaker {
            self.guarantee = pass.guarantee;
        }
        if is_weaker || pass.eligible == self.eligible {
            self.notes.extend(pass.notes);
            self.notes.sort_unstable();
            self.notes.dedup();
        }
    }
}

/// What was read ahead from disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSummary {
    /// Bytes that were read past the system's memory.
    pub direct: u64,
    /// Bytes that were read through it.
    pub ordinary: u64,
    /// Milliseconds of the stages that read them, with what was computed meanwhile.
    pub milliseconds: u64,
}

impl DiskSummary {
    /// Of both ways.
    pub fn bytes(&self) -> u64 {
        self.direct + self.ordinary
    }

    /// Takes over what another pass has read.
    pub fn merge(&mut self, other: &Self) {
        self.direct += other.direct;
        self.ordinary += other.ordinary;
        self.milliseconds += other.milliseconds;
    }
}

/// What one plane of a sketch did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaneSummary {
    /// The plane.
    pub plane: Plane,
    /// Rows whose codes were read.
    pub rows: u64,
    /// Rows that need not be looked at any further.
    pub excluded: u64,
    /// Bytes of codes and of what belongs to them.
    pub bytes_read: u64,
}

/// The best or worst rows of a question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ranking {
    /// min(k, eligible) rows, in order.
    pub rows: Vec<Scored>,
    /// Names of the subtasks; `Scored::subtask` points here.
    pub subtasks: Vec<String>,
    /// Everything about the scan.
    pub summary: ScanSummary,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(eligible: u64, guarantee: &str, notes: &[&str]) -> ScanSummary {
        ScanSummary {
            scanned: 10,
            eligible,
            excluded: ExcludedCounts { missing: 10 - eligible, ..ExcludedCounts::default() },
            bytes_read: 5,
            target_rows: 1,
            guarantee: guarantee.to_owned(),
            notes: notes.iter().map(|note| (*note).to_owned()).collect(),
            ..ScanSummary::default()
        }
    }

    #[test]
    fn rows_of_several_passes_are_counted_once() {
        let mut passes = None;
        for (eligible, guarantee, notes) in
            [(4, EXACT, ["6 left out"]), (7, EXACT, ["3 left out"]), (5, "to 1e-3", ["by a sketch"])]
        {
            ScanSummary::add_pass(&mut passes, pass(eligible, guarantee, &notes));
        }
        let all = passes.expect("three passes");
        assert_eq!((all.scanned, all.eligible, all.excluded.missing), (10, 7, 3));
        assert_eq!((all.bytes_read, all.target_rows, &all.guarantee[..]), (15, 3, "to 1e-3"));
        assert_eq!(all.notes, ["3 left out", "by a sketch"]);

        let mut passes = None;
        for notes in [["of the first", "of both"], ["of both", "of the second"]] {
            ScanSummary::add_pass(&mut passes, pass(7, EXACT, &notes));
        }
        assert_eq!(passes.expect("two passes").notes, ["of both", "of the first", "of the second"]);
    }
}
