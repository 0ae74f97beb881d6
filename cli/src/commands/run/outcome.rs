//! Endings of the stages of a run.

use crate::pipeline::{Plan, PlannedStage};

/// Why a stage was not done that others need. The worse one comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockCause {
    /// It failed, or needs one that did.
    Failed,
    /// It was refused with its numbers, or reads what one would have written that was.
    Refused,
}

/// How a stage stands at the end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StageOutcome {
    /// It was not looked at.
    Left,
    /// Nothing had to be done.
    UpToDate,
    /// It ran and ended well.
    Done,
    /// It failed, and how.
    Failed(String),
    /// It failed, since others changed what it would go on from: how to put that right.
    Changed(String),
    /// It was told to stop.
    Stopped,
    /// It was refused with its numbers, since it would save nothing.
    Refused(String),
    /// It needs a stage that was not done: why not, and which.
    Blocked(BlockCause, String),
}

impl StageOutcome {
    /// Whether it ran and ended well.
    pub fn is_done(&self) -> bool {
        *self == Self::Done
    }

    /// Whether it failed, in whatever way.
    pub fn has_failed(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Changed(_))
    }

    /// Why it was not done, unless it was not asked for or was stopped.
    pub fn cause(&self) -> Option<BlockCause> {
        match self {
            Self::Failed(_) | Self::Changed(_) => Some(BlockCause::Failed),
            Self::Refused(_) => Some(BlockCause::Refused),
            Self::Blocked(cause, _) => Some(*cause),
            Self::Left | Self::UpToDate | Self::Done | Self::Stopped => None,
        }
    }

    /// The outcome of the stage at `place` if it cannot run for one that it needs; of several for the worst,
    /// and of those for the first.
    pub fn blocked(outcomes: &[Self], plan: &Plan, place: usize) -> Option<Self> {
        let stage = &plan.stages[place];
        let by = |need: &usize| {
            let cause = outcomes[*need].blocks((*need, &plan.stages[*need]), stage)?;
            Some((cause, *need))
        };
        let (cause, need) = stage.needs.iter().filter_map(by).min()?;
        Some(Self::Blocked(cause, plan.stages[need].name().to_owned()))
    }

    /// Why a stage that comes after the one at `place` cannot run: that one failed or needs one that did, or
    /// it was refused and makes what the stage reads. A stage that only writes what a refused one would have
    /// written as well is not held up.
    fn blocks(&self, (place, ended): (usize, &PlannedStage), stage: &PlannedStage) -> Option<BlockCause> {
        let is_read = || {
            let reads = |written: &_| stage.reads.iter().any(|read| read.overlaps(written));
            stage.after.contains(&place) || ended.writes.iter().any(reads)
        };
        self.cause().filter(|cause| *cause == BlockCause::Failed || is_read())
    }
}

impl std::fmt::Display for StageOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Left => f.write_str("not looked at"),
            Self::UpToDate => f.write_str("up to date"),
            Self::Done => f.write_str("done"),
            Self::Failed(why) | Self::Changed(why) => write!(f, "failed: {why}"),
            Self::Stopped => f.write_str("stopped"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Blocked(_, stage) => write!(f, "not run, since it needs {stage}"),
        }
    }
}
