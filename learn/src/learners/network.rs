//! A one-hidden-layer network over standardised columns: the head of the two models of the published fork of
//! LESS.
//!
//! Linear, ReLU, dropout, linear; AdamW with clipped gradients; the parameters with the best loss on rows
//! that were set aside are kept. What differs from the fork: targets are standardised, dropout is off when it
//! predicts, and rows set aside are drawn by a seed.

use gstore_core::Cancel;
use serde::{Deserialize, Serialize};

use crate::error::LearnError;
use crate::matrix::{Matrix, add_scaled, dot};
use crate::random;

/// Units of the hidden layer.
const HIDDEN: usize = 512;
const DROPOUT: f64 = 0.1;
const BATCH: usize = 32;
const EPOCHS: u64 = 10;
const RATE: f32 = 1e-3;
const DECAY: f32 = 0.01;
const CLIP: f32 = 1.0;
/// One row in this many is set aside.
const ASIDE: usize = 10;

/// Levels of a classifier.
pub(super) const LEVELS: usize = 3;

/// What a network learns of each row.
pub(super) enum NetworkTarget<'a> {
    /// The level of each target, by row, with the weight of each level of each target.
    Levels(&'a [Vec<u8>], &'a [[f32; LEVELS]]),
    /// The standardised value of each target.
    Values(&'a Matrix),
}

/// Parameters: hidden weights by unit, hidden constants, output weights by output, output constants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Network {
    inputs: usize,
    pub(super) outputs: usize,
    parameters: Vec<f32>,
}

struct ParameterOffsets {
    bias: usize,
    out: usize,
    out_bias: usize,
    end: usize,
}

impl Network {
    fn parts(inputs: usize, outputs: usize) -> ParameterOffsets {
        let bias = inputs * HIDDEN;
        let out = bias + HIDDEN;
        let out_bias = out + outputs * HIDDEN;
        ParameterOffsets { bias, out, out_bias, end: out_bias + outputs }
    }

    /// Uniform within one over the root of the inputs, as torch begins.
    fn new(inputs: usize, outputs: usize, seed: u64) -> Self {
        let parts = Self::parts(inputs, outputs);
        let (hidden, out) = (1.0 / (inputs.max(1) as f64).sqrt(), 1.0 / (HIDDEN as f64).sqrt());
        let value = |i: usize| {
            let bound = if i < parts.out { hidden } else { out };
            ((random::uniform(seed, 0, i as u64) * 2.0 - 1.0) * bound) as f32
        };
        Self { inputs, outputs, parameters: (0..parts.end).map(value).collect() }
    }

    /// The outputs of a row of standardised columns.
    pub fn predict(&self, row: &[f64]) -> Vec<f32> {
        let row: Vec<f32> = row.iter().map(|x| *x as f32).collect();
        let hidden = self.hidden(&row);
        self.outputs_of(&hidden)
    }

    /// The hidden layer before dropout.
    fn hidden(&self, row: &[f32]) -> Vec<f32> {
        let parts = Self::parts(self.inputs, self.outputs);
        let unit = |u: usize| {
            let weights = &self.parameters[u * self.inputs..(u + 1) * self.inputs];
            (dot(weights, row) + self.parameters[parts.bias + u]).max(0.0)
        };
        (0..HIDDEN).map(unit).collect()
    }

    fn outputs_of(&self, hidden: &[f32]) -> Vec<f32> {
        let parts = Self::parts(self.inputs, self.outputs);
        let output = |o: usize| {
            let at = parts.out + o * HIDDEN;
            dot(&self.parameters[at..at + HIDDEN], hidden) + self.parameters[parts.out_bias + o]
        };
        (0..self.outputs).map(output).collect()
    }

    /// Adds the gradient of one row, whose outputs have the gradient `back`.
    fn add_gradient(&self, row: &[f32], hidden: &[f32], back: &[f32], gradient: &mut [f32]) {
        let parts = Self::parts(self.inputs, self.outputs);
        let mut of_hidden = vec![0.0f32; HIDDEN];
        for (o, back) in back.iter().enumerate() {
            let at = parts.out + o * HIDDEN;
            add_scaled(&mut of_hidden, *back, &self.parameters[at..at + HIDDEN]);
            add_scaled(&mut gradient[at..at + HIDDEN], *back, hidden);
            gradient[parts.out_bias + o] += back;
        }
        // A unit that was dropped or is not positive is 0 here. Those kept were scaled up.
        let scale = (1.0 / (1.0 - DROPOUT)) as f32;
        for (u, back) in of_hidden.iter().enumerate().filter(|(u, _)| hidden[*u] > 0.0) {
            let back = back * scale;
            add_scaled(&mut gradient[u * self.inputs..(u + 1) * self.inputs], back, row);
            gradient[parts.bias + u] += back;
        }
    }
}

pub(super) fn network(
    x: &Matrix,
    aim: &NetworkTarget<'_>,
    seed: u64,
    cancel: &Cancel,
) -> Result<Network, LearnError> {
    let rows = x.rows();
    if rows < 2 {
        let why = "a network sets rows aside".to_owned();
        return Err(LearnError::TooFewRows { rows, needed: 2, why });
    }
    let outputs = match aim {
        NetworkTarget::Levels(_, weights) => weights.len() * LEVELS,
        NetworkTarget::Values(values) => values.cols(),
    };
    let inputs: Vec<Vec<f32>> = (0..rows).map(|row| x.row(row).iter().map(|x| *x as f32).collect()).collect();
    let order = random::order(seed, 1, rows);
    let (aside, learned) = order.split_at((rows / ASIDE).max(1));
    let mut now = Network::new(x.cols(), outputs, seed);
    let mut adam = Adam::new(now.parameters.len());
    let mut best: Option<(f64, Network)> = None;
    for epoch in 0..EPOCHS {
        let order = random::order(seed, 2 + epoch, learned.len());
        for batch in order.chunks(BATCH) {
            cancel.check()?;
            let mut gradient = vec![0.0f32; now.parameters.len()];
            let total: f32 = batch.iter().map(|i| aim.weight(learned[*i])).sum();
            for row in batch.iter().map(|i| learned[*i]) {
                let mut hidden = now.hidden(&inputs[row]);
                for (unit, value) in hidden.iter_mut().enumerate() {
                    let kept = random::uniform(seed ^ epoch, 1000 + row as u64, unit as u64) >= DROPOUT;
                    *value *= if kept { (1.0 / (1.0 - DROPOUT)) as f32 } else { 0.0 };
                }
                let (_, mut back) = aim.loss(row, &now.outputs_of(&hidden));
                back.iter_mut().for_each(|back| *back /= total.max(f32::MIN_POSITIVE));
                now.add_gradient(&inputs[row], &hidden, &back, &mut gradient);
            }
            adam.step(&mut now.parameters, &mut gradient);
        }
        let loss: f64 =
            aside.iter().map(|row| aim.loss(*row, &now.outputs_of(&now.hidden(&inputs[*row]))).0).sum();
        if best.as_ref().is_none_or(|(least, _)| loss < *least) {
            best = Some((loss, now.clone()));
        }
    }
    Ok(best.map_or(now, |(_, best)| best))
}

impl NetworkTarget<'_> {
    /// What a row counts in a batch.
    fn weight(&self, row: usize) -> f32 {
        match self {
            Self::Levels(levels, weights) => {
                let of_target = |(level, weights): (&u8, &[f32; LEVELS])| weights[usize::from(*level)];
                levels[row].iter().zip(*weights).map(of_target).sum::<f32>() / weights.len().max(1) as f32
            }
            Self::Values(_) => 1.0,
        }
    }

    /// The loss of a row, mean over targets, and its gradient by the outputs.
    fn loss(&self, row: usize, outputs: &[f32]) -> (f64, Vec<f32>) {
        let mut loss = 0.0;
        let mut back = vec![0.0f32; outputs.len()];
        match self {
            Self::Levels(levels, weights) => {
                let share = 1.0 / weights.len().max(1) as f32;
                for (target, (level, weights)) in levels[row].iter().zip(*weights).enumerate() {
                    let at = target * LEVELS;
                    let chances = softmax(&outputs[at..at + LEVELS]);
                    let weight = weights[usize::from(*level)] * share;
                    loss -= f64::from(weight * chances[usize::from(*level)].max(f32::MIN_POSITIVE).ln());
                    for (other, chance) in chances.iter().enumerate() {
                        let wanted = f32::from(u8::from(other == usize::from(*level)));
                        back[at + other] = weight * (chance - wanted);
                    }
                }
            }
            Self::Values(values) => {
                let share = 1.0 / outputs.len().max(1) as f32;
                for (target, (output, value)) in outputs.iter().zip(values.row(row)).enumerate() {
                    let error = output - *value as f32;
                    loss += f64::from(error * error * share);
                    back[target] = 2.0 * error * share;
                }
            }
        }
        (loss, back)
    }
}

/// Shares that sum to one.
pub(super) fn softmax(values: &[f32]) -> Vec<f32> {
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = values.iter().map(|value| (value - most).exp()).collect();
    let total: f32 = powers.iter().sum();
    powers.iter().map(|power| power / total).collect()
}

/// AdamW with torch's defaults.
struct Adam {
    first: Vec<f32>,
    second: Vec<f32>,
    steps: i32,
}

impl Adam {
    fn new(size: usize) -> Self {
        Self { first: vec![0.0; size], second: vec![0.0; size], steps: 0 }
    }

    fn step(&mut self, parameters: &mut [f32], gradient: &mut [f32]) {
        let size = f64::from(dot(gradient, gradient)).sqrt() as f32;
        if size > CLIP {
            gradient.iter_mut().for_each(|g| *g *= CLIP / size);
        }
        self.steps += 1;
        let (first, second) = (1.0 - 0.9f32.powi(self.steps), 1.0 - 0.999f32.powi(self.steps));
        for (i, g) in gradient.iter().enumerate() {
            self.first[i] = 0.9 * self.first[i] + 0.1 * g;
            self.second[i] = 0.999 * self.second[i] + 0.001 * g * g;
            let step = (self.first[i] / first) / ((self.second[i] / second).sqrt() + 1e-8);
            parameters[i] -= RATE * (step + DECAY * parameters[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static RUN: Cancel = Cancel::new();

    fn rows() -> Matrix {
        Matrix::new(3, (0..600).map(|i| random::uniform(5, 0, i) * 3.0 - 1.5).collect())
    }

    #[test]
    fn values_are_learned_and_repeat() {
        let x = rows();
        let y = Matrix::new(1, (0..200).map(|row| x.row(row)[0].abs() + 0.5 * x.row(row)[1]).collect());
        let fit = network(&x, &NetworkTarget::Values(&y), 1, &RUN).unwrap();
        let error: f64 =
            (0..200).map(|row| (f64::from(fit.predict(x.row(row))[0]) - y.row(row)[0]).powi(2)).sum::<f64>()
                / 200.0;
        assert!(error < 0.25, "{error}");
        assert_eq!(fit, network(&x, &NetworkTarget::Values(&y), 1, &RUN).unwrap());
    }

    #[test]
    fn gradients_are_those_of_the_loss() {
        let x = rows();
        let levels: Vec<Vec<u8>> = (0..200u8).map(|row| vec![row % 3, (row / 3) % 3]).collect();
        let weights = [[0.5, 1.0, 2.0], [1.0; 3]];
        let aim = NetworkTarget::Levels(&levels, &weights);
        let row: Vec<f32> = x.row(4).iter().map(|x| *x as f32).collect();
        let net = Network::new(3, 6, 9);
        // As dropout that drops nothing would leave it.
        let scale = (1.0 / (1.0 - DROPOUT)) as f32;
        let loss = |net: &Network| {
            let hidden: Vec<f32> = net.hidden(&row).iter().map(|h| h * scale).collect();
            (aim.loss(4, &net.outputs_of(&hidden)), hidden)
        };
        let ((_, back), hidden) = loss(&net);
        let mut gradient = vec![0.0; net.parameters.len()];
        net.add_gradient(&row, &hidden, &back, &mut gradient);
        for i in [0, 77, 1500, 1536 + 3, 2048 + 40, gradient.len() - 1] {
            let at = |change: f32| {
                let mut net = net.clone();
                net.parameters[i] += change;
                loss(&net).0.0
            };
            let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((slope - f64::from(gradient[i])).abs() < 2e-3, "{i}: {slope} {}", gradient[i]);
        }
    }
}
