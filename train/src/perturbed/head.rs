//! The perturbed objective as the loss of a training step: factors of each scored row of a piece.

use gstore_model::{Backend, Forward, Model, Sink, StartingPoint};

use super::objective::{Normalizer, Perturbation, Variant};
use super::start::EnsembleStart;
use crate::error::TrainError;
use crate::sample::{PerturbationTerm, Sample, WeightedSample};

/// A row of a perturbed step.
#[derive(Debug, Clone, Copy)]
pub struct PerturbedRow<'a> {
    /// The text.
    pub sample: &'a Sample,
    /// Its number among those of the ensemble.
    pub number: usize,
    /// Its noise.
    pub xi: f64,
}

/// The objective of a step, and where it starts from.
pub struct PerturbedHead<'a, B: Backend> {
    /// Variant and scales.
    pub perturbation: Perturbation,
    /// The starting point.
    pub start: &'a EnsembleStart<B>,
}

/// The rows of a step with the weights of their tokens; none if nothing is scored.
pub(crate) fn weighted<'a>(
    rows: &[PerturbedRow<'a>],
    perturbation: &Perturbation,
) -> Option<Vec<WeightedSample<'a>>> {
    let all: usize = rows.iter().map(|row| row.sample.scored_tokens()).sum();
    if all == 0 {
        return None;
    }
    let count = rows.len() as f64;
    let gamma = if perturbation.needs_base() { 1.0 } else { perturbation.gamma };
    let weigh = |row: &PerturbedRow<'a>| {
        let tokens = match perturbation.normalizer {
            Normalizer::Step => all as f64 / count,
            Normalizer::Row => row.sample.scored_tokens().max(1) as f64,
        };
        let term = PerturbationTerm { number: row.number, xi: row.xi, tokens };
        WeightedSample { sample: row.sample, weight: (gamma / (count * tokens)) as f32, term: Some(term) }
    };
    Some(rows.iter().map(weigh).collect())
}

/// The objective of the samples of one piece.
pub(crate) struct PieceHead<'a, B: Backend> {
    model: &'a Model<B>,
    hidden: B::Tensor,
    factors: Vec<[f32; 2]>,
    perturbation: Perturbation,
    terms: Vec<(PerturbationTerm, f64)>,
    /// What the values of the rows have too much of, weighted.
    surplus: f64,
}

impl<'a, B: Backend + Clone> PerturbedHead<'a, B> {
    /// None where the plain loss is minimised.
    pub(crate) fn of_piece(
        &self,
        samples: &[WeightedSample<'_>],
    ) -> Result<Option<PieceHead<'a, B>>, TrainError> {
        if !self.perturbation.needs_base() {
            return Ok(None);
        }
        let terms: Option<Vec<(PerturbationTerm, f64)>> =
            samples.iter().map(|w| Some((w.term?, f64::from(w.weight)))).collect();
        let terms = terms.ok_or_else(|| TrainError::Option("samples without noise".to_owned()))?;
        let numbered: Vec<(usize, &Sample)> =
            samples.iter().zip(&terms).map(|(w, (term, _))| (term.number, w.sample)).collect();
        Ok(Some(PieceHead {
            model: self.start.model()?,
            hidden: self.start.hidden(&numbered)?,
            factors: Vec::new(),
            perturbation: self.perturbation,
            terms,
            surplus: 0.0,
        }))
    }
}

impl<B: Backend> PieceHead<'_, B> {
    /// Losses of the rows, and the factors of their gradient to the sink.
    pub(crate) fn backward(
        &mut self,
        model: &Model<B>,
        forward: Forward<B>,
        sink: &mut dyn Sink<B>,
    ) -> Result<Vec<f32>, TrainError> {
        self.settle(model, &forward)?;
        let from = StartingPoint { model: self.model, hidden: &self.hidden, factors: &self.factors };
        Ok(model.backward_perturbed(forward, &from, sink)?)
    }

    /// What is taken from the weighted sum of the rows' losses: the square of efim has twice its own value
    /// as the value of its slope.
    pub(crate) fn surplus(&self) -> f64 {
        self.surplus
    }

    /// Sets the factors of each scored row.
    fn settle(&mut self, model: &Model<B>, forward: &Forward<B>) -> Result<(), TrainError> {
        let (rows, spans) = (forward.layout.scored_rows.len(), &forward.layout.scored_spans);
        let squared = self.perturbation.variant == Variant::Efim;
        let changes = match squared {
            true => {
                let factors = vec![[1.0, 0.0]; rows];
                let from = StartingPoint { model: self.model, hidden: &self.hidden, factors: &factors };
                model.perturbed_losses(forward, &from)?
            }
            false => Vec::new(),
        };
        self.factors = vec![[0.0; 2]; rows];
        for (span, (term, weight)) in spans.iter().zip(&self.terms) {
            let mut risen = 0.0;
            if squared {
                let change: f64 = changes[span.clone()].iter().map(|change| f64::from(*change)).sum();
                risen = change / term.tokens;
                self.surplus += weight * term.tokens * self.perturbation.gamma * risen * risen;
            }
            self.factors[span.clone()].fill(self.perturbation.factors(risen, term.xi));
        }
        Ok(())
    }
}
