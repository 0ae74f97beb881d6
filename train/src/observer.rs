//! Observers of a training.

use crate::checkpoint::{Checkpoint, EvaluationLoss};
use crate::trainer::StepReport;

/// Hears how a training goes on.
pub trait TrainObserver {
    /// Something the user should know, which is no error.
    fn note(&mut self, _message: &str) {}
    /// Steps begin; `taken` of `total` were taken before.
    fn begin(&mut self, _taken: u64, _total: u64) {}
    /// A step was taken, counted from 1.
    fn step(&mut self, _step: u64, _report: &StepReport) {}
    /// The loss of the samples that no step is taken on was computed.
    fn evaluated(&mut self, _evaluated: &EvaluationLoss) {}
    /// A checkpoint was written.
    fn saved(&mut self, _checkpoint: &Checkpoint) {}
}

/// Says nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct SilentObserver;

impl TrainObserver for SilentObserver {}
