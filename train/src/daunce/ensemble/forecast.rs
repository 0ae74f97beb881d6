//! Forecast of an ensemble: models, steps, time, memory and disk, without training one.

use std::time::Instant;

use gstore_core::Cancel;
use gstore_model::MultiDevice;

use super::super::noise::ModelDraw;
use super::Ensemble;
use crate::error::TrainError;
use crate::perturbed::{EnsembleStart, PerturbedHead, StatesFile};

/// What an ensemble will take.
#[derive(Debug, Clone, PartialEq)]
pub struct EnsembleForecast {
    /// Models that are asked for.
    pub models: u64,
    /// Of these, the ones that are there already, complete or refused.
    pub there: u64,
    /// Rows that models are drawn from.
    pub rows: usize,
    /// Rows of a model.
    pub rows_of_model: usize,
    /// Steps of a model.
    pub steps: u64,
    /// Models that are trained at the same time.
    pub at_once: usize,
    /// Bytes of a model's weights, about.
    pub weights: u64,
    /// Bytes of hidden states of the starting point that will be written.
    pub states: u64,
    /// Bytes of memory at the peak, about.
    pub memory: u64,
    /// Seconds of all steps, by the time that a gradient took here; none where memory for it is lacking.
    pub seconds: Option<f64>,
}

impl<B: MultiDevice> Ensemble<B> {
    /// What the models that are missing will take; one gradient is computed if there is a starting point, and
    /// nothing is written.
    pub fn forecast(&self, cancel: &Cancel) -> Result<EnsembleForecast, TrainError> {
        let (training, range) = (&self.request.training, self.request.models.clone());
        let models = range.end.saturating_sub(range.start);
        let there = self.found(cancel)?.there;
        let at_once = self.at_once()?;
        let draw = ModelDraw::new(training.batching.seed, range.start, &self.training.rows, self.size)?;
        let threads = (training.compute.threads / at_once).max(1);
        let of_step = |start| self.seconds_of_step(start, &draw, threads, cancel);
        let of_step = self.starts.first().map(of_step).transpose()?;
        let steps = self.steps.total();
        let in_turn = models.saturating_sub(there).div_ceil(at_once as u64);
        Ok(EnsembleForecast {
            models,
            there,
            rows: self.training.samples.len(),
            rows_of_model: self.size,
            steps,
            at_once,
            weights: 4 * self.training.trained()?.values,
            states: self.states_to_write()?,
            memory: self.training.memory_of_copies(at_once)?,
            seconds: of_step.map(|of_step| of_step * steps as f64 * in_turn as f64),
        })
    }

    /// Seconds that the gradient of the first step takes.
    fn seconds_of_step(
        &self,
        start: &EnsembleStart<B>,
        draw: &ModelDraw,
        threads: usize,
        cancel: &Cancel,
    ) -> Result<f64, TrainError> {
        let trainer = self.trainer(start, draw, threads)?;
        let rows = self.rows(draw, self.steps.clone().batch(0));
        let head = PerturbedHead { perturbation: self.request.perturbation, start };
        let begun = Instant::now();
        trainer.perturbed_gradient(&rows, &head, cancel)?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Bytes of the file of hidden states, where it is wanted and missing.
    fn states_to_write(&self) -> Result<u64, TrainError> {
        if !self.wants_states() {
            return Ok(0);
        }
        match StatesFile::open(&self.request.states_file(), &self.states) {
            Ok(Some(_)) => Ok(0),
            Ok(None) => Ok(self.states.bytes()),
            Err(TrainError::OtherTraining { .. }) if self.request.replaces_states() => {
                Ok(self.states.bytes())
            }
            Err(error) => Err(error),
        }
    }
}
