//! Models of two classes with one logit: logistic regression, and a network of one hidden layer.

use super::problem::normal;

/// A model with one logit, positive for the class `true`. Its loss is `ln(1 + exp(-logit))` of the right
/// side, plus half of [`SmallModel::ridge`] times the squares of its parameters.
pub trait SmallModel {
    /// Parameters for so many features.
    fn parameters(&self, columns: usize) -> usize;
    /// Parameters that training begins with.
    fn start(&self, columns: usize) -> Vec<f64>;
    /// Weight of the squares of the parameters.
    fn ridge(&self) -> f64;
    /// The logit of a row; `gradient` becomes its derivative by the parameters.
    fn logit(&self, parameters: &[f64], row: &[f64], gradient: &mut [f64]) -> f64;
}

/// Logistic regression with an intercept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Logistic {
    /// Weight of the squares of the parameters.
    pub ridge: f64,
}

/// A network of one hidden layer of hyperbolic tangents.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Network {
    /// Hidden units.
    pub hidden: usize,
    /// Weight of the squares of the parameters.
    pub ridge: f64,
    /// Seed of the parameters that training begins with.
    pub seed: u64,
}

impl SmallModel for Logistic {
    fn parameters(&self, columns: usize) -> usize {
        columns + 1
    }

    fn start(&self, columns: usize) -> Vec<f64> {
        vec![0.0; columns + 1]
    }

    fn ridge(&self) -> f64 {
        self.ridge
    }

    fn logit(&self, parameters: &[f64], row: &[f64], gradient: &mut [f64]) -> f64 {
        let inputs = row.iter().chain([&1.0]);
        let mut logit = 0.0;
        for ((slot, weight), input) in gradient.iter_mut().zip(parameters).zip(inputs) {
            *slot = *input;
            logit += weight * input;
        }
        logit
    }
}

impl SmallModel for Network {
    /// Of each unit its weights and intercept, then the weights of the units and an intercept.
    fn parameters(&self, columns: usize) -> usize {
        self.hidden * (columns + 2) + 1
    }

    fn start(&self, columns: usize) -> Vec<f64> {
        let scale = 1.0 / (columns as f64 + 1.0).sqrt();
        (0..self.parameters(columns)).map(|at| scale * normal(self.seed, 4, at as u64)).collect()
    }

    fn ridge(&self) -> f64 {
        self.ridge
    }

    fn logit(&self, parameters: &[f64], row: &[f64], gradient: &mut [f64]) -> f64 {
        let width = row.len() + 1;
        let (units, outer) = parameters.split_at(self.hidden * width);
        let (of_units, of_outer) = gradient.split_at_mut(self.hidden * width);
        let mut logit = 0.0;
        for (unit, weights) in units.chunks_exact(width).enumerate() {
            let inputs = || row.iter().chain([&1.0]);
            let value = weights.iter().zip(inputs()).map(|(w, x)| w * x).sum::<f64>().tanh();
            logit += outer[unit] * value;
            of_outer[unit] = value;
            let slope = outer[unit] * (1.0 - value * value);
            let slots = of_units[unit * width..(unit + 1) * width].iter_mut();
            slots.zip(inputs()).for_each(|(slot, x)| *slot = slope * x);
        }
        of_outer[self.hidden] = 1.0;
        logit + outer[self.hidden]
    }
}
