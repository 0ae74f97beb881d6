//! `trainer_state.json` of a checkpoint: the step of the training, and its log.

use std::path::{Path, PathBuf};

use gstore_core::{Remedy, python_json};
use serde_json::Value;

use super::folder::around_adapter;
use super::gstore_state::GstoreState;
use super::schedule::LoggedSchedule;
use crate::files::{ModelError, TorchArchive, TorchError};

const STATE: &str = "trainer_state.json";

/// How far below 0 a rate is from rounding, as a part of the largest one.
const ROUNDING: f64 = 1e-9;

/// Optimiser steps of a training at most: more than any run takes. The rate of each one is looked at.
pub const MOST_STEPS: u64 = 100_000_000;

/// Why a trainer state could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum TrainerError {
    /// The file system refused; the message names the path.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The file does not parse or lacks something.
    #[error("{path}: {message}")]
    Invalid { path: PathBuf, message: String },
    /// `scheduler.pt` or the optimizer state is damaged.
    #[error(transparent)]
    Archive(#[from] TorchError),
    /// `gstore_state.json` is damaged.
    #[error(transparent)]
    Own(#[from] ModelError),
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEntry {
    /// Optimiser step, counted from 1.
    pub step: u64,
    /// Epochs done, with a fraction.
    pub epoch: Option<f64>,
    /// Rate that this step used, or the next one: trainers differ.
    pub learning_rate: Option<f64>,
    /// Mean training loss since the previous entry.
    pub loss: Option<f64>,
    /// Norm of this step's gradient before it was clipped.
    pub grad_norm: Option<f64>,
    /// Loss of samples that are not trained on, where this is an entry of an evaluation.
    pub eval_loss: Option<f64>,
}

/// The state of the Hugging Face Trainer when it saved a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainerState {
    /// Optimiser steps done.
    pub global_step: u64,
    /// Epochs done, with a fraction.
    pub epoch: Option<f64>,
    /// Steps planned in all.
    pub max_steps: Option<u64>,
    /// The log, by step.
    pub log_history: Vec<LogEntry>,
}

/// The weight that LESS gives a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanLearningRate {
    /// Mean over [`TrainerState::epoch_steps`].
    pub mean: f64,
    /// Whether it is a guess: the log has so few rates that the true mean may be another by more than a tenth.
    pub is_guess: bool,
}

impl TrainerState {
    /// Reads `trainer_state.json` of a checkpoint folder; `None` if it has none.
    pub fn read(folder: &Path) -> Result<Option<TrainerState>, TrainerError> {
        let path = folder.join(STATE);
        if !path.exists() {
            return Ok(None);
        }
        let bytes = fs_err::read(&path)?;
        let invalid = |message: String| TrainerError::Invalid { path: path.clone(), message };
        // A log may have the norm of a gradient that overflowed.
        let value = python_json(&bytes).map_err(|e| invalid(e.to_string()))?;
        let step = value.get("global_step").ok_or_else(|| invalid("global_step is missing".into()))?;
        let global_step = step.as_u64().filter(|step| *step <= MOST_STEPS).ok_or_else(|| {
            invalid(format!("global_step {step} is not a whole number from 0 to {MOST_STEPS}"))
        })?;
        let mut log_history: Vec<LogEntry> = value
            .get("log_history")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(log_entry)
            .collect();
        log_history.sort_by_key(|entry| entry.step);
        Ok(Some(TrainerState {
            global_step,
            epoch: value.get("epoch").and_then(Value::as_f64).filter(|e| e.is_finite()),
            max_steps: value.get("max_steps").and_then(Value::as_u64),
            log_history,
        }))
    }

    /// The optimiser steps of the epoch that ends at this checkpoint, first and last, counted from 1.
    ///
    /// A checkpoint inside an epoch gets the steps from the start of that epoch: as the log says, and where it
    /// does not say, with equal steps for each part of an epoch. Without an epoch in the state, all steps so
    /// far count.
    pub fn epoch_steps(&self) -> Option<(u64, u64)> {
        let last = self.global_step;
        if last == 0 {
            return None;
        }
        let before = match self.epoch {
            Some(epoch) if epoch > 0.0 => {
                // An epoch of 13,533 rows in batches of 128 has 105.7 steps: its checkpoints
                // stand at 105, 211, 317.
                let whole_before = (epoch - 1e-9).ceil().max(1.0) - 1.0;
                let share = (last as f64 * whole_before / epoch + 1e-6).floor() as u64;
                self.within_log(share, whole_before, epoch / last as f64)
            }
            _ => 0,
        };
        Some((before.min(last - 1) + 1, last))
    }

    /// The step at which so many epochs are done: that of their share of all steps, unless the log says that it
    /// is another one. Where a trainer ends each epoch with a shorter step, epochs have more than their share.
    fn within_log(&self, share: u64, epochs: f64, epoch_per_step: f64) -> u64 {
        let logged = || self.log_history.iter().filter_map(|entry| Some((entry.step, entry.epoch?)));
        // Trainers whose steps are equal rounded the epochs of their log to two places.
        let is_rounded = |(step, epoch): (u64, f64)| {
            let is_short = (epoch * 100.0 - (epoch * 100.0).round()).abs() < 1e-6;
            is_short && (epoch - step as f64 * epoch_per_step).abs() < 0.006
        };
        if logged().all(is_rounded) {
            return share;
        }
        let is_done = |epoch: f64| epoch <= epochs + 1e-9;
        let done = logged().filter(|(_, epoch)| is_done(*epoch)).map(|(step, _)| step).max();
        let later = logged().filter(|(_, epoch)| !is_done(*epoch)).map(|(step, _)| step).min();
        let step = share.max(done.unwrap_or(0));
        later.map_or(step, |later| step.min(later.saturating_sub(1)))
    }

    /// The same with the longest log of these checkpoints that goes on from its own: that of the last checkpoint
    /// of a training says most of the schedule.
    #[must_use]
    pub fn with_longest_log<'a>(mut self, of: impl IntoIterator<Item = &'a TrainerState>) -> Self {
        let goes_on = |other: &&TrainerState| {
            other.max_steps == self.max_steps && other.log_history.starts_with(&self.log_history)
        };
        if let Some(longest) = of.into_iter().filter(goes_on).max_by_key(|other| other.log_history.len()) {
            self.log_history.clone_from(&longest.log_history);
        }
        self
    }

    /// Mean learning rate over [`TrainerState::epoch_steps`] as the log tells it; `None` if that holds no
    /// rates.
    ///
    /// `peak` is the highest rate of the schedule, where it is known (see [`peak_rate`]).
    pub fn mean_learning_rate(&self, peak: Option<f64>) -> Option<MeanLearningRate> {
        let (first, last) = self.epoch_steps()?;
        let points: Vec<(u64, f64)> =
            self.log_history.iter().filter_map(|e| Some((e.step, e.learning_rate?))).collect();
        let schedule = LoggedSchedule::new(&points, peak, self.max_steps)?;
        let mean = schedule.mean(first, last);
        Some(MeanLearningRate { mean, is_guess: !schedule.tells(first, last) })
    }

    /// The weight that LESS gives the checkpoint of this folder: the mean that a training of gstore wrote, else
    /// [`TrainerState::mean_learning_rate`], with the peak that the folder tells.
    ///
    /// # Errors
    /// A negative rate: a mean of those is no weight. A scheduler, an optimizer state or a `gstore_state.json`
    /// that is damaged.
    pub fn weight(&self, folder: &Path) -> Result<Option<MeanLearningRate>, TrainerError> {
        if let Some(mean) = GstoreState::read(folder)?.and_then(|own| own.mean_learning_rate()) {
            return Ok(Some(MeanLearningRate { mean, is_guess: false }));
        }
        let rates = || self.log_history.iter().filter_map(|entry| Some((entry.step, entry.learning_rate?)));
        let largest = rates().fold(0.0_f64, |most, (_, rate)| most.max(rate.abs()));
        if let Some((step, rate)) = rates().find(|(_, rate)| *rate < -ROUNDING * largest) {
            let message = format!(
                "the learning rate of step {step} is {rate:e}, and weights of checkpoints are means of rates that are not \
                 negative: give them with {}",
                Remedy::Option("weights", "")
            );
            return Err(TrainerError::Invalid { path: folder.join(STATE), message });
        }
        Ok(self.mean_learning_rate(peak_rate(folder)?))
    }
}

/// The folder with the trainer's state at a checkpoint, its schedule and its optimizer: the checkpoint's own,
/// else for an adapter the folder around it, if that state may be of no other weights there.
pub fn trainer_folder(checkpoint: &Path) -> PathBuf {
    let has_state = |folder: &Path| folder.join(STATE).exists();
    let is_without = checkpoint.join("adapter_config.json").exists() && !has_state(checkpoint);
    match is_without.then(|| around_adapter(checkpoint)).flatten() {
        Some((above, true)) if has_state(&above) => above,
        _ => checkpoint.to_owned(),
    }
}

fn log_entry(value: &Value) -> Option<LogEntry> {
    let number = |key: &str| value.get(key).and_then(Value::as_f64).filter(|v| v.is_finite());
    let step = value.get("step").and_then(Value::as_u64).filter(|s| *s > 0)?;
    Some(LogEntry {
        step,
        epoch: number("epoch"),
        learning_rate: number("learning_rate"),
        loss: number("loss"),
        grad_norm: number("grad_norm"),
        eval_loss: number("eval_loss"),
    })
}

/// The highest rate of the schedule: `base_lrs` of `scheduler.pt`, else `initial_lr` of the optimizer state;
/// `None` if neither says it.
pub fn peak_rate(folder: &Path) -> Result<Option<f64>, TrainerError> {
    let scheduler = folder.join("scheduler.pt");
    if scheduler.exists() {
        let archive = match TorchArchive::open(&scheduler) {
            Ok(archive) => Some(archive),
            // A scheduler may hold objects of its own class; the rate can come from elsewhere.
            Err(TorchError::Pickle { .. } | TorchError::NotZip(_)) => None,
            Err(e) => return Err(e.into()),
        };
        let rate = archive.as_ref().and_then(|a| a.root().get("base_lrs")?.items()?.first()?.as_f64());
        if let Some(rate) = positive(rate) {
            return Ok(Some(rate));
        }
    }
    for name in ["optimizer.pt", "optimizer.bin"] {
        let path = folder.join(name);
        if path.exists() {
            let archive = TorchArchive::open(&path)?;
            let groups = archive.root().get("param_groups").and_then(|g| g.items());
            return Ok(positive(groups.and_then(|g| g.first()?.get("initial_lr")?.as_f64())));
        }
    }
    Ok(None)
}

fn positive(rate: Option<f64>) -> Option<f64> {
    rate.filter(|r| r.is_finite() && *r > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_a_mean_of_rates_that_are_not_negative() {
        let folder = tempfile::tempdir().unwrap();
        let weight = |rates: [f64; 4]| {
            let log: Vec<Value> = (1..)
                .zip(rates)
                .map(|(step, rate)| serde_json::json!({"step": step, "learning_rate": rate}))
                .collect();
            let state = serde_json::json!({"global_step": 4, "epoch": 1.0, "log_history": log});
            fs_err::write(folder.path().join("trainer_state.json"), state.to_string()).unwrap();
            TrainerState::read(folder.path()).unwrap().unwrap().weight(folder.path())
        };
        let close = |rates: [f64; 4], due: f64| {
            let found = weight(rates).unwrap().unwrap().mean;
            assert!((found - due).abs() < 1e-15, "{rates:?}: {found} instead of {due}");
        };
        close([0.0, 1e-5, 2e-5, 1e-5], 1e-5);
        close([0.0; 4], 0.0);
        // The end of a schedule, but for rounding.
        close([3e-5, 2e-5, 1e-5, -1e-21], 1.5e-5);
        for rates in [[-1e-5; 4], [1e-5, -2e-5, 1e-5, 1e-5], [0.0, 1e-5, -1e-9, 0.0]] {
            let refused = weight(rates).unwrap_err().to_string();
            assert!(refused.contains("trainer_state.json: the learning rate of step "), "{refused}");
            assert!(refused.contains("e-") && refused.contains("weights"), "{refused}");
        }
    }

    /// 39 steps in three epochs, of which every tenth is logged.
    #[test]
    fn a_weight_is_that_which_was_written_or_that_of_the_longest_log() {
        let place = tempfile::tempdir().unwrap();
        let entry = |step: u64| {
            let rate = 2e-3 * (40 - step) as f64 / 35.0;
            serde_json::json!({"step": step, "epoch": step as f64 / 13.0, "learning_rate": rate})
        };
        let folders = [13_u64, 26, 39].map(|last| {
            let folder = place.path().join(format!("checkpoint-{last}"));
            fs_err::create_dir(&folder).unwrap();
            let log: Vec<Value> = (1..=last / 10).map(|at| entry(at * 10)).collect();
            let state = serde_json::json!({
                "global_step": last, "epoch": last / 13, "max_steps": 39, "log_history": log
            });
            fs_err::write(folder.join("trainer_state.json"), state.to_string()).unwrap();
            folder
        });
        let states = folders.clone().map(|folder| TrainerState::read(&folder).unwrap().unwrap());
        let alone = states[0].weight(&folders[0]).unwrap().unwrap();
        assert!(alone.is_guess);
        // The highest rate is in files that these folders lack.
        let told = |at: usize| states[at].clone().with_longest_log(&states).mean_learning_rate(Some(2e-3));
        for (at, due) in [51.0 / 70.0, 40.0 / 70.0, 14.0 / 70.0].into_iter().enumerate() {
            let found = told(at).unwrap();
            assert!(!found.is_guess, "{found:?}");
            assert!((found.mean / (2e-3 * due) - 1.0).abs() < 1e-9, "{at}: {found:?}");
        }
        // A log of another training is none of its own.
        let mut other = states[2].clone();
        other.log_history[0].learning_rate = Some(1e-3);
        assert_eq!(states[0].clone().with_longest_log([&other]), states[0]);

        fs_err::write(folders[0].join(GstoreState::FILE), r#"{"mean_learning_rate": 0.0015}"#).unwrap();
        let written = states[0].weight(&folders[0]).unwrap();
        assert_eq!(written, Some(MeanLearningRate { mean: 0.0015, is_guess: false }));
        fs_err::write(folders[0].join(GstoreState::FILE), "{").unwrap();
        assert!(
            states[0].weight(&folders[0]).unwrap_err().to_string().contains("gstore_state.json is damaged")
        );
    }

    #[test]
    fn numbers_that_are_none_are_nulls() {
        let folder = tempfile::tempdir().unwrap();
        let write = |text: &str| fs_err::write(folder.path().join("trainer_state.json"), text).unwrap();
        write(
            r#"{"global_step": 2, "epoch": NaN, "note": "a \"NaN\", -Infinity\\", "log_history": [
                {"step": 1, "loss": -Infinity, "grad_norm": Infinity, "learning_rate": 0.5},
                {"step": 2, "loss": 1.5, "grad_norm":NaN}]}"#,
        );
        let state = TrainerState::read(folder.path()).unwrap().unwrap();
        assert_eq!((state.global_step, state.epoch), (2, None));
        let read = |at: usize| {
            let entry: &LogEntry = &state.log_history[at];
            (entry.loss, entry.grad_norm, entry.learning_rate)
        };
        assert_eq!((read(0), read(1)), ((None, None, Some(0.5)), (Some(1.5), None, None)));
        let bytes = fs_err::read(folder.path().join("trainer_state.json")).unwrap();
        assert_eq!(python_json(&bytes).unwrap()["note"], "a \"NaN\", -Infinity\\");
        for damaged in [r#"{"global_step": nan}"#, r#"{"global_step": 1, "epoch": NaNs}"#, r#"{"a": "NaN"#] {
            write(damaged);
            let error = TrainerState::read(folder.path()).unwrap_err();
            assert!(matches!(error, TrainerError::Invalid { .. }), "{damaged}: {error}");
        }
    }
}
