//! Queries by an iterative solve: `(G + damping) x = g`, with the Gauss-Newton matrix G of the rows that
//! factors were fitted on, where the factors precondition.
//!
//! G is the mean over rows of what their samples have, as the curvature of the diagonal and of EK-FAC is, and
//! the damping of each module is that of its factors.

use std::ops::{ControlFlow, Range};

use gstore_core::parallel;
use gstore_curvature::{
    Filter, LinearSystem, Module, ProductResult, SampleGradient, SolveLimits, conjugate_gradients,
};
use gstore_ingest::curvature::{PassError, TargetSample};

use super::forms::{ColumnValues, FilterColumns};
use super::gradients::QueryGradients;
use super::plan::ScorePlan;
use super::request::SolvedQuery;
use super::solve_data::SolveData;
use crate::factors::error::FactorJobError;
use crate::factors::passes::{RowPass, sum};
use crate::work::JobContext;

/// Solves for the queries of these names and gradients, and adds what they become to the columns: zeros for
/// one that cannot be solved for, which says why.
pub(super) fn solutions(
    plan: &ScorePlan,
    data: &SolveData,
    (names, gradients): (&[&str], QueryGradients),
    collected: &mut [Vec<FilterColumns>],
    work: &mut JobContext<'_>,
) -> Result<Vec<SolvedQuery>, FactorJobError> {
    let modules = plan.engine.modules();
    let side = |at: usize| -> Vec<f64> {
        let of_module = |all: &Vec<SampleGradient>| -> Vec<f64> {
            all[at].values().iter().map(|value| f64::from(*value)).collect()
        };
        gradients.iter().flat_map(of_module).collect()
    };
    let sides: Vec<(&str, Vec<f64>)> = names.iter().enumerate().map(|(at, name)| (*name, side(at))).collect();
    drop(gradients);
    let mut system = DampedCurvature::new(plan, data, work)?;
    let found = conjugate_gradients(&mut system, sides, data.limits)?;
    let (spans, filter) = (system.spans, system.filter);
    let ended = found.iter().filter(|solution| solution.broken.is_none());
    let above = ended.filter(|solution| solution.residual > data.limits.tolerance).count();
    if above > 0 {
        let (all, SolveLimits { tolerance, iterations }) = (found.len(), data.limits);
        let text = format!(
            "{above} of {all} queries have a residual above {tolerance} after {iterations} iterations"
        );
        work.progress.note(&text);
    }
    for (columns, module) in collected.iter_mut().zip(modules) {
        columns.iter_mut().for_each(|into| into.reserve(names.len(), module));
    }
    let mut solved = Vec::with_capacity(found.len());
    for (name, mut solution) in names.iter().zip(found) {
        let is_large = |(module, span): (&Module, &Range<usize>)| {
            ColumnValues::of(&solution.x[span.clone()])
                .check(module, filter)
                .err()
                .map(|error| format!("query `{name}`: {error}"))
        };
        let large = modules.iter().zip(&spans).find_map(is_large);
        if large.is_some() {
            solution.x.fill(0.0);
        }
        for (columns, span) in collected.iter_mut().zip(&spans) {
            columns.iter_mut().for_each(|into| into.push(&solution.x[span.clone()]));
        }
        let (iterations, residual, start) = (solution.iterations, solution.residual, solution.start);
        let failed = solution.broken.or(large);
        solved.push(SolvedQuery { query: (*name).to_owned(), iterations, residual, start, failed });
    }
    Ok(solved)
}

/// `G + damping`, and its factors.
struct DampedCurvature<'a, 'b> {
    plan: &'a ScorePlan,
    data: &'a SolveData,
    filter: Filter,
    /// Where the values of each module are.
    spans: Vec<Range<usize>>,
    /// Of each module.
    dampings: Vec<f64>,
    work: &'a mut JobContext<'b>,
}

impl<'a, 'b> DampedCurvature<'a, 'b> {
    fn new(
        plan: &'a ScorePlan,
        data: &'a SolveData,
        work: &'a mut JobContext<'b>,
    ) -> Result<Self, FactorJobError> {
        let modules = plan.engine.modules();
        let filter = plan.how.filters.first().copied().unwrap_or(Filter::Identity);
        let damping = |module: &Module| -> Result<f64, FactorJobError> {
            let eigenvalues = plan.factors_of(0, module)?.eigenvalues(module, plan.how.strategy)?;
            Ok(filter.damping().unwrap_or_default().of(&eigenvalues))
        };
        let span = |start: &mut usize, module: &Module| {
            let begin = *start;
            *start += module.len();
            Some(begin..*start)
        };
        let dampings = modules.iter().map(damping).collect::<Result<_, _>>()?;
        Ok(Self { plan, data, filter, spans: modules.iter().scan(0, span).collect(), dampings, work })
    }
}

impl DampedCurvature<'_, '_> {
    fn multiplied(&mut self, vectors: &[&[f64]]) -> Result<Vec<Vec<f64>>, FactorJobError> {
        let (plan, data) = (self.plan, self.data);
        let directions = plan.engine.directions(vectors).map_err(FactorJobError::other)?;
        let over = RowPass {
            batches: &data.batches,
            rows: &data.rows,
            threads: plan.extent.threads,
            engines: &plan.engine,
            seen: None,
        };
        let empty = || -> Vec<Vec<f64>> { vectors.iter().map(|vector| vec![0.0; vector.len()]).collect() };
        let add = |worker: usize, samples: &[TargetSample<'_>], _: &[u64], sums: &mut Vec<Vec<f64>>| {
            directions[worker % directions.len()].products(samples, sums)
        };
        let mut products = sum("products with the curvature", &over, &empty, &add, self.work)?;
        let rows = data.rows.len() as f64;
        for (product, vector) in products.iter_mut().zip(vectors) {
            for (span, damping) in self.spans.iter().zip(&self.dampings) {
                let values = product[span.clone()].iter_mut().zip(&vector[span.clone()]);
                values.for_each(|(product, value)| *product = *product / rows + damping * value);
            }
        }
        Ok(products)
    }
}

/// The rows of the batch that has numbers that are not finite, if those are what is wrong.
fn not_finite_in(error: &FactorJobError) -> Option<[u64; 2]> {
    let FactorJobError::Batch { rows, why, .. } = error else { return None };
    let is_of_values = matches!(**why, PassError::NotFinite { .. } | PassError::Overflow { .. });
    is_of_values.then_some(*rows)
}

/// The products of vectors, each alone; those that have none say why, which is that of the vector.
///
/// # Errors
/// What is of no vector, and what all of several have in the same batch: then it is of its rows, or of the
/// weights.
fn single_products(
    found: impl ExactSizeIterator<Item = Result<Vec<f64>, FactorJobError>>,
) -> Result<Vec<ProductResult>, FactorJobError> {
    let count = found.len();
    let (mut all, mut errors) = (Vec::with_capacity(count), Vec::new());
    for product in found {
        match product {
            Ok(product) => all.push(Ok(product)),
            Err(error) if not_finite_in(&error).is_none() => return Err(error),
            Err(error) => {
                all.push(Err(error.to_string()));
                errors.push(error);
            }
        }
    }
    let is_shared = errors.windows(2).all(|two| not_finite_in(&two[0]) == not_finite_in(&two[1]));
    match errors.pop() {
        Some(error) if count > 1 && errors.len() + 1 == count && is_shared => Err(error),
        _ => Ok(all),
    }
}

impl LinearSystem for DampedCurvature<'_, '_> {
    type Error = FactorJobError;

    fn products(&mut self, vectors: &[&[f64]]) -> Result<Vec<ProductResult>, FactorJobError> {
        match self.multiplied(vectors) {
            Ok(products) => Ok(products.into_iter().map(Ok).collect()),
            Err(error) if not_finite_in(&error).is_none() => Err(error),
            Err(error) if vectors.len() < 2 => Ok(vec![Err(error.to_string())]),
            // Which of them it is of is what a pass for each says; a product has the same bits alone.
            Err(_) => single_products(vectors.iter().map(|vector| -> Result<Vec<f64>, FactorJobError> {
                let mut products = self.multiplied(&[*vector])?;
                Ok(products.pop().unwrap_or_default())
            })),
        }
    }

    fn preconditioned(&mut self, vectors: &[&[f64]]) -> Result<Vec<Vec<f64>>, FactorJobError> {
        let (plan, spans, filter) = (self.plan, &self.spans, self.filter);
        let modules = plan.engine.modules();
        let compute = |_: &mut (), at: usize| -> Result<Vec<Vec<f64>>, FactorJobError> {
            let module = &modules[at];
            let inverse = plan.factors_of(0, module)?.filtered(module, plan.how.strategy, filter);
            let inverse = inverse.map_err(FactorJobError::of_inverse)?;
            Ok(vectors.iter().map(|vector| inverse.apply(&vector[spans[at].clone()])).collect())
        };
        let mut all: Vec<Vec<f64>> = vectors.iter().map(|vector| Vec::with_capacity(vector.len())).collect();
        let take = |parts: Vec<Vec<f64>>| -> Result<ControlFlow<()>, FactorJobError> {
            all.iter_mut().zip(parts).for_each(|(all, part)| all.extend(part));
            Ok(ControlFlow::Continue(()))
        };
        parallel::ordered(modules.len(), plan.extent.threads, self.work.cancel, || (), compute, take)?;
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use gstore_core::Cancelled;

    use super::*;

    #[test]
    fn what_every_query_fails_at_is_of_the_data() {
        let failed = |first: u64| -> Result<Vec<f64>, FactorJobError> {
            let why = PassError::Overflow { module: "m".to_owned(), what: "gradients", value: f32::INFINITY };
            let (rows, why) = ([first, first + 7], Box::new(why));
            Err(FactorJobError::Batch { place: format!("rows {first} on"), rows, why })
        };
        let of = |all: Vec<Result<Vec<f64>, FactorJobError>>| single_products(all.into_iter());
        let error = of(vec![failed(8), failed(8), failed(8)]).unwrap_err().to_string();
        assert!(error.contains("rows 8 on: module `m`"), "{error}");
        let lost = |all: Vec<Result<Vec<f64>, FactorJobError>>| -> Vec<bool> {
            of(all).unwrap().iter().map(Result::is_err).collect()
        };
        assert_eq!(lost(vec![failed(8), failed(16)]), [true, true]);
        assert_eq!(lost(vec![failed(8), Ok(vec![1.0]), failed(8)]), [true, false, true]);
        assert_eq!(lost(vec![failed(8)]), [true]);
        assert!(matches!(of(vec![failed(8), Err(Cancelled.into())]), Err(FactorJobError::Stopped(_))));
    }
}
