//! Endings of the stages of a run.

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
    /// It needs a stage that failed.
    Blocked(String),
}

impl Outcome {
    /// Whether it ran and ended well.
    pub fn is_done(&self) -> bool {
        *self == Self::Done
    }

    /// How it failed.
    pub fn why(&self) -> &str {
        match self {
            Self::Failed(why) => why,
            _ => "",
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
            Self::Blocked(stage) => write!(f, "not run, since it needs {stage}"),
        }
    }
}
