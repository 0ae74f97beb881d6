//! Endings of the stages of a run.

use crate::pipeline::PlannedStage;

/// How a stage stands at the end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was not looked at.
    Left,
    /// Nothing had to be done.
    UpToDate,
    /// It ran and ended well.
    Done,
    /// It failed, and how.
    Failed(String),
    /// It was told to stop.
    Stopped,
    /// It was refused with its numbers, since it would save nothing.
    Refused(String),
    /// It needs a stage that was not done.
    Blocked(String),
}

impl Outcome {
    /// Whether it ran and ended well.
    pub fn is_done(&self) -> bool {
        *self == Self::Done
    }

    /// Whether a stage that comes after the one at `place` cannot run: that one failed, or it was not done and makes
    /// what the stage reads. A stage that only writes what a refused one would have written as well is not held up.
    pub fn blocks(&self, (place, ended): (usize, &PlannedStage), stage: &PlannedStage) -> bool {
        let is_read = || {
            let reads = |written: &_| stage.reads.iter().any(|read| read.overlaps(written));
            stage.after.contains(&place) || ended.writes.iter().any(reads)
        };
        match self {
            Self::Failed(_) => true,
            Self::Refused(_) | Self::Blocked(_) => is_read(),
            Self::Left | Self::UpToDate | Self::Done | Self::Stopped => false,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Left => f.write_str("not looked at"),
            Self::UpToDate => f.write_str("up to date"),
            Self::Done => f.write_str("done"),
            Self::Failed(why) => write!(f, "failed: {why}"),
            Self::Stopped => f.write_str("stopped"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Blocked(stage) => write!(f, "not run, since it needs {stage}"),
        }
    }
}
