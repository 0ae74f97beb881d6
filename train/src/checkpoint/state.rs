//! The state dicts of optimizer and scheduler, the trainer's log, and our own state.

use std::collections::BTreeMap;

use gstore_core::{CheckpointId, Digest};
use gstore_model::weights::{SavedValue, TrainedTensor, WeightDecay};
use serde_json::{Value, json};

use super::{EvaluationLoss, LogLine};
use crate::optimizer::{Optimizer, OptimizerKind, TensorState};
use crate::schedule::Schedule;

/// State of a training other than its parameters and optimizer.
#[derive(Debug, Clone)]
pub(crate) struct TrainingState {
    /// Steps taken.
    pub step: u64,
    /// Epochs done.
    pub epoch: f64,
    /// Epochs in all.
    pub epochs: f64,
    /// Samples of a micro-batch.
    pub micro: usize,
    /// Steps between two checkpoints; none: an epoch.
    pub save_every: Option<u64>,
    /// Steps between two entries of the log.
    pub log_every: u64,
    pub log: Vec<LogLine>,
    /// Losses of the samples that no step is taken on.
    pub evaluations: Vec<EvaluationLoss>,
    /// The rates.
    pub schedule: Schedule,
    /// Mean rate of the steps of the epoch so far.
    pub mean_rate: Option<f64>,
    /// Losses since the last entry of the log.
    pub pending: Vec<f64>,
    /// What was asked for.
    pub identity: Value,
    /// The model that was begun with; none where weights were drawn.
    pub base: Option<CheckpointId>,
    /// Whether it only keeps what was done when the training was told to stop.
    pub interim: bool,
}

/// Indices of the trained tensors in the order in which `optimizer.pt` numbers them: those that decay, then
/// the others.
fn parameter_groups(trained: &[TrainedTensor]) -> [Vec<usize>; 2] {
    let (decayed, others) = (0..trained.len()).partition(|i| trained[*i].decay == WeightDecay::Yes);
    [decayed, others]
}

/// The state dict of the optimizer. `stored` are the states of each tensor in the order of files, `step` the
/// number of steps as a tensor.
pub(super) fn optimizer<'a>(
    optimizer: &Optimizer,
    trained: &[TrainedTensor],
    stored: &'a [[std::borrow::Cow<'a, [f32]>; 2]],
    step: &'a [f32],
    schedule: &Schedule,
) -> SavedValue<'a> {
    let groups = parameter_groups(trained);
    let order: Vec<usize> = groups.iter().flatten().copied().collect();
    let mut state = Vec::new();
    for (number, tensor) in order.iter().enumerate() {
        let shape = trained[*tensor].stored_shape();
        let [first, second] = &stored[*tensor];
        let entry = match optimizer.kind() {
            OptimizerKind::AdamW(_) => SavedValue::dict([
                ("step", SavedValue::Tensor(Vec::new(), step)),
                ("exp_avg", SavedValue::Tensor(shape.clone(), first)),
                ("exp_avg_sq", SavedValue::Tensor(shape, second)),
            ]),
            OptimizerKind::Sgd(sgd) if sgd.momentum == 0.0 => continue,
            OptimizerKind::Sgd(_) => {
                SavedValue::dict([("momentum_buffer", SavedValue::Tensor(shape, first))])
            }
        };
        state.push((SavedValue::Int(number as i64), entry));
    }
    let sizes = groups.map(|group| group.len());
    let mut first = 0;
    let described = sizes.iter().zip([true, false]).map(|(size, decays)| {
        let numbers = first..first + size;
        first += size;
        group(optimizer, schedule, numbers, decays)
    });
    let described = described.collect();
    SavedValue::dict([("state", SavedValue::Dict(state)), ("param_groups", SavedValue::List(described))])
}

/// One parameter group, with the keys of torch.
fn group(
    optimizer: &Optimizer,
    schedule: &Schedule,
    numbers: std::ops::Range<usize>,
    decays: bool,
) -> SavedValue<'static> {
    let decay = |value: f64| SavedValue::Float(if decays { value } else { 0.0 });
    let rate = SavedValue::Float(schedule.rate(optimizer.steps()));
    let mut entries = match optimizer.kind() {
        OptimizerKind::AdamW(adamw) => vec![
            ("weight_decay", decay(adamw.weight_decay)),
            ("lr", rate),
            (
                "betas",
                SavedValue::Pair(Box::new([SavedValue::Float(adamw.beta1), SavedValue::Float(adamw.beta2)])),
            ),
            ("eps", SavedValue::Float(adamw.eps)),
            ("amsgrad", SavedValue::Bool(false)),
            ("maximize", SavedValue::Bool(false)),
            ("foreach", SavedValue::None),
            ("capturable", SavedValue::Bool(false)),
            ("differentiable", SavedValue::Bool(false)),
            ("fused", SavedValue::None),
            ("decoupled_weight_decay", SavedValue::Bool(true)),
        ],
        OptimizerKind::Sgd(sgd) => vec![
            ("weight_decay", decay(sgd.weight_decay)),
            ("lr", rate),
            ("momentum", SavedValue::Float(sgd.momentum)),
            ("dampening", SavedValue::Int(0)),
            ("nesterov", SavedValue::Bool(false)),
            ("maximize", SavedValue::Bool(false)),
            ("foreach", SavedValue::None),
            ("differentiable", SavedValue::Bool(false)),
            ("fused", SavedValue::None),
        ],
    };
    entries.push(("initial_lr", SavedValue::Float(schedule.peak)));
    entries.push(("params", SavedValue::List(numbers.map(|n| SavedValue::Int(n as i64)).collect())));
    SavedValue::dict(entries)
}

pub(super) fn states_in_file_order<'a>(
    optimizer: &'a Optimizer,
    trained: &[TrainedTensor],
) -> Vec<[std::borrow::Cow<'a, [f32]>; 2]> {
    let states = optimizer.state().iter().zip(trained);
    states.map(|(TensorState { first, second }, t)| [t.stored(first), t.stored(second)]).collect()
}

/// The state dict of torch's `LambdaLR`.
pub(super) fn scheduler(schedule: &Schedule, step: u64) -> SavedValue<'static> {
    let both = |value: f64| SavedValue::List(vec![SavedValue::Float(value), SavedValue::Float(value)]);
    SavedValue::dict([
        ("base_lrs", both(schedule.peak)),
        ("last_epoch", SavedValue::Int(step as i64)),
        ("_step_count", SavedValue::Int(step as i64 + 1)),
        ("_is_initial", SavedValue::Bool(false)),
        ("_get_lr_called_within_step", SavedValue::Bool(false)),
        ("_last_lr", both(schedule.rate(step))),
        ("lr_lambdas", SavedValue::List(vec![SavedValue::Dict(Vec::new()), SavedValue::Dict(Vec::new())])),
    ])
}

impl TrainingState {
    /// `trainer_state.json`
    pub(super) fn trainer_state(&self) -> Value {
        let line = |line: &LogLine| {
            json!({
                "epoch": line.epoch,
                "grad_norm": line.grad_norm,
                "learning_rate": line.learning_rate,
                "loss": line.loss,
                "step": line.step,
            })
        };
        let evaluated =
            |line: &EvaluationLoss| json!({ "epoch": line.epoch, "eval_loss": line.loss, "step": line.step });
        let mut history: Vec<Value> = self.log.iter().map(line).collect();
        history.extend(self.evaluations.iter().map(evaluated));
        // Stable: the loss of a step stands before its evaluation.
        history.sort_by_key(|entry| entry["step"].as_u64());
        let ends = self.step >= self.schedule.total;
        json!({
            "best_global_step": null,
            "best_metric": null,
            "best_model_checkpoint": null,
            "epoch": self.epoch,
            "eval_steps": 500,
            "global_step": self.step,
            "is_hyper_param_search": false,
            "is_local_process_zero": true,
            "is_world_process_zero": true,
            "log_history": history,
            "logging_steps": self.log_every,
            "max_steps": self.schedule.total,
            "num_input_tokens_seen": 0,
            "num_train_epochs": self.epochs.ceil() as u64,
            "save_steps": self.save_every.unwrap_or(500),
            "stateful_callbacks": {
                "TrainerControl": {
                    "args": {
                        "should_epoch_stop": false,
                        "should_evaluate": false,
                        "should_log": false,
                        "should_save": true,
                        "should_training_stop": ends,
                    },
                    "attributes": {},
                },
            },
            "total_flos": 0.0,
            "train_batch_size": self.micro,
            "trial_name": null,
            "trial_params": null,
        })
    }

    /// `gstore_state.json`, with the digests of files next to it.
    pub(super) fn gstore_state(&self, files: &BTreeMap<&'static str, Digest>) -> Value {
        json!({
            "version": 1,
            "step": self.step,
            "interim": self.interim,
            "losses_to_log": self.pending,
            "mean_learning_rate": self.mean_rate,
            "asked": self.identity,
            "base": self.base,
            "files": files,
        })
    }
}
