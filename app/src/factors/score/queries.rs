//! Queries: their gradients, preconditioned with every filter, module by module.
//!
//! With several segments of training, a query is preconditioned with the last one's filter first; what that
//! segment leaves of it goes on to the one before, so that each segment has columns of its own.
//!
//! Gradients that are rotated into an eigenbasis and back are held as what they are products of, where that
//! is rotated with fewer multiplications. Where rows are rotated, the engine rotates both.
//!
//! Memory: the columns; gradients of some queries, which wait to be preconditioned; for each thread the
//! factors of one module in one segment, and what the segments after it leave of these queries.

mod scaling;

use std::ops::Range;
use std::sync::Mutex;

use gstore_core::{Unit, locked, parallel};
use gstore_curvature::{Filter, Module, ModuleFactors, SampleGradient, Strategy, low_rank};

use self::scaling::FilterScaling;
use super::forms::{ColumnForm, ColumnValues, FilterColumns, ModuleColumns, cut};
use super::gradients::{gradients, summed_gradients};
use super::plan::ScorePlan;
use super::request::SolvedQuery;
use super::solve::solutions;
use crate::factors::error::FactorJobError;
use crate::work::JobContext;

/// The columns of a group of queries for some modules.
pub(super) struct QueryColumns {
    /// For each segment and module: `[filter][query]`; none of a module that is not wanted.
    pub segments: Vec<Vec<Option<ModuleColumns>>>,
    /// Of each wanted module, `[segment][filter][query]`: the squared length of the preconditioned query that
    /// its rank has, and all of it.
    pub lengths: Vec<(usize, Vec<[f64; 2]>)>,
    /// How each query was solved for, where it was.
    pub solved: Vec<SolvedQuery>,
}

/// The columns of a group of queries for the modules that are wanted, in ascending order.
pub(super) fn columns(
    plan: &ScorePlan,
    (group, wanted): (Range<usize>, &[usize]),
    work: &mut JobContext<'_>,
) -> Result<QueryColumns, FactorJobError> {
    let modules = plan.engine.modules();
    // For each module, segment and filter, the queries in their order.
    let count: usize = plan.segments.iter().map(|segment| segment.filters.len()).sum();
    let none = |at: &usize| vec![FilterColumns::new(plan.how.form(&modules[*at]), &modules[*at]); count];
    let mut collected: Vec<Vec<FilterColumns>> = wanted.iter().map(none).collect();
    work.progress.start("queries", group.len() as u64, Unit::Rows);
    // What is to be done with all of the group at once.
    let whole = match (plan.how.sum_queries, &plan.solve) {
        (true, _) => summed_gradients(plan, (group.clone(), wanted), work).map(Some),
        (false, Some(_)) => gradients(plan, (group.clone(), wanted), work).map(Some),
        (false, None) => {
            let most = plan.extent.queries_at_once;
            if group.len() > most {
                for (at, places) in wanted.iter().zip(&mut collected) {
                    places.iter_mut().for_each(|place| place.reserve(group.len(), &modules[*at]));
                }
            }
            let done = cut(group.clone(), most).try_for_each(|part| {
                let gradients = gradients(plan, (part, wanted), work)?;
                precondition((plan, wanted), &gradients, &mut collected, work)
            });
            done.map(|()| None)
        }
    };
    work.progress.finish();
    let mut solved = Vec::new();
    match (whole?, &plan.solve) {
        (Some(gradients), Some(data)) => {
            let names: Vec<&str> = match plan.how.sum_queries {
                true => vec!["the sum of all"],
                false => plan.names.ids[group].iter().map(String::as_str).collect(),
            };
            solved = solutions(plan, data, (&names, gradients), &mut collected, work)?;
        }
        (Some(gradients), None) => precondition((plan, wanted), &gradients, &mut collected, work)?,
        (None, _) => {}
    }
    let mut segments: Vec<Vec<Option<ModuleColumns>>> =
        plan.segments.iter().map(|_| modules.iter().map(|_| None).collect()).collect();
    let mut lengths = Vec::with_capacity(wanted.len());
    for (at, parts) in wanted.iter().zip(collected) {
        lengths.push((*at, parts.iter().flat_map(|part| &part.lengths).copied().collect()));
        let mut parts = parts.into_iter();
        for (segment, into) in plan.segments.iter().zip(&mut segments) {
            into[*at] = Some(ModuleColumns(parts.by_ref().take(segment.filters.len()).collect()));
        }
    }
    Ok(QueryColumns { segments, lengths, solved })
}

/// `[segment][filter][query]`: the share of the squared length of the preconditioned query that its rank has,
/// of the lengths for all modules.
pub(super) fn shares_of_rank(mut lengths: Vec<(usize, Vec<[f64; 2]>)>) -> Vec<f64> {
    lengths.sort_by_key(|(module, _)| *module);
    let mut sums: Vec<[f64; 2]> = Vec::new();
    for (_, of_module) in &lengths {
        sums.resize(of_module.len(), [0.0; 2]);
        sums.iter_mut().zip(of_module).for_each(|(sum, part)| *sum = [sum[0] + part[0], sum[1] + part[1]]);
    }
    let share = |[kept, all]: &[f64; 2]| if *all > 0.0 { (kept / all).min(1.0) } else { 1.0 };
    sums.iter().map(share).collect()
}

/// Adds the columns of some queries for the modules that are wanted, one module a thread.
fn precondition(
    (plan, wanted): (&ScorePlan, &[usize]),
    gradients: &[Vec<SampleGradient>],
    collected: &mut [Vec<FilterColumns>],
    work: &JobContext<'_>,
) -> Result<(), FactorJobError> {
    let modules = plan.engine.modules();
    let earlier = collected.iter_mut().map(|columns| Mutex::new(std::mem::take(columns)));
    let all: Vec<_> = wanted.iter().zip(gradients).zip(earlier).collect();
    let columns = parallel::map(&all, 1, plan.extent.threads, work.cancel, |((at, gradients), earlier)| {
        let earlier = std::mem::take(&mut *locked(earlier));
        module_columns(plan, &modules[**at], gradients, earlier)
    })?;
    collected.iter_mut().zip(columns).for_each(|(place, columns)| *place = columns);
    Ok(())
}

/// Adds the columns of some queries for a module, for each segment and filter, to those of earlier ones.
fn module_columns(
    plan: &ScorePlan,
    module: &Module,
    gradients: &[SampleGradient],
    earlier: Vec<FilterColumns>,
) -> Result<Vec<FilterColumns>, FactorJobError> {
    if plan.how.rotates_rows() {
        return rotated_columns(plan, module, gradients, earlier);
    }
    let filters: Vec<&[Filter]> = plan.segments.iter().map(|segment| &segment.filters[..]).collect();
    let how = (plan.how.strategy, plan.how.rank);
    through_segments(module, how, (&filters, &|at| plan.factors_of(at, module)), gradients, earlier)
}

/// Those of queries that are in the eigenbasis and stay there: rows are rotated as well. There is one segment
/// then, and no rank.
fn rotated_columns(
    plan: &ScorePlan,
    module: &Module,
    gradients: &[SampleGradient],
    mut all: Vec<FilterColumns>,
) -> Result<Vec<FilterColumns>, FactorJobError> {
    let scales = plan.filter_scales(module)?;
    for ((scale, filter), into) in scales.iter().zip(&plan.how.filters).zip(&mut all) {
        into.reserve(gradients.len(), module);
        for gradient in gradients {
            into.push_scaled(&gradient.values(), scale.as_deref()).check(module, *filter)?;
        }
    }
    Ok(all)
}

/// Filters of segments, and the factors of each: those of one segment are there at a time.
type SegmentFilters<'a> = (&'a [&'a [Filter]], &'a dyn Fn(usize) -> Result<ModuleFactors, FactorJobError>);

/// Adds the columns of some queries for a module, from the last segment to the first, to those that there are
/// for each segment and filter.
fn through_segments(
    module: &Module,
    (strategy, rank): (Strategy, Option<usize>),
    (segments, factors): SegmentFilters<'_>,
    gradients: &[SampleGradient],
    mut all: Vec<FilterColumns>,
) -> Result<Vec<FilterColumns>, FactorJobError> {
    let mut end: usize = segments.iter().map(|filters| filters.len()).sum();
    all.iter_mut().for_each(|into| into.reserve(gradients.len(), module));
    // What the segments after one leave of each query.
    let mut left: Vec<SampleGradient> = Vec::new();
    for (at, filters) in segments.iter().enumerate().rev() {
        // What the segment leaves of a query is that of the one before it.
        let decays = filters.iter().filter_map(|filter| filter.decay()).filter(|_| at > 0);
        let with_rest: Vec<Filter> = filters.iter().copied().chain(decays).collect();
        let mut scaling = FilterScaling::new(module, &factors(at)?, strategy, &with_rest)?;
        let start = end - filters.len();
        for (query, gradient) in gradients.iter().enumerate() {
            let gradient = left.get(query).unwrap_or(gradient);
            let (columns, rest) = scaling.columns(gradient).split_at(filters.len());
            for ((column, filter), into) in columns.iter().zip(*filters).zip(&mut all[start..end]) {
                keep(into, column, (module, *filter), rank)?;
            }
            if let Some(rest) = rest.first() {
                let values = rest.iter().map(|value| *value as f32).collect();
                let rest = SampleGradient::whole(module, values);
                match left.get_mut(query) {
                    Some(place) => *place = rest,
                    None => left.push(rest),
                }
            }
        }
        end = start;
    }
    Ok(all)
}

/// Keeps a column, as a matrix of a low rank where that saves something. Lengths say what a rank keeps.
fn keep(
    into: &mut FilterColumns,
    column: &[f64],
    (module, filter): (&Module, Filter),
    rank: Option<usize>,
) -> Result<(), FactorJobError> {
    if rank.is_none() {
        return into.push_scaled(column, None).check(module, filter);
    }
    ColumnValues::of(column).check(module, filter)?;
    let ColumnForm::LowRank(rank) = into.form else {
        into.push(column);
        return Ok(());
    };
    let low = low_rank(column, (module.out, module.input), rank).ok_or_else(|| {
        FactorJobError::Refused(format!(
            "module `{}`: a query's matrix cannot be decomposed; score without a rank",
            module.name
        ))
    })?;
    into.push_low_rank(&low, column);
    Ok(())
}

#[cfg(test)]
mod tests;
