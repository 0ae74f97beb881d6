//! Optimisation steps: gradient, clipping, optimizer, and the weights packed again.

use gstore_core::parallel::map;
use gstore_core::{Cancel, Cancelled};
use gstore_model::weights::WeightDecay;
use gstore_model::{Backend, SavedActivations};

use crate::dropout::DropoutRates;
use crate::error::TrainError;
use crate::gradient::GradientOptions;
use crate::optimizer::{CHUNK, Optimizer, TensorUpdate};
use crate::parameters::Parameters;
use crate::perturbed::{PerturbedHead, PerturbedRow, weighted as perturbed};
use crate::random::RandomStream;
use crate::request::{ComputeOptions, LossMean, TrainRequest};
use crate::sample::{Sample, WeightedSample};

/// How a trainer computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainerOptions {
    /// How losses become one.
    pub mean: LossMean,
    /// Norm that a gradient is scaled down to; none: as it is.
    pub max_grad_norm: Option<f64>,
    /// Threads; they change no bit.
    pub threads: usize,
    /// Tokens that a thread computes at a time, about; the last bits depend on it.
    pub piece_tokens: usize,
    /// What layers keep for their backward.
    pub keep: SavedActivations,
    /// Shares of values that are dropped.
    pub dropout: DropoutRates,
    /// Seed of what is dropped.
    pub seed: u64,
}

impl Default for TrainerOptions {
    fn default() -> Self {
        TrainerOptions {
            mean: LossMean::default(),
            max_grad_norm: Some(1.0),
            threads: 1,
            piece_tokens: ComputeOptions::PIECE_TOKENS,
            keep: SavedActivations::All,
            dropout: DropoutRates::default(),
            seed: 0,
        }
    }
}

impl TrainerOptions {
    pub(crate) fn of(request: &TrainRequest) -> TrainerOptions {
        TrainerOptions {
            mean: request.steps.mean,
            max_grad_norm: request.steps.max_grad_norm.filter(|norm| *norm > 0.0),
            threads: request.compute.threads,
            piece_tokens: request.compute.piece_tokens,
            keep: request.compute.keep,
            dropout: request.steps.dropout,
            seed: request.batching.seed,
        }
    }
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Loss before the step.
    pub loss: f64,
    /// Norm of the gradient before it was clipped.
    pub grad_norm: f64,
    /// Rate of the step.
    pub learning_rate: f64,
    /// Tokens that went through the model.
    pub tokens: u64,
}

/// Parameters and their optimizer.
pub struct Trainer<B: Backend> {
    /// What is trained.
    pub parameters: Parameters<B>,
    /// Its optimizer.
    pub optimizer: Optimizer,
    /// How it computes.
    pub options: TrainerOptions,
    /// Memory of the last step's gradient.
    gradient: Vec<Vec<f32>>,
}

impl<B: Backend + Clone> Trainer<B> {
    /// A trainer that goes on where the optimizer stands.
    pub fn new(parameters: Parameters<B>, optimizer: Optimizer, options: TrainerOptions) -> Trainer<B> {
        Trainer { parameters, optimizer, options, gradient: Vec::new() }
    }

    /// One step on micro-batches, at rate `rate`.
    ///
    /// # Errors
    /// A loss or gradient that is not finite, after which the parameters are what they were; a step without
    /// scored tokens; the flag raised.
    pub fn step(
        &mut self,
        batch: &[Vec<&Sample>],
        rate: f64,
        cancel: &Cancel,
    ) -> Result<StepReport, TrainError> {
        let step = self.optimizer.steps() + 1;
        let samples = weighted_samples(batch, self.options.mean).ok_or(TrainError::NothingScored { step })?;
        self.take(&samples, None, rate, cancel)
    }

    /// One step on the perturbed objective of some rows, at rate `rate`; the reported loss is its value.
    ///
    /// # Errors
    /// As [`Trainer::step`], and hidden states of the starting point that cannot be read.
    pub fn perturbed_step(
        &mut self,
        rows: &[PerturbedRow<'_>],
        head: &PerturbedHead<'_, B>,
        rate: f64,
        cancel: &Cancel,
    ) -> Result<StepReport, TrainError> {
        let step = self.optimizer.steps() + 1;
        let samples = perturbed(rows, &head.perturbation).ok_or(TrainError::NothingScored { step })?;
        self.take(&samples, Some(head), rate, cancel)
    }

    /// Value and gradient of the perturbed objective, tensor by tensor; nothing is changed.
    ///
    /// # Errors
    /// As [`Trainer::perturbed_step`].
    pub fn perturbed_gradient(
        &self,
        rows: &[PerturbedRow<'_>],
        head: &PerturbedHead<'_, B>,
        cancel: &Cancel,
    ) -> Result<(f64, Vec<Vec<f32>>), TrainError> {
        let step = self.optimizer.steps() + 1;
        let samples = perturbed(rows, &head.perturbation).ok_or(TrainError::NothingScored { step })?;
        self.parameters.gradient(&samples, Some(head), self.computing(cancel), Vec::new())
    }

    fn take(
        &mut self,
        samples: &[WeightedSample<'_>],
        head: Option<&PerturbedHead<'_, B>>,
        rate: f64,
        cancel: &Cancel,
    ) -> Result<StepReport, TrainError> {
        let step = self.optimizer.steps() + 1;
        let TrainerOptions { threads, max_grad_norm, .. } = self.options;
        let computing = self.computing(cancel);
        let old = std::mem::take(&mut self.gradient);
        let (loss, gradient) = self.parameters.gradient(samples, head, computing, old)?;
        let norm = norm(&gradient, threads);
        for (what, value) in [("loss", loss), ("norm of the gradient", norm)] {
            if !value.is_finite() {
                let found = format!("step {step}: the {what}");
                return Err(TrainError::NotFinite { found, value, last: String::new() });
            }
        }
        // As torch: a gradient shorter than that is multiplied by one.
        let scale = max_grad_norm.map_or(1.0, |most| (most / (norm + 1e-6)).min(1.0) as f32);
        let decays: Vec<bool> =
            self.parameters.trained().iter().map(|t| t.decay == WeightDecay::Yes).collect();
        let optimizer = &mut self.optimizer;
        self.parameters.change(threads, |store| {
            let lengths: Vec<usize> = store.specs().iter().map(|spec| spec.numel()).collect();
            let mut rest = store.values_mut();
            let mut parts = Vec::with_capacity(lengths.len());
            for ((length, grad), decays) in lengths.into_iter().zip(&gradient).zip(decays) {
                let (values, after) = rest.split_at_mut(length);
                rest = after;
                parts.push(TensorUpdate { values, grad, scale, decays });
            }
            optimizer.step(rate, parts, threads);
        })?;
        self.gradient = gradient;
        let tokens = samples.iter().map(|w| w.sample.ids.len() as u64).sum();
        Ok(StepReport { loss, grad_norm: norm, learning_rate: rate, tokens })
    }

    /// Loss and gradient of micro-batches as a step would use them, tensor by tensor; nothing is changed.
    pub fn gradient(
        &self,
        batch: &[Vec<&Sample>],
        cancel: &Cancel,
    ) -> Result<(f64, Vec<Vec<f32>>), TrainError> {
        let step = self.optimizer.steps() + 1;
        let samples = weighted_samples(batch, self.options.mean).ok_or(TrainError::NothingScored { step })?;
        self.parameters.gradient(&samples, None, self.computing(cancel), Vec::new())
    }

    /// Mean loss over the scored tokens of samples, without dropout; none if nothing is scored.
    ///
    /// # Errors
    /// What the backend refuses; the flag raised.
    pub fn evaluate(&self, samples: &[Sample], cancel: &Cancel) -> Result<Option<f64>, TrainError> {
        let scored: usize = samples.iter().map(Sample::scored_tokens).sum();
        let sum = self.parameters.losses(samples, self.computing(cancel))?;
        Ok((scored > 0).then(|| sum / scored as f64))
    }

    /// How the next step is computed.
    fn computing<'a>(&self, cancel: &'a Cancel) -> GradientOptions<'a> {
        let TrainerOptions { threads, piece_tokens, keep, dropout, seed, .. } = self.options;
        let stream = || RandomStream::new(seed, "dropout", self.optimizer.steps());
        let dropout = (!dropout.is_none()).then(|| (dropout, stream()));
        GradientOptions { threads, piece_tokens, keep, dropout, cancel }
    }
}

/// The samples with the weights of their tokens; none if nothing is scored.
fn weighted_samples<'a>(batch: &[Vec<&'a Sample>], mean: LossMean) -> Option<Vec<WeightedSample<'a>>> {
    let tokens = |micro: &[&Sample]| micro.iter().map(|sample| sample.scored_tokens()).sum::<usize>();
    let all: usize = batch.iter().map(|micro| tokens(micro)).sum();
    if all == 0 {
        return None;
    }
    let mut samples = Vec::new();
    for micro in batch {
        let divisor = match mean {
            LossMean::Tokens => all as f64,
            LossMean::MicroBatches => tokens(micro).max(1) as f64 * batch.len() as f64,
        };
        let weight = (1.0 / divisor) as f32;
        samples.extend(micro.iter().map(|sample| WeightedSample { sample, weight, term: None }));
    }
    Some(samples)
}

/// The L2 norm of all tensors: sums of chunks, added in their order.
fn norm(gradient: &[Vec<f32>], threads: usize) -> f64 {
    let square = |value: &f32| f64::from(*value) * f64::from(*value);
    let of_chunk = |values: &&[f32]| {
        // Eight sums next to each other: in one, each addition waits for the one before.
        let (rows, rest) = values.as_chunks::<8>();
        let mut sums = [0.0; 8];
        for row in rows {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += square(value));
        }
        Ok::<f64, Cancelled>(sums.iter().sum::<f64>() + rest.iter().map(square).sum::<f64>())
    };
    let chunks: Vec<&[f32]> = gradient.iter().flat_map(|values| values.chunks(CHUNK)).collect();
    // Nothing cancels it.
    let sums = map(&chunks, 1, threads, &Cancel::new(), of_chunk).unwrap_or_default();
    sums.iter().sum::<f64>().sqrt()
}
