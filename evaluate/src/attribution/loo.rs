//! Leave-one-out and leave-group-out: scores against what a model loses without a row or a group of rows.

use gstore_core::correlation::{is_constant, pearson, spearman};
use gstore_core::{many, many_of};

use super::outcome::{AttributionOutcome, Comparison, Correlated, check, correlate};
use super::scores::Scores;
use super::subsets::SubsetKind;
use super::truth::Truth;
use crate::error::EvaluateError;
use crate::metrics::Metric;

/// Compares methods by how the sums of the scores of what was left out follow what the outputs lose without
/// it: correlations over the rows or groups, for each query.
///
/// # Errors
/// No output of the whole pool or fewer than two without something, scores of other rows or queries, no query
/// with a correlation, being told to stop.
pub fn leave_out(
    truth: &Truth,
    methods: &[Scores],
    comparison: &Comparison<'_>,
) -> Result<AttributionOutcome, EvaluateError> {
    let names = check(truth, methods)?;
    let full = truth.full()?;
    let is_without = |kind: &SubsetKind| matches!(kind, SubsetKind::Without { .. });
    let subsets = truth.done(is_without);
    if subsets.len() < 2 {
        let what = format!("{} rows or groups were left out, and at least two are needed", subsets.len());
        return Err(EvaluateError::Truth(what));
    }
    let left_out: Vec<Vec<u32>> =
        subsets.iter().map(|subset| truth.subsets[*subset].left_out(truth.pool.len())).collect();
    let effects = |query: usize| -> Vec<f64> {
        let Some(whole) = truth.output(full, query) else { return Vec::new() };
        truth.means(&subsets, query).into_iter().map(|output| whole - output).collect()
    };
    let predicted = |method: usize, query: usize| -> Vec<f64> {
        methods[method].sums(query, left_out.iter().map(Vec::as_slice))
    };
    let Correlated { mut outcome, queries, notes } = correlate(
        ("loo", "leave_out_by_query", "Spearman of each query, sorted, over % of queries"),
        (truth, names),
        &[(Metric::LeaveOutSpearman, "spearman"), (Metric::LeaveOutPearson, "pearson")],
        |query| is_constant(&effects(query)),
        (predicted, |predicted: &[f64], query: usize| {
            let effects = effects(query);
            Some(vec![spearman(predicted, &effects)?, pearson(predicted, &effects)?])
        }),
        comparison,
    )?;
    let largest = left_out.iter().map(Vec::len).max().unwrap_or_default();
    outcome.say(format!(
        "{} of {} with outputs, each without {} of {} rows; {queries} of {}.",
        subsets.len(),
        many(truth.subsets.iter().filter(|subset| is_without(&subset.kind)).count() as u64, "subset"),
        if largest == 1 { "one".to_owned() } else { format!("up to {largest}") },
        truth.pool.len(),
        many_of(truth.queries.len() as u64, "query", "queries")
    ));
    notes.into_iter().for_each(|note| outcome.say(note));
    Ok(outcome)
}
