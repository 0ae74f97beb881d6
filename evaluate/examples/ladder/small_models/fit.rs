//! Training to the optimum, and retraining on subsets.

use gstore_core::{Cancel, parallel};
use gstore_evaluate::EvaluateError;
use gstore_evaluate::attribution::{Ids, Signal, Subset, Truth};

use super::matrix::{Square, dot};
use super::model::SmallModel;
use super::problem::ClassificationData;

/// Norm of the gradient at which a model is trained.
const TRAINED: f64 = 1e-8;

/// Steps at most.
const STEPS: usize = 500;

/// Damping at which no step is left that lowers the loss.
const STUCK: f64 = 1e12;

/// Gradient and curvature of the mean loss over rows, without those of the squares of the parameters.
pub(super) struct Local {
    pub value: f64,
    pub gradient: Vec<f64>,
    /// Of Gauss and Newton: mean of `p (1 - p)` times the outer product of the logit's gradient. For logistic
    /// regression it is the Hessian.
    pub curvature: Square,
}

/// Loss of a row by its logit, and its derivatives by it.
pub(super) fn logit_loss(logit: f64, label: bool) -> (f64, f64, f64) {
    let own = if label { logit } else { -logit };
    // ln(1 + exp(-own)) without overflow.
    let loss = (-own).max(0.0) + (-own.abs()).exp().ln_1p();
    let p = 1.0 / (1.0 + (-logit).exp());
    (loss, p - f64::from(u8::from(label)), p * (1.0 - p))
}

/// The loss of a row.
fn loss(model: &impl SmallModel, parameters: &[f64], problem: &ClassificationData, row: usize) -> f64 {
    let (features, label) = problem.row(row);
    let mut gradient = vec![0.0; parameters.len()];
    logit_loss(model.logit(parameters, features, &mut gradient), label).0
}

pub(super) fn local(
    model: &impl SmallModel,
    parameters: &[f64],
    problem: &ClassificationData,
    rows: &[u32],
) -> Local {
    let n = rows.len().max(1) as f64;
    let mut of_row = vec![0.0; parameters.len()];
    let mut found = Local {
        value: 0.0,
        gradient: vec![0.0; parameters.len()],
        curvature: Square::zeros(parameters.len()),
    };
    for row in rows {
        let (features, label) = problem.row(*row as usize);
        let (loss, slope, bend) = logit_loss(model.logit(parameters, features, &mut of_row), label);
        found.value += loss / n;
        found.gradient.iter_mut().zip(&of_row).for_each(|(sum, x)| *sum += slope / n * x);
        found.curvature.add_outer(bend / n, &of_row);
    }
    found
}

fn objective(model: &impl SmallModel, parameters: &[f64], problem: &ClassificationData, rows: &[u32]) -> f64 {
    let n = rows.len().max(1) as f64;
    let losses: f64 = rows.iter().map(|row| loss(model, parameters, problem, *row as usize)).sum();
    losses / n + 0.5 * model.ridge() * dot(parameters, parameters)
}

/// Trains on some rows from given parameters until the gradient is gone: steps of Gauss and Newton, damped
/// where they do not lower the loss (Levenberg and Marquardt).
///
/// # Errors
/// Rows or parameters that do not fit the problem; a loss that is not finite.
pub fn fit(
    model: &impl SmallModel,
    problem: &ClassificationData,
    rows: &[u32],
    start: &[f64],
) -> Result<Vec<f64>, EvaluateError> {
    let bad = |what: &str| EvaluateError::Option(format!("a small model {what}"));
    if rows.is_empty() || rows.iter().any(|row| *row as usize >= problem.rows()) {
        return Err(bad("is trained on rows that there are"));
    }
    if start.len() != model.parameters(problem.columns()) || model.ridge().is_nan() {
        return Err(bad("begins with a number for each parameter"));
    }
    let mut parameters = start.to_vec();
    let mut damping = 0.0;
    for _ in 0..STEPS {
        let Local { value, mut gradient, curvature } = local(model, &parameters, problem, rows);
        let value = value + 0.5 * model.ridge() * dot(&parameters, &parameters);
        gradient.iter_mut().zip(&parameters).for_each(|(sum, x)| *sum += model.ridge() * x);
        if !value.is_finite() {
            return Err(bad("has a loss that is not finite"));
        }
        if dot(&gradient, &gradient).sqrt() < TRAINED {
            break;
        }
        let next = loop {
            let step =
                curvature.plus_diagonal(model.ridge() + damping).cholesky().map(|of| of.solve(&gradient));
            let moved =
                step.map(|step| -> Vec<f64> { parameters.iter().zip(step).map(|(x, s)| x - s).collect() });
            match moved.filter(|moved| objective(model, moved, problem, rows) <= value) {
                Some(moved) => break Some(moved),
                None if damping > STUCK => break None,
                None => damping = (damping * 4.0).max(1e-6),
            }
        };
        let Some(next) = next else { break };
        parameters = next;
        damping = if damping < 1e-9 { 0.0 } else { damping / 4.0 };
    }
    Ok(parameters)
}

/// Retrains a model on subsets of a problem, each from the same parameters, and asks all of them about the
/// queries. Rows are called by their places, queries too.
///
/// # Errors
/// As [`fit`]; being told to stop.
pub fn retrain(
    model: &(impl SmallModel + Sync),
    (problem, queries): (&ClassificationData, &ClassificationData),
    subsets: Vec<Subset>,
    start: &[f64],
    (threads, cancel): (usize, &Cancel),
) -> Result<Truth, EvaluateError> {
    let outputs = parallel::map(&subsets, 1, threads, cancel, |subset| {
        let parameters = fit(model, problem, &subset.rows, start)?;
        let output = |query| -loss(model, &parameters, queries, query);
        Ok::<_, EvaluateError>(vec![(0..queries.rows()).map(output).collect::<Vec<f64>>()])
    })?;
    let names = |count: usize, of: &str| Ids::new((0..count).map(|at| at.to_string()), of);
    Ok(Truth {
        pool: names(problem.rows(), "the problem")?,
        queries: names(queries.rows(), "the queries")?,
        subsets,
        signal: Signal::NegativeLoss,
        outputs,
    })
}
