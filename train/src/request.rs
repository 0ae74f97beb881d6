//! Training requests, as plain values.

use std::path::{Path, PathBuf};

use gstore_core::parallel::each;
use gstore_core::{Remedy, written_number};
use gstore_data::{SampleSource, TextOptions};
use gstore_model::{ComputePrecision, Device, MultiDevice, SavedActivations, gpu_names};
use serde_json::{Value, json};

use crate::data::DataSubset;
use crate::dropout::DropoutRates;
use crate::error::TrainError;
use crate::lora::LoraChoice;
use crate::optimizer::OptimizerKind;
use crate::order::SampleOrder;
use crate::schedule::{POLYNOMIAL_END, Schedule, ScheduleKind};

/// One training.
#[derive(Clone)]
pub struct TrainRequest {
    /// Folder of the model that it starts from; of a training from scratch its `config.json` and tokenizer
    /// are used.
    pub model: PathBuf,
    /// Where checkpoints go.
    pub output: PathBuf,
    /// What is trained.
    pub method: TrainMethod,
    /// What it is trained on.
    pub data: SampleSource,
    /// Which of that.
    pub subset: DataSubset,
    /// How samples become tokens and steps.
    pub batching: BatchOptions,
    /// What a step does.
    pub steps: StepOptions,
    /// What the loss is watched on; none: nothing.
    pub evaluation: Option<EvaluationOptions>,
    /// Which checkpoints are written.
    pub saving: SavingOptions,
    /// What computes, and how.
    pub compute: ComputeOptions,
}

/// Samples that no step is taken on, and when their loss is computed.
#[derive(Clone)]
pub struct EvaluationOptions {
    /// The samples, encoded as those that are trained on.
    pub data: SampleSource,
    /// After so many steps, and after the last; none: after each epoch.
    pub every: Option<u64>,
}

/// What is trained.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainMethod {
    /// New LoRA factors.
    Lora(LoraChoice),
    /// The factors of a PEFT folder, with a new optimizer.
    Adapter(PathBuf),
    /// All tensors.
    Full,
    /// All tensors, from random values.
    FromScratch,
}

impl TrainMethod {
    /// The folder of the factors that are gone on from.
    pub(crate) fn adapter(&self) -> Option<&PathBuf> {
        if let TrainMethod::Adapter(folder) = self { Some(folder) } else { None }
    }
}

/// How samples become tokens and steps.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchOptions {
    /// How records become tokens.
    pub text: TextOptions,
    /// Samples of a micro-batch; with packing sequences.
    pub micro: usize,
    /// Micro-batches of a step.
    pub accumulate: usize,
    /// Passes over the data.
    pub epochs: f64,
    /// Steps, in place of epochs.
    pub max_steps: Option<u64>,
    /// Seed of the order, and of new values.
    pub seed: u64,
    /// Whether each epoch has its own order.
    pub shuffle: bool,
    /// Whether samples are put together into sequences of about the maximum length, which are what a
    /// micro-batch counts.
    pub packing: bool,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub struct StepOptions {
    /// The optimizer.
    pub optimizer: OptimizerKind,
    /// The highest rate.
    pub learning_rate: f64,
    /// Form of the schedule.
    pub schedule: ScheduleKind,
    /// Steps of the warm-up; none: a share.
    pub warmup_steps: Option<u64>,
    /// The warm-up's share of all steps.
    pub warmup_ratio: f64,
    /// Norm that gradients are clipped to; none: they are not.
    pub max_grad_norm: Option<f64>,
    /// How losses become one.
    pub mean: LossMean,
    /// Shares of values that are dropped.
    pub dropout: DropoutRates,
}

/// How the losses of a step's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LossMean {
    /// Their mean over all scored tokens of the step, as today's transformers has it.
    #[default]
    Tokens,
    /// The mean of the micro-batches' means, as transformers had it before version 4.46.
    MicroBatches,
}

/// Which checkpoints are written, and what is logged.
#[derive(Debug, Clone, PartialEq)]
pub struct SavingOptions {
    /// After so many steps; none: after each epoch. The last step always has one.
    pub every: Option<u64>,
    /// Only the newest so many are kept; none: all.
    pub limit: Option<usize>,
    /// Steps between two entries of the log.
    pub log_every: u64,
    /// Whether another training in the output folder is removed.
    pub overwrite: bool,
    /// A checkpoint of any trainer to go on from.
    pub resume_from: Option<PathBuf>,
}

/// What computes, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ComputeOptions {
    /// The backend.
    pub device: Device,
    /// More devices of the same sort, each with the model in its memory: they share the pieces of a step with
    /// the first, or the models of an ensemble, and change no bit.
    pub beside: Vec<Device>,
    /// Precision of the factors of matrix products; weights are f32 always.
    pub precision: ComputePrecision,
    /// Threads, which are divided among the devices: at least one for each. They change no bit.
    pub threads: usize,
    /// Tokens that a thread computes at a time, about.
    pub piece_tokens: usize,
    /// What layers keep for their backward; changes no bit.
    pub keep: SavedActivations,
    /// Bytes of memory to stay below where that is possible without changing a bit: layers are computed twice
    /// then, and fewer threads run. A text that takes more to become tokens is refused.
    pub max_memory: Option<u64>,
}

impl ComputeOptions {
    /// Tokens of a piece unless others are asked for.
    pub const PIECE_TOKENS: usize = 1024;

    /// How many devices compute.
    pub fn devices(&self) -> usize {
        1 + self.beside.len()
    }

    /// An error unless the devices compute in the precision, and all of them the same bits.
    pub(crate) fn check(&self) -> Result<(), TrainError> {
        self.device.check(self.precision)?;
        Ok(self.device.check_beside(&self.beside, || gpu_names!())?)
    }

    /// The backends of the devices other than the `first`.
    pub(crate) fn others<B: MultiDevice>(&self, first: &B) -> Result<Vec<B>, TrainError> {
        self.check()?;
        Ok(each(&self.beside, |device| first.beside(device.number()))?)
    }
}

impl Default for BatchOptions {
    fn default() -> Self {
        BatchOptions {
            text: TextOptions::default(),
            micro: 8,
            accumulate: 1,
            epochs: 3.0,
            max_steps: None,
            seed: 42,
            shuffle: true,
            packing: false,
        }
    }
}

impl Default for StepOptions {
    fn default() -> Self {
        StepOptions {
            optimizer: OptimizerKind::AdamW(crate::optimizer::AdamW::default()),
            learning_rate: 5e-5,
            schedule: ScheduleKind::Linear,
            warmup_steps: None,
            warmup_ratio: 0.0,
            max_grad_norm: Some(1.0),
            mean: LossMean::Tokens,
            dropout: DropoutRates::default(),
        }
    }
}

impl Default for SavingOptions {
    fn default() -> Self {
        SavingOptions { every: None, limit: None, log_every: 1, overwrite: false, resume_from: None }
    }
}

impl Default for ComputeOptions {
    fn default() -> Self {
        ComputeOptions {
            device: Device::Cpu,
            beside: Vec::new(),
            precision: ComputePrecision::F32,
            threads: 1,
            piece_tokens: Self::PIECE_TOKENS,
            keep: SavedActivations::All,
            max_memory: None,
        }
    }
}

impl TrainRequest {
    /// A training with everything as the command line has it by default.
    pub fn new(
        model: impl Into<PathBuf>,
        output: impl Into<PathBuf>,
        method: TrainMethod,
        data: SampleSource,
    ) -> Self {
        TrainRequest {
            model: model.into(),
            output: output.into(),
            method,
            data,
            subset: DataSubset::default(),
            batching: BatchOptions::default(),
            steps: StepOptions::default(),
            evaluation: None,
            saving: SavingOptions::default(),
            compute: ComputeOptions::default(),
        }
    }

    /// Folder of the tokenizer.
    pub(crate) fn tokenizer(&self) -> &Path {
        self.batching.text.tokenizer.as_deref().unwrap_or(&self.model)
    }

    pub(crate) fn plan(&self) -> SampleOrder {
        match self.batching.shuffle {
            true => SampleOrder::Shuffled { seed: self.batching.seed },
            false => SampleOrder::InOrder,
        }
    }

    /// The rates over `total` steps.
    pub(crate) fn schedule(&self, total: u64) -> Schedule {
        let StepOptions { schedule: kind, learning_rate: peak, warmup_steps, warmup_ratio, .. } = self.steps;
        let warmup = warmup_steps.unwrap_or_else(|| Schedule::warmup_of_ratio(warmup_ratio, total));
        Schedule { kind, peak, warmup, total }
    }

    /// An error unless the numbers can be used.
    pub(crate) fn check(&self) -> Result<(), TrainError> {
        const SHARE: &str = "a number of at least 0 and below 1";
        const SIZE: &str = "a finite number of at least 0";
        let refuse = |what: &str, value: f64, expected: &str| {
            let value = written_number(value);
            Err(TrainError::Option(format!("{what} of {value} cannot be used: expected {expected}")))
        };
        let StepOptions {
            optimizer, learning_rate, schedule, warmup_steps, warmup_ratio, max_grad_norm, ..
        } = &self.steps;
        if self.compute.precision == ComputePrecision::I8 {
            return Err(TrainError::Option(
                "weights that are trained cannot be bytes, since the changes of a step are too small for them: take \
                 bf16, tf32 or f32"
                    .to_owned(),
            ));
        }
        let is_share = |v: f64| (0.0..1.0).contains(&v);
        let is_size = |v: f64| v >= 0.0 && v.is_finite();
        if !is_size(*learning_rate) {
            return refuse("a learning rate", *learning_rate, SIZE);
        }
        if !(0.0..=1.0).contains(warmup_ratio) {
            return refuse("a warm-up share", *warmup_ratio, "a number from 0 to 1");
        }
        let has_warmup = warmup_steps.map_or(*warmup_ratio > 0.0, |steps| steps > 0);
        if *schedule == ScheduleKind::Constant && has_warmup {
            let names = [ScheduleKind::Constant, ScheduleKind::ConstantWithWarmup].map(ScheduleKind::name);
            let [constant, with_warmup] = names;
            return Err(TrainError::Option(format!("{constant} has no warm-up; {with_warmup} has one")));
        }
        if *schedule == ScheduleKind::Polynomial && *learning_rate <= POLYNOMIAL_END {
            return Err(TrainError::Option(format!(
                "{} ends at a rate of {POLYNOMIAL_END:e}, so its learning rate is higher, not {}",
                schedule.name(),
                written_number(*learning_rate)
            )));
        }
        if let Some(number) = schedule.bad_number() {
            return refuse("an option of the schedule", number, SIZE);
        }
        if let Some(norm) = max_grad_norm.filter(|norm| !is_size(*norm)) {
            return Err(TrainError::Option(format!(
                "{}: expected {SIZE}; 0 does not clip",
                Remedy::Option("max_grad_norm", &written_number(norm))
            )));
        }
        match optimizer {
            OptimizerKind::AdamW(a) if !is_share(a.beta1) => refuse("a beta1", a.beta1, SHARE),
            OptimizerKind::AdamW(a) if !is_share(a.beta2) => refuse("a beta2", a.beta2, SHARE),
            OptimizerKind::AdamW(a) if !is_size(a.eps) => refuse("an epsilon", a.eps, SIZE),
            // In the f32 of the moments.
            OptimizerKind::AdamW(a) if a.eps as f32 == 0.0 => Err(TrainError::Option(format!(
                "an epsilon of {} cannot be used: AdamW would divide by zero wherever a gradient is zero; give {} for example",
                written_number(a.eps),
                Remedy::Option("adam_epsilon", "1e-8")
            ))),
            OptimizerKind::AdamW(a) if !is_size(a.weight_decay) => {
                refuse("a weight decay", a.weight_decay, SIZE)
            }
            OptimizerKind::Sgd(s) if !is_share(s.momentum) => refuse("a momentum", s.momentum, SHARE),
            OptimizerKind::Sgd(s) if !is_size(s.weight_decay) => {
                refuse("a weight decay", s.weight_decay, SIZE)
            }
            _ if self.saving.every == Some(0)
                || self.saving.log_every == 0
                || self.saving.limit == Some(0)
                || self.evaluation.as_ref().is_some_and(|evaluation| evaluation.every == Some(0)) =>
            {
                refuse("an interval", 0.0, "at least 1")
            }
            _ => Ok(()),
        }
    }

    /// Settings that decide the bits of the checkpoints of a training of `total` steps, in addition to the
    /// model and the data.
    pub fn identity(&self, total: u64) -> Value {
        let BatchOptions { micro, accumulate, seed, shuffle, packing, text, .. } = &self.batching;
        let StepOptions { optimizer, max_grad_norm, mean, dropout, .. } = &self.steps;
        let schedule = self.schedule(total);
        let (method, lora) = match &self.method {
            TrainMethod::Lora(choice) => ("lora".to_owned(), Some(choice)),
            TrainMethod::Adapter(folder) => (format!("adapter {}", folder.display()), None),
            TrainMethod::Full => ("full".to_owned(), None),
            TrainMethod::FromScratch => ("from scratch".to_owned(), None),
        };
        let rates = match optimizer {
            OptimizerKind::AdamW(a) => {
                json!({"beta1": a.beta1, "beta2": a.beta2, "eps": a.eps, "weight_decay": a.weight_decay})
            }
            OptimizerKind::Sgd(s) => json!({"momentum": s.momentum, "weight_decay": s.weight_decay}),
        };
        let cycles = match schedule.kind {
            ScheduleKind::CosineWithRestarts { cycles } => Some(cycles),
            _ => None,
        };
        let mut identity = json!({
            "method": method,
            "LoRA rank": lora.map(|choice| choice.rank),
            "LoRA alpha": lora.map(|choice| choice.alpha),
            "LoRA targets": lora.map(|choice| &choice.targets),
            "samples of a micro-batch": micro,
            "micro-batches of a step": accumulate,
            "seed": seed,
            "shuffle": shuffle,
            "tokens of a packed sequence": packing.then_some(text.max_length),
            "dropout": (!dropout.is_none()).then(|| dropout.identity()),
            "steps": total,
            "optimizer": optimizer.name(),
            "rates of the optimizer": rates,
            "learning rate": schedule.peak,
            "schedule": schedule.kind.name(),
            "cycles of the schedule": cycles,
            "warm-up steps": schedule.warmup,
            "largest norm of gradients": max_grad_norm,
            "mean of losses": match mean {
                LossMean::Tokens => "tokens",
                LossMean::MicroBatches => "micro-batches",
            },
            "precision": self.compute.precision.name(),
            "tokens of a piece": self.compute.piece_tokens,
            "backend": self.compute.device.to_string(),
        });
        // Earlier versions wrote none.
        let options = schedule.kind.options();
        if !options.is_null() {
            identity["options of the schedule"] = options;
        }
        identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_are_trained_are_no_bytes() {
        let data = SampleSource::Files { paths: Vec::new(), fields: Vec::new() };
        let mut request = TrainRequest::new("model", "output", TrainMethod::Full, data);
        assert!(request.check().is_ok());
        request.compute.precision = ComputePrecision::I8;
        assert!(request.check().unwrap_err().to_string().contains("cannot be bytes"));
    }
}
