//! Soundness of a training's weights and losses, before a checkpoint is written and when a step fails.

use gstore_core::Cancel;
use gstore_model::Backend;

use super::Job;
use crate::checkpoint::{checkpoints, last_checkpoint, remove, remove_replaced};
use crate::error::TrainError;

impl<B: Backend + Clone> Job<'_, B> {
    /// An error if the last of `taken` steps left a weight or a moment that is not finite.
    pub(super) fn check_values(&self, taken: u64) -> Result<(), TrainError> {
        let is_unsound = |value: &&f32| !value.is_finite();
        let mut weights = self.trainer.parameters.store().values().iter();
        if let Some(value) = weights.find(is_unsound) {
            return Err(TrainError::not_finite_after(taken, "a weight", f64::from(*value)));
        }
        let mut moments =
            self.trainer.optimizer.state().iter().flat_map(|state| [&state.first, &state.second]);
        match moments.find_map(|values| values.iter().find(is_unsound)) {
            Some(value) => {
                Err(TrainError::not_finite_after(taken, "a moment of the optimizer", f64::from(*value)))
            }
            None => Ok(()),
        }
    }

    /// An error if the loss of the last step's own samples is not finite after it, or their gradient.
    pub(super) fn check_samples(&mut self, taken: u64, with_gradient: bool) -> Result<(), TrainError> {
        let batch = self.prepared.batch(taken.saturating_sub(1));
        let samples = &self.prepared.samples;
        let own = batch.iter().flatten().filter_map(|number| samples.get(*number));
        let loss = if with_gradient {
            let (loss, gradient) = self.trainer.gradient(&[own.collect()], &Cancel::new())?;
            let is_unsound = |value: &&f32| !value.is_finite();
            if let Some(value) = gradient.iter().find_map(|values| values.iter().find(is_unsound)) {
                return Err(TrainError::not_finite_after(
                    taken,
                    "the gradient of its samples",
                    f64::from(*value),
                ));
            }
            Some(loss)
        } else {
            self.trainer.evaluate(&own.cloned().collect::<Vec<_>>(), &Cancel::new())?
        };
        match loss {
            Some(loss) if !loss.is_finite() => {
                Err(TrainError::not_finite_after(taken, "the loss of its samples", loss))
            }
            _ => Ok(()),
        }
    }

    /// Removes the checkpoints that the one after `taken` steps takes the place of: when what follows it was
    /// computed, and is finite.
    pub(super) fn remove_replaced(&self, taken: u64) -> Result<(), TrainError> {
        let request = &self.prepared.request;
        remove_replaced(&request.output, taken, request.saving.limit)
    }

    /// After a step that was not finite: removes the checkpoint before it, which is of `taken` steps, if
    /// there is an older one and the samples that it has learned from are not finite with it either. Else the
    /// step's own samples are at fault, and the checkpoint stays. Gives back the error, which says what was
    /// removed.
    pub(super) fn without_unsound(
        &mut self,
        error: TrainError,
        taken: u64,
    ) -> Result<TrainError, TrainError> {
        let TrainError::NotFinite { found, value, .. } = error else { return Ok(error) };
        let folder = match &checkpoints(&self.prepared.request.output)?[..] {
            [.., _, last] if last.step == taken => last.folder.clone(),
            _ => return Ok(TrainError::NotFinite { found, value, last: String::new() }),
        };
        let last = match self.check_samples(taken, true) {
            Ok(()) => String::new(),
            Err(TrainError::NotFinite { found, value, .. }) => {
                remove(&folder)?;
                format!("{} was removed, since {found} is {value}; ", folder.display())
            }
            Err(other) => return Err(other),
        };
        Ok(TrainError::NotFinite { found, value, last })
    }

    /// Says of a loss that is no number, and of a full disk, which checkpoint is there. A loss of the weights
    /// that were begun with says it of these.
    pub(super) fn with_last(&self, error: TrainError) -> TrainError {
        let now = || match last_checkpoint(&self.prepared.request.output) {
            Ok(Some(checkpoint)) => format!("the last checkpoint is {}", checkpoint.folder.display()),
            _ => "no checkpoint was written yet".to_owned(),
        };
        match error {
            TrainError::NotFinite { found, value, .. } if self.trainer.optimizer.steps() == 0 => {
                TrainError::not_finite_before_training(found, value)
                    .with_base_table(self.prepared.base.as_ref())
            }
            TrainError::NotFinite { found, value, last } => {
                TrainError::NotFinite { found, value, last: last + &now() }
            }
            error => error.with_disk_full_hint(|| {
                format!("{}; free some space there, then run the same command again to continue", now())
            }),
        }
    }

    /// Tells once of a gradient that is zero: weights so large that every unit is saturated have none, and
    /// their loss is finite.
    pub(super) fn warn_of_zero(&mut self, step: u64, grad_norm: f64) {
        if grad_norm == 0.0 && !self.said_zero {
            self.said_zero = true;
            self.observer.note(&format!(
                "the gradient of step {step} is zero, so nothing is learned from it: after too high a \
                 learning rate no unit of the model reacts any more"
            ));
        }
    }

    /// Tells once of a loss that rose, with the entry of the log that shows it, and of one that begins above
    /// a guess.
    pub(super) fn warn_of_loss(&mut self) {
        if let [only] = self.log.as_slice()
            && only.loss > self.loss_of_guess() + 0.5
        {
            self.observer.note(&format!(
                "the loss of step {} is {:.2}, above the {:.2} of a guess among all tokens: the tokenizer, the \
                 template or the texts are probably not those of this model",
                only.step,
                only.loss,
                self.loss_of_guess()
            ));
        }
        if self.said_rise.is_some() {
            return;
        }
        if let Some((step, note)) = self.rise() {
            self.said_rise = Some(step);
            self.observer.note(&note);
        }
    }

    /// Tells at the end, too, where the loss came down no more.
    pub(super) fn warn_of_lasting_rise(&mut self) {
        let said = self.said_rise;
        if let Some((_, note)) = self.rise().filter(|(step, _)| said != Some(*step)) {
            self.observer.note(&note);
        }
    }

    /// The loss of a guess among all tokens, ln of their number, which no model has that was trained at all.
    fn loss_of_guess(&self) -> f64 {
        (self.prepared.decoder.vocab_size as f64).ln()
    }

    /// Whether the last logged loss rose above that of a guess: its step, and what to say.
    fn rise(&self) -> Option<(u64, String)> {
        let (first, last) = (self.log.first()?, self.log.last()?);
        let of_guess = self.loss_of_guess();
        let has_risen = last.loss > of_guess && last.loss > first.loss + 0.5;
        has_risen.then(|| {
            let note = format!(
                "the loss rose from {:.2} at step {} to {:.2} at step {}, above the {of_guess:.2} of a guess among all \
                 tokens: the learning rate is probably too high",
                first.loss, first.step, last.loss, last.step
            );
            (last.step, note)
        })
    }
}
