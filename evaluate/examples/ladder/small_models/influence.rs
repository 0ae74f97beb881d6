//! Influence functions of small models, exact and after a random projection.
//!
//! `influence(i, q) = g_q^T (C + ridge)^-1 g_i / n`, with the curvature `C` of Gauss and Newton, which is the
//! Hessian of logistic regression: what the loss of `q` gains without `i` to first order. Source: Koh and
//! Liang 2017, equation 2, with the sign that a row which lowers the query's loss has a positive score.

use gstore_evaluate::EvaluateError;
use gstore_evaluate::attribution::Scores;

use super::fit::{local, logit_loss};
use super::matrix::{Cholesky, dot};
use super::model::SmallModel;
use super::problem::{ClassificationData, normal};

/// Gradients of the losses of all rows.
fn gradients(model: &impl SmallModel, parameters: &[f64], problem: &ClassificationData) -> Vec<Vec<f64>> {
    let of = |row: usize| {
        let (features, label) = problem.row(row);
        let mut gradient = vec![0.0; parameters.len()];
        let (_, slope, _) = logit_loss(model.logit(parameters, features, &mut gradient), label);
        gradient.iter_mut().for_each(|x| *x *= slope);
        gradient
    };
    (0..problem.rows()).map(of).collect()
}

/// Influence of the rows of a problem on queries.
///
/// # Errors
/// A curvature that cannot be inverted, which a positive ridge prevents.
pub fn influence(
    method: &str,
    model: &impl SmallModel,
    parameters: &[f64],
    (problem, queries): (&ClassificationData, &ClassificationData),
) -> Result<Scores, EvaluateError> {
    let unit = |at: usize| (0..parameters.len()).map(|other| f64::from(u8::from(at == other))).collect();
    let all: Vec<Vec<f64>> = (0..parameters.len()).map(unit).collect();
    between(method, model, parameters, (problem, queries), &all)
}

/// The same between gradients and a curvature that are projected to `dimension` by one random matrix of
/// normal numbers; the first rows of it are the same for every dimension.
///
/// # Errors
/// As [`influence`], and a dimension of 0 or above the number of parameters.
pub fn projected_influence(
    method: &str,
    model: &impl SmallModel,
    parameters: &[f64],
    (problem, queries): (&ClassificationData, &ClassificationData),
    (dimension, seed): (usize, u64),
) -> Result<Scores, EvaluateError> {
    let width = parameters.len();
    if dimension == 0 || dimension > width {
        return Err(EvaluateError::Option(format!("{width} parameters have no projection to {dimension}")));
    }
    let row = |at: usize| (0..width).map(|column| normal(seed, 5, (at * width + column) as u64)).collect();
    let rows: Vec<Vec<f64>> = (0..dimension).map(row).collect();
    between(method, model, parameters, (problem, queries), &rows)
}

fn factor(
    model: &impl SmallModel,
    parameters: &[f64],
    problem: &ClassificationData,
    rows: &[Vec<f64>],
) -> Result<Cholesky, EvaluateError> {
    let all: Vec<u32> = (0..problem.rows() as u32).collect();
    let curvature = local(model, parameters, problem, &all).curvature.plus_diagonal(model.ridge());
    curvature.projected(rows).cholesky().ok_or_else(|| {
        EvaluateError::Option("the curvature of a small model cannot be inverted: give it a ridge".to_owned())
    })
}

fn between(
    method: &str,
    model: &impl SmallModel,
    parameters: &[f64],
    (problem, queries): (&ClassificationData, &ClassificationData),
    rows: &[Vec<f64>],
) -> Result<Scores, EvaluateError> {
    let factor = factor(model, parameters, problem, rows)?;
    let project = |gradient: &Vec<f64>| -> Vec<f64> { rows.iter().map(|row| dot(row, gradient)).collect() };
    let own: Vec<Vec<f64>> = gradients(model, parameters, problem).iter().map(project).collect();
    let n = problem.rows() as f64;
    let mut values = Vec::with_capacity(own.len() * queries.rows());
    for query in gradients(model, parameters, queries).iter().map(project) {
        let solved = factor.solve(&query);
        values.extend(own.iter().map(|gradient| dot(&solved, gradient) / n));
    }
    Scores::new(method, problem.rows(), values)
}

/// The influence of each row on itself, as scores of one query.
///
/// # Errors
/// As [`influence`].
pub fn self_influence(
    method: &str,
    model: &impl SmallModel,
    parameters: &[f64],
    problem: &ClassificationData,
) -> Result<Scores, EvaluateError> {
    let unit = |at: usize| (0..parameters.len()).map(|other| f64::from(u8::from(at == other))).collect();
    let all: Vec<Vec<f64>> = (0..parameters.len()).map(unit).collect();
    let factor = factor(model, parameters, problem, &all)?;
    let n = problem.rows() as f64;
    let value = |gradient: &Vec<f64>| dot(&factor.solve(gradient), gradient) / n;
    let values = gradients(model, parameters, problem).iter().map(value).collect();
    Scores::new(method, problem.rows(), values)
}
