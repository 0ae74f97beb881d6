//! One batch through a model, forward and backward, for a consumer of factors.

use std::ops::Range;

use gstore_model::architectures::LinearId;
use gstore_model::{
    Backend, Forward, ForwardOptions, LastRows, Model, Objective, SavedActivations, Sink, Slot,
};

use super::bases::ModuleBases;
use super::batch::{CurvatureBatch, Labels, Measurement};
use super::error::PassError;
use super::head::HeadRows;
use super::labels::sampled;
use super::modules::LinearModules;
use super::sink::{FactorConsumer, ModuleSink};

pub(super) struct BatchRunner<B: Backend> {
    pub model: Model<B>,
    pub keep: SavedActivations,
    pub modules: LinearModules,
    pub bases: ModuleBases<B>,
}

impl<B: Backend> BatchRunner<B> {
    /// The forward pass of a batch of at least one token, for what a sink wants.
    pub fn forward(
        &self,
        batch: &CurvatureBatch<'_>,
        sink: &dyn Sink<B>,
        every_row: bool,
    ) -> Result<Forward<B>, PassError> {
        batch.check(self.model.decoder())?;
        let pass = ForwardOptions {
            last_rows: if every_row { LastRows::All } else { LastRows::Scored },
            keep_from: self.model.lowest_wanted(sink),
            keep: self.keep,
            tap: None,
        };
        Ok(self.model.forward(batch.layout(every_row), pass)?)
    }

    /// Losses of the samples; the factors go to the consumer.
    pub fn run<C: FactorConsumer<B>>(
        &self,
        batch: &CurvatureBatch<'_>,
        consumer: C,
    ) -> Result<Vec<f32>, PassError> {
        if !batch.has_tokens() {
            return Ok(vec![0.0; batch.samples.len()]);
        }
        let every_row = consumer.every_row();
        let mut sink = ModuleSink::new(&self.modules, &batch.wanted, consumer);
        let mut forward = self.forward(batch, &sink, every_row)?;
        if let Labels::Sampled { seed, pass, rows } = batch.labels {
            forward.layout.targets = sampled(&self.model, &forward, [seed, pass], rows)?;
        }
        if sink.wants(Slot::Linear(LinearId::Head)) {
            sink.head = Some(HeadRows::new(&self.model, &forward)?);
        }
        let objective = match batch.measurement {
            Measurement::Loss => Objective::CrossEntropy { smoothing: 0.0 },
            Measurement::Margin => Objective::Margin,
        };
        let (weights, spans) = (forward.layout.weights.clone(), forward.layout.scored_spans.clone());
        let losses = self.model.backward(forward, objective, &mut sink);
        match sink.failed {
            Some(error) => Err(error),
            None => summed(&losses?, &weights, &spans),
        }
    }
}

/// The loss of each sample.
fn summed(losses: &[f32], weights: &[f32], spans: &[Range<usize>]) -> Result<Vec<f32>, PassError> {
    let of_sample = |(sample, span): (usize, &Range<usize>)| {
        let terms = losses[span.clone()].iter().zip(&weights[span.clone()]);
        let sum = terms.fold(0.0, |sum, (loss, weight)| sum + f64::from(*loss) * f64::from(*weight));
        match sum as f32 {
            value if value.is_finite() => Ok(value),
            value => Err(PassError::Loss { sample, value }),
        }
    };
    spans.iter().enumerate().map(of_sample).collect()
}
