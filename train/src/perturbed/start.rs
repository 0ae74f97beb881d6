//! The starting point of an ensemble, theta_0: the model that all copies begin at and are compared with.

use std::ops::ControlFlow;
use std::path::Path;

use gstore_core::Cancel;
use gstore_core::parallel::ordered;
use gstore_model::{Backend, Layout, Model, Reduction};

use super::states::{StatesDescription, StatesFile, StatesWriter};
use crate::error::TrainError;
use crate::lora::LoraChoice;
use crate::parameters::Parameters;
use crate::pieces::{SCORING, cut};
use crate::sample::Sample;

/// The model, and where its hidden states come from.
pub struct EnsembleStart<B: Backend> {
    origin: StartWeights<B>,
    states: Option<StatesFile>,
}

enum StartWeights<B: Backend> {
    /// A base, which new factors leave as it is until the first step.
    Base(Model<B>),
    /// Parameters with values of their own.
    Parameters(Parameters<B>),
}

impl<B: Backend + Clone> EnsembleStart<B> {
    /// Copies begin at these values.
    pub fn new(parameters: Parameters<B>) -> EnsembleStart<B> {
        EnsembleStart { origin: StartWeights::Parameters(parameters), states: None }
    }

    /// Copies get new factors next to this model.
    pub(crate) fn of_base(model: Model<B>) -> EnsembleStart<B> {
        EnsembleStart { origin: StartWeights::Base(model), states: None }
    }

    /// Parameters for one copy, which share what is not trained with all others. `seed` is that of new
    /// factors.
    ///
    /// # Errors
    /// What the backend refuses.
    pub fn copy(&self, choice: Option<&LoraChoice>, seed: u64) -> Result<Parameters<B>, TrainError> {
        match (&self.origin, choice) {
            (StartWeights::Parameters(parameters), _) => parameters.duplicate(),
            (StartWeights::Base(model), Some(choice)) => Parameters::new_factors(model.share(), choice, seed),
            (StartWeights::Base(_), None) => Err(TrainError::Option("which factors are new?".to_owned())),
        }
    }

    pub(crate) fn model(&self) -> Result<&Model<B>, TrainError> {
        match &self.origin {
            StartWeights::Base(model) => Ok(model),
            StartWeights::Parameters(parameters) => parameters.model(),
        }
    }

    /// Hidden states are read from a file, which is made if it is missing.
    pub(crate) fn store_states(
        &mut self,
        path: &Path,
        of: &StatesDescription,
        samples: &[Sample],
        computing: (usize, usize),
        cancel: &Cancel,
    ) -> Result<(), TrainError> {
        self.states = StatesFile::open(path, of)?;
        if self.states.is_none() {
            self.write_states(path, of, samples, computing, cancel)?;
            self.states = StatesFile::open(path, of)?;
        }
        Ok(())
    }

    /// Computes the hidden states of all samples, a few at a time.
    fn write_states(
        &self,
        path: &Path,
        of: &StatesDescription,
        samples: &[Sample],
        (threads, piece_tokens): (usize, usize),
        cancel: &Cancel,
    ) -> Result<(), TrainError> {
        let mut writer = StatesWriter::new(path)?;
        let lengths: Vec<usize> = samples.iter().map(|sample| sample.ids.len()).collect();
        let pieces = cut(&lengths, piece_tokens);
        let of_piece = |(): &mut (), piece: usize| {
            let samples: Vec<&Sample> = samples[pieces[piece].clone()].iter().collect();
            let hidden = self.forward(&samples)?;
            Ok::<_, TrainError>((piece, self.model()?.backend().to_host(&hidden)?))
        };
        let take = |(piece, values): (usize, Vec<f32>)| {
            let mut rest = &values[..];
            for sample in pieces[piece].clone() {
                let rows = of.rows[sample];
                let (own, others) = rest.split_at(rows * of.width);
                writer.push(own, rows)?;
                rest = others;
            }
            Ok(ControlFlow::Continue(()))
        };
        ordered(pieces.len(), threads, cancel, || (), of_piece, take)?;
        writer.finish(of)
    }

    /// Hidden states at the scored rows of some samples, each with its number among all of them.
    pub(crate) fn hidden(&self, samples: &[(usize, &Sample)]) -> Result<B::Tensor, TrainError> {
        let Some(states) = &self.states else {
            return self.forward(&samples.iter().map(|(_, sample)| *sample).collect::<Vec<_>>());
        };
        let mut values = Vec::new();
        for (number, _) in samples {
            states.read(*number, &mut values)?;
        }
        let model = self.model()?;
        let width = model.decoder().hidden_size;
        let rows = values.len() / width.max(1);
        Ok(model.backend().tensor(values, rows, width)?)
    }

    /// The same by a forward pass, without dropout.
    fn forward(&self, samples: &[&Sample]) -> Result<B::Tensor, TrainError> {
        let packed: Vec<_> = samples.iter().map(|sample| sample.packed()).collect();
        let layout = Layout::new(&packed, false, Reduction::Sum);
        Ok(self.model()?.forward(layout, SCORING)?.hidden)
    }
}
