//! Observers and outcomes of the jobs of an ensemble.

use std::ops::ControlFlow;
use std::path::PathBuf;

use serde::Serialize;

use super::member::MemberOutcome;

/// Hears how an ensemble goes on.
pub trait EnsembleObserver {
    /// Something the user should know, which is no error.
    fn note(&mut self, _message: &str) {}
    /// Models begin; `done` of `total` were there before, and `at_once` are trained at the same time.
    fn begin(&mut self, _done: u64, _total: u64, _at_once: usize) {}
    /// A model is complete or refused.
    fn trained(&mut self, _trained: &MemberOutcome) {}
}

/// What is done with models once they are trained or refused; it may end the job.
pub(super) type ModelsCallback<'a, E> = &'a mut dyn FnMut(&[MemberOutcome]) -> Result<ControlFlow<()>, E>;

/// How the job ended.
#[derive(Debug, Clone, PartialEq)]
pub struct EnsembleOutcome {
    /// Whether all models were looked at that were asked for, or the caller has enough; otherwise it was told
    /// to stop, and the same request goes on.
    pub finished: bool,
    /// Models by number, those that were there before among them; after a stop all of those asked for that
    /// are there, also of a round that came to no end.
    pub models: Vec<MemberOutcome>,
    /// Identity of the weights that all started from.
    pub start: String,
    /// Rows that models are drawn from.
    pub rows: usize,
    /// Steps of a model.
    pub steps: u64,
}

/// The file of hidden states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreparedStates {
    /// Where it is.
    pub file: PathBuf,
    /// Texts.
    pub rows: usize,
    /// Their scored tokens.
    pub tokens: u64,
    /// Its bytes.
    pub bytes: u64,
}
