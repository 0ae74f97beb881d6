//! Logistic regression of "in the true top", by Newton steps that conjugate gradients solve.
//!
//! Minimises |w|^2 / 2 + C * sum of log losses, b free; strictly convex, so the minimum is one.

use gstore_core::Cancel;

use super::linear::sigmoid;
use crate::error::LearnError;
use crate::matrix::{Matrix, add_scaled, dot};

/// Largest part of the gradient at the solution.
pub(super) const GRADIENT: f64 = 1e-8;

/// Newton steps at most. A dozen is usual.
const STEPS: usize = 200;

/// A fit of one target.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Logistic {
    /// A coefficient for each standardised column.
    pub coefficients: Vec<f64>,
    /// The constant.
    pub intercept: f64,
    /// Largest part of the gradient where it ended.
    pub gradient: f64,
}

/// Fits `labels` over standardised columns.
///
/// Where all labels are the same there is no minimum, and the constant says how often half a row more of the
/// other would be.
///
/// # Errors
/// Being told to stop.
pub(super) fn logistic(x: &Matrix, labels: &[bool], c: f64, cancel: &Cancel) -> Result<Logistic, LearnError> {
    let positive = labels.iter().filter(|label| **label).count();
    let odds = (positive as f64 + 0.5) / ((labels.len() - positive) as f64 + 0.5);
    let mut at = vec![0.0; x.cols() + 1];
    at[x.cols()] = odds.ln();
    let problem = LogisticProblem { x, labels, c };
    if positive == 0 || positive == labels.len() {
        return Ok(problem.fit(at, 0.0));
    }
    let mut state = problem.at(&at);
    for _ in 0..STEPS {
        cancel.check()?;
        if largest(&state.gradient) <= GRADIENT {
            break;
        }
        let step = problem.newton(&state);
        let slope = dot(&step, &state.gradient);
        let mut length = 1.0;
        let next = loop {
            let mut place = at.clone();
            add_scaled(&mut place, length, &step);
            let next = problem.at(&place);
            // Close to the minimum values differ by less than their rounding, and the full step is right.
            let rounding = 1e-13 * (1.0 + state.value.abs());
            if next.value <= state.value + 1e-4 * length * slope + rounding {
                break Some((place, next));
            }
            length *= 0.5;
            if length < 1e-10 {
                break None;
            }
        };
        let Some((place, next)) = next else { break };
        (at, state) = (place, next);
    }
    let gradient = largest(&state.gradient);
    Ok(problem.fit(at, gradient))
}

/// The largest gradient of those fits that ended before theirs was as small as it is meant to be.
pub(super) fn unfinished(fits: &[Logistic]) -> Option<f64> {
    fits.iter().map(|fit| fit.gradient).filter(|gradient| *gradient > GRADIENT).reduce(f64::max)
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, value| value.abs().max(most))
}

struct LogisticProblem<'a> {
    x: &'a Matrix,
    labels: &'a [bool],
    c: f64,
}

/// Value, gradient and curvature at a place: coefficients, then the constant.
struct Derivatives {
    value: f64,
    gradient: Vec<f64>,
    /// C p (1 - p) of each row.
    curvature: Vec<f64>,
}

impl LogisticProblem<'_> {
    fn fit(&self, mut at: Vec<f64>, gradient: f64) -> Logistic {
        let intercept = at.pop().unwrap_or_default();
        Logistic { coefficients: at, intercept, gradient }
    }

    fn at(&self, place: &[f64]) -> Derivatives {
        let p = self.x.cols();
        let (w, b) = (&place[..p], place[p]);
        let mut gradient = w.to_vec();
        gradient.push(0.0);
        let mut value = 0.5 * dot(w, w);
        let mut curvature = Vec::with_capacity(self.labels.len());
        for (row, label) in self.labels.iter().enumerate() {
            let x = self.x.row(row);
            let z = dot(x, w) + b;
            let signed = if *label { -z } else { z };
            // log(1 + exp(signed)) without overflow.
            value += self.c * (signed.max(0.0) + (-signed.abs()).exp().ln_1p());
            let p_row = sigmoid(z);
            let error = self.c * (p_row - f64::from(u8::from(*label)));
            add_scaled(&mut gradient[..p], error, x);
            gradient[p] += error;
            curvature.push(self.c * p_row * (1.0 - p_row));
        }
        Derivatives { value, gradient, curvature }
    }

    /// The Hessian times a vector.
    fn curve(&self, state: &Derivatives, vector: &[f64]) -> Vec<f64> {
        let p = self.x.cols();
        let mut found = vector[..p].to_vec();
        found.push(0.0);
        for (row, weight) in state.curvature.iter().enumerate() {
            let x = self.x.row(row);
            let part = weight * (dot(x, &vector[..p]) + vector[p]);
            add_scaled(&mut found[..p], part, x);
            found[p] += part;
        }
        found
    }

    /// The step to the minimum of the quadratic model, to a part of the gradient that shrinks with it.
    fn newton(&self, state: &Derivatives) -> Vec<f64> {
        let p = self.x.cols();
        let mut diagonal = vec![1.0; p + 1];
        diagonal[p] = state.curvature.iter().sum::<f64>().max(1e-12);
        for (row, weight) in state.curvature.iter().enumerate() {
            diagonal.iter_mut().zip(self.x.row(row)).for_each(|(d, x)| *d += weight * x * x);
        }
        let size = dot(&state.gradient, &state.gradient).sqrt();
        let enough = size * size.sqrt().min(0.1);
        let mut step = vec![0.0; p + 1];
        let mut rest: Vec<f64> = state.gradient.iter().map(|g| -g).collect();
        let scaled = |rest: &[f64]| rest.iter().zip(&diagonal).map(|(r, d)| r / d).collect::<Vec<f64>>();
        let mut direction = scaled(&rest);
        let mut product = dot(&rest, &direction);
        for _ in 0..(p + 1) * 2 {
            let curved = self.curve(state, &direction);
            let length = product / dot(&direction, &curved);
            if !length.is_finite() {
                break;
            }
            add_scaled(&mut step, length, &direction);
            add_scaled(&mut rest, -length, &curved);
            if dot(&rest, &rest).sqrt() <= enough {
                break;
            }
            let next = scaled(&rest);
            let after = dot(&rest, &next);
            let keep = after / product;
            direction.iter_mut().zip(&next).for_each(|(d, n)| *d = n + keep * *d);
            product = after;
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static RUN: Cancel = Cancel::new();

    #[test]
    fn the_gradient_vanishes_also_where_labels_can_be_separated() {
        let x = Matrix::new(2, (0..60).map(|i| (f64::from(i) * 1.3).sin() * 2.0).collect());
        for c in [0.1, 1e4] {
            let labels: Vec<bool> = (0..30).map(|row| x.row(row)[0] > 0.5).collect();
            let fit = logistic(&x, &labels, c, &RUN).unwrap();
            assert!(fit.gradient <= 1e-6, "{fit:?}");
            assert!(fit.coefficients[0] > 0.0);
        }
    }

    #[test]
    fn a_fit_that_ended_early_is_known() {
        let of = |gradient| Logistic { coefficients: Vec::new(), intercept: 0.0, gradient };
        assert_eq!(unfinished(&[of(1e-9), of(0.0)]), None);
        assert_eq!(unfinished(&[of(1e-9), of(3e-7), of(2e-8)]), Some(3e-7));
    }

    #[test]
    fn labels_that_are_all_the_same_give_a_finite_constant() {
        let x = Matrix::new(1, vec![-1.0, 0.0, 1.0]);
        let fit = logistic(&x, &[false; 3], 1.0, &RUN).unwrap();
        assert_eq!(fit.coefficients, [0.0]);
        assert!((sigmoid(fit.intercept) - 0.125).abs() < 1e-12, "{fit:?}");
    }
}
