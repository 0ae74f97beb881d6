//! Bytes of the folders of checkpoints, before any is written: about, and not less than there will be.

use super::config::copied_bytes;
use crate::request::{TrainMethod, TrainRequest};

/// Bytes of an entry of the log at most, of which each checkpoint has those of all steps before it.
const OF_LOG: u64 = 200;

/// Bytes of a loss of held-out samples in it.
const OF_EVALUATION: u64 = 130;

/// Bytes of a loss that waits for the next entry.
const OF_LOSS: u64 = 32;

/// Bytes that files have for a tensor next to its values: names, shapes, and files of the archive of the
/// optimizer's state.
const OF_TENSOR: u64 = 1536;

/// Bytes of what else is in a folder: the scheduler, our own state, and the configuration of an adapter.
const OF_FOLDER: u64 = 8 << 10;

/// Bytes of the curves that a front end draws.
const OF_CURVES: u64 = 64 << 10;

/// Checkpoints that are there at once: the newest `count` of those after each `every` steps and after the
/// last.
pub(crate) struct CheckpointsAtOnce {
    pub count: u64,
    pub every: u64,
    /// Steps in all.
    pub total: u64,
    /// Steps of an epoch.
    pub per_epoch: u64,
}

impl CheckpointsAtOnce {
    /// Bytes of their folders and of the curves, where so many values of so many tensors are trained.
    pub fn bytes(&self, request: &TrainRequest, (values, tensors): (u64, u64)) -> u64 {
        let log_every = request.saving.log_every.max(1);
        let evaluation = request.evaluation.as_ref();
        let evaluate_every = evaluation.map(|asked| asked.every.unwrap_or(self.per_epoch).max(1));
        let of_log = |step: u64| {
            let evaluations = evaluate_every.map_or(0, |every| step / every + 1);
            OF_LOG * (step / log_every + 1) + OF_EVALUATION * evaluations + OF_LOSS * (step % log_every)
        };
        let copied = match request.method {
            TrainMethod::Full | TrainMethod::FromScratch => copied_bytes(&request.model, request.tokenizer()),
            TrainMethod::Lora(_) | TrainMethod::Adapter(_) => 0,
        };
        let of_values = values.saturating_mul(4 + request.steps.optimizer.bytes_of_value());
        let of_each = of_values.saturating_add(OF_TENSOR * tensors + OF_FOLDER + copied);
        let last = self.total.div_ceil(self.every);
        let steps = (0..self.count).map(|back| last.saturating_sub(back).saturating_mul(self.every));
        steps
            .map(|step| step.min(self.total))
            .fold(OF_CURVES, |sum, step| sum.saturating_add(of_each).saturating_add(of_log(step)))
    }
}
