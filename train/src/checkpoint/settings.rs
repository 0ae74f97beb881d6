//! Optimizer settings of a checkpoint, and the note on those that a resumed training does not keep.

use std::path::{Path, PathBuf};

use gstore_model::weights::{MomentsFile, MomentumFile, peak_rate};

use crate::optimizer::OptimizerKind;
use crate::request::StepOptions;

const DECAY: &str = "weight decay";
const RATE: &str = "learning rate";
const MOMENTUM: &str = "momentum";

/// What an optimizer was set to, as far as a checkpoint says it. A training goes on with what it is asked for.
pub(crate) struct OptimizerSettings {
    folder: PathBuf,
    /// Values by name, in the order in which they are told.
    values: Vec<(&'static str, f64)>,
}

impl OptimizerSettings {
    pub fn of_adamw(folder: &Path, state: &MomentsFile) -> Self {
        let mut values = Vec::new();
        if let Some(constants) = state.constants().first() {
            let [first, second] = constants.betas;
            values.extend([("beta1", first), ("beta2", second), ("eps", constants.eps)]);
        }
        Self::with_rates(folder, values, state.group_values("weight_decay"))
    }

    pub fn of_sgd(folder: &Path, state: &MomentumFile) -> Self {
        let momentum = state.group_values(MOMENTUM).first().map(|momentum| (MOMENTUM, *momentum));
        Self::with_rates(folder, Vec::from_iter(momentum), state.group_values("weight_decay"))
    }

    fn with_rates(folder: &Path, mut values: Vec<(&'static str, f64)>, decays: Vec<f64>) -> Self {
        // The group of biases and norms has none.
        values.extend(decays.into_iter().reduce(f64::max).map(|decay| (DECAY, decay)));
        // The highest rate. Without a scheduler that can be read, a training can go on all the same.
        values.extend(peak_rate(folder).ok().flatten().map(|rate| (RATE, rate)));
        Self { folder: folder.to_owned(), values }
    }

    /// What is to be said where a training is asked for other values.
    pub fn note(&self, asked: &StepOptions) -> Option<String> {
        let now = |name: &str| match (name, asked.optimizer) {
            (RATE, _) => Some(asked.learning_rate),
            (DECAY, OptimizerKind::AdamW(adamw)) => Some(adamw.weight_decay),
            (DECAY, OptimizerKind::Sgd(sgd)) => Some(sgd.weight_decay),
            ("beta1", OptimizerKind::AdamW(adamw)) => Some(adamw.beta1),
            ("beta2", OptimizerKind::AdamW(adamw)) => Some(adamw.beta2),
            ("eps", OptimizerKind::AdamW(adamw)) => Some(adamw.eps),
            (MOMENTUM, OptimizerKind::Sgd(sgd)) => Some(sgd.momentum),
            _ => None,
        };
        let (mut had, mut taken) = (Vec::new(), Vec::new());
        for (name, was) in &self.values {
            if let Some(now) = now(name).filter(|now| now != was) {
                had.push(format!("{name} {was:?}"));
                taken.push(format!("{name} {now:?}"));
            }
        }
        let folder = self.folder.display();
        let (had, taken) = (had.join(", "), taken.join(", "));
        (!had.is_empty())
            .then(|| format!("{folder}: its optimizer had {had}; the training continues with {taken}"))
    }
}
