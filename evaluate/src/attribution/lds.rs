//! Linear datamodeling score: how well sums of scores order models that were trained on random subsets.
//!
//! For each query the outputs of the retrained models (larger is better) and the sums of the scores of the
//! rows that each was trained on are correlated by ranks (Spearman, average ranks for ties); the score is the
//! mean over queries. Sums and outputs that differ by rounding alone are ties. Source: Park et al. 2023,
//! section 2.

use gstore_core::correlation::{is_constant, spearman};
use gstore_core::many_of;

use super::outcome::{AttributionOutcome, Comparison, Correlated, check, correlate};
use super::scores::Scores;
use super::subsets::{Subset, SubsetKind};
use super::truth::Truth;
use crate::error::EvaluateError;
use crate::metrics::Metric;

/// Compares methods by their linear datamodeling score.
///
/// # Errors
/// Fewer than two random subsets with outputs, scores of other rows or queries, no query with a correlation,
/// being told to stop.
pub fn lds(
    truth: &Truth,
    methods: &[Scores],
    comparison: &Comparison<'_>,
) -> Result<AttributionOutcome, EvaluateError> {
    let names = check(truth, methods)?;
    let subsets = truth.done(|kind| *kind == SubsetKind::Random);
    if subsets.len() < 2 {
        let is_random = |subset: &Subset| subset.kind == SubsetKind::Random;
        // Folders and ensembles without one are refused before.
        let hint = match truth.subsets.iter().any(is_random) {
            true => "",
            false => {
                " (of tables: subsets with \"kind\": \"random\", which those with a list of `without` have to say)"
            }
        };
        let have = many_of(subsets.len() as u64, "random subset has", "random subsets have");
        let what = format!("{have} outputs, and at least two are needed{hint}");
        return Err(EvaluateError::Truth(what));
    }
    let outputs = |query: usize| truth.means(&subsets, query);
    let predictions = |method: usize, query: usize| -> Vec<f64> {
        methods[method].sums(query, subsets.iter().map(|subset| truth.subsets[*subset].rows.as_slice()))
    };
    let Correlated { mut outcome, queries, notes } = correlate(
        ("lds", "lds_by_query", "LDS of each query, sorted, over % of queries"),
        (truth, names),
        &[(Metric::Lds, "lds")],
        |query| is_constant(&outputs(query)),
        (predictions, |predicted: &[f64], query: usize| Some(vec![spearman(predicted, &outputs(query))?])),
        comparison,
    )?;
    outcome.say(format!(
        "{} of {} random subsets with outputs, {queries} of {}.",
        subsets.len(),
        truth.subsets.iter().filter(|subset| subset.kind == SubsetKind::Random).count(),
        many_of(truth.queries.len() as u64, "query", "queries")
    ));
    if let Some(agreement) = truth.agreement(&subsets) {
        outcome.say(format!(
            "Two halves of the runs order the subsets alike by {agreement:.3} (Spearman, mean over queries)."
        ));
    }
    notes.into_iter().for_each(|note| outcome.say(note));
    Ok(outcome)
}
