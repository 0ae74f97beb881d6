//! Detection of flipped labels: how well a method's scores tell rows with wrong labels from others.

use std::path::Path;

use gstore_core::{Cancel, first_of};
use serde_json::Value;

use super::ids::Ids;
use super::outcome::{AttributionOutcome, Comparison, names};
use super::roc::placements;
use super::scores::Scores;
use crate::error::EvaluateError;
use crate::metrics::Metric;
use crate::records::{PairSource, each_record, text_of};
use crate::report::{Column, Report};

/// Names in a message.
const MOST_NAMES: usize = 5;

/// Rows, and which of them have a wrong label.
#[derive(Debug, Clone, PartialEq)]
pub struct Flips {
    /// The rows.
    pub rows: Ids,
    /// Which are wrong.
    pub flipped: Vec<bool>,
}

/// Which end of the scores wrong labels are looked for at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicious {
    /// The highest: as of self-influence and losses.
    Highest,
    /// The lowest: rows that work against the queries.
    Lowest,
}

impl Flips {
    /// Reads records with `id` and `flipped` (true or false, 1 or 0).
    ///
    /// # Errors
    /// A file that cannot be read, ids that come twice, rows that are all wrong or all right.
    pub fn read(path: &Path, cancel: &Cancel) -> Result<Flips, EvaluateError> {
        let (mut ids, mut flipped) = (Vec::new(), Vec::new());
        each_record(&PairSource::Files(vec![path.to_owned()]), cancel, &mut |at, value| {
            let id = text_of(value.get("id")).ok_or_else(|| at.error("a label needs the `id` of its row"))?;
            let given = value.get("flipped").ok_or_else(|| {
                let keys = value.as_object().into_iter().flat_map(|record| record.keys());
                at.error(&format!("a label needs `flipped`, and has {}", first_of(keys, MOST_NAMES)))
            })?;
            let is_wrong = match given {
                Value::Bool(is_wrong) => Some(*is_wrong),
                other => match text_of(Some(other)).as_deref().map(str::trim) {
                    Some("1" | "true" | "True") => Some(true),
                    Some("0" | "false" | "False") => Some(false),
                    _ => None,
                },
            };
            flipped.push(is_wrong.ok_or_else(|| at.error("`flipped` is neither true nor false"))?);
            ids.push(id);
            Ok(())
        })?;
        let what = "the labels are all flipped or all right, and both are needed".to_owned();
        match flipped.contains(&true) && flipped.contains(&false) {
            true => Ok(Flips { rows: Ids::new(ids, &path.display().to_string())?, flipped }),
            false => Err(EvaluateError::File { path: path.to_owned(), what }),
        }
    }
}

/// Compares methods by the area under the ROC curve of wrong labels. Scores have one query; its
/// interval is that of the rows, both classes (DeLong et al. 1988, by the jackknife); there is none if
/// a class has one row.
///
/// # Errors
/// Scores of other rows, being told to stop.
pub fn flip_detection(
    flips: &Flips,
    methods: &[Scores],
    suspicious: Suspicious,
    comparison: &Comparison<'_>,
) -> Result<AttributionOutcome, EvaluateError> {
    let names = names(methods)?;
    let mut values = Vec::with_capacity(methods.len());
    for scores in methods {
        let found = scores.of_query(0).iter().map(|score| match suspicious {
            Suspicious::Highest => *score,
            Suspicious::Lowest => 0.0 - score,
        });
        let found: Vec<f64> = found.collect();
        let placed = placements(&found, &flips.flipped).ok_or_else(|| EvaluateError::Scores {
            method: scores.method.clone(),
            what: "they are of other rows than the labels".to_owned(),
        })?;
        values.push(pseudo_values(&placed, &flips.flipped));
    }
    let mut lines = Vec::new();
    for (row, (id, flipped)) in flips.rows.iter().zip(&flips.flipped).enumerate() {
        for scores in methods {
            let score = scores.of_query(0).get(row).copied().unwrap_or(f64::NAN);
            lines.push(vec![id.to_owned(), flipped.to_string(), scores.method.clone(), score.to_string()]);
        }
    }
    let header = ["id", "flipped", "method", "score"].map(str::to_owned).to_vec();
    let groups = vec![(Report::ALL.to_owned(), 0..flips.flipped.len())];
    let column = Column { metric: Metric::FlipAuc, values, groups, corpus: None };
    let count = |class: bool| flips.flipped.iter().filter(|own| **own == class).count();
    let (wrong, rows) = (count(true), flips.flipped.len());
    // One row says nothing of the spread of its class: as one unit the rows have no interval.
    let is_single = wrong == 1 || count(false) == 1;
    let units = if is_single { vec![vec![0; rows]] } else { Vec::new() };
    let mut outcome =
        AttributionOutcome::new("flips", names, (&[column], &units), (header, lines), comparison)?;
    outcome.report.rows = rows;
    outcome.report.measures.iter_mut().for_each(|measure| measure.rows = rows);
    for value in outcome.report.measures.iter_mut().flat_map(|measure| &mut measure.values) {
        value.low = value.low.map(|low| low.max(0.0));
        value.high = value.high.map(|high| high.min(1.0));
    }
    outcome.say(format!("{wrong} of {rows} labels are flipped."));
    if is_single {
        let class = if wrong == 1 { "flipped" } else { "right" };
        outcome.say(format!(
            "There is no interval: one label is {class}, which does not tell how others would be placed."
        ));
    }
    Ok(outcome)
}

/// The jackknife's pseudo-values of the area under the curve: their mean is the area, and their spread that
/// of DeLong's variance, so that a bootstrap over rows has the interval of both classes.
fn pseudo_values(placed: &[f64], positive: &[bool]) -> Vec<f64> {
    let n = placed.len() as f64;
    let count = |class: bool| positive.iter().filter(|own| **own == class).count() as f64;
    let (positives, negatives) = (count(true), count(false));
    let of = |class| placed.iter().zip(positive).filter(move |(_, own)| **own == class).map(|(v, _)| *v);
    let area = of(true).sum::<f64>() / positives;
    let value = |(placed, positive): (&f64, &bool)| {
        let own = if *positive { positives } else { negatives };
        // Without the only row of its class there is no area to compare with.
        let scale = if own > 1.0 { (n - 1.0) / (own - 1.0) } else { 1.0 };
        area + scale * (placed - area)
    };
    placed.iter().zip(positive).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::super::roc::tests::auc;
    use super::*;
    use crate::statistics::Bootstrap;

    #[test]
    fn pseudo_values_have_the_area_as_their_mean_and_delongs_variance() {
        let scores: Vec<f64> = (0..40).map(|row| f64::from(row * 17 % 40)).collect();
        let positive: Vec<bool> = (0..40).map(|row| row % 4 == 0).collect();
        let placed = placements(&scores, &positive).expect("two classes");
        let values = pseudo_values(&placed, &positive);
        let mean = values.iter().sum::<f64>() / 40.0;
        assert!((mean - auc(&scores, &positive).expect("two classes")).abs() < 1e-12, "{mean}");
        let spread = |class: bool| {
            let own: Vec<f64> =
                placed.iter().zip(&positive).filter(|(_, p)| **p == class).map(|(v, _)| *v).collect();
            let n = own.len() as f64;
            own.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0) / n
        };
        let delong = spread(true) + spread(false);
        let found = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 40.0 / 40.0;
        assert!((found / delong - 1.0).abs() < 0.15, "{found} {delong}");
    }

    #[test]
    fn one_row_of_a_class_has_no_interval() {
        let of = |flipped: &[bool]| {
            let ids: Vec<String> = (0..flipped.len()).map(|row| row.to_string()).collect();
            let flips = Flips { rows: Ids::new(ids, "the rows").expect("ids"), flipped: flipped.to_vec() };
            let scores = |name: &str, step: usize| {
                let values = (0..flipped.len()).map(|row| (row * step % 41) as f64).collect();
                Scores::new(name, flipped.len(), values).expect("finite scores")
            };
            let bootstrap = Bootstrap { resamples: 200, seed: 1 };
            let comparison = Comparison { base: 0, bootstrap, threads: 1, cancel: &Cancel::new() };
            let methods = [scores("a", 17), scores("b", 5)];
            let found = flip_detection(&flips, &methods, Suspicious::Highest, &comparison);
            found.expect("two classes").report
        };
        for is_flipped in [true, false] {
            let mut flipped = vec![!is_flipped; 40];
            flipped[7] = is_flipped;
            let report = of(&flipped);
            let measure = &report.measures[0];
            assert_eq!((report.rows, measure.rows), (40, 40));
            // Row 7 has a score of 37, and a few others have more.
            let scores = (0..40).filter(|row| *row != 7).map(|row| row * 17 % 41);
            let area = scores.clone().filter(|score| *score < 37).count() as f64 / 39.0;
            let area = if is_flipped { area } else { 1.0 - area };
            assert!((measure.values[0].mean - area).abs() < 1e-12, "{measure:?}");
            assert!(measure.values.iter().all(|value| value.low.is_none() && value.high.is_none()));
            assert!(measure.differences.iter().all(|found| found.low.is_none() && found.p.is_none()));
            assert!(report.findings.iter().any(|said| said.starts_with("There is no interval")));
        }
        let report = of(&(0..40).map(|row| row % 20 == 0).collect::<Vec<_>>());
        assert!(report.measures[0].values.iter().all(|value| value.low.is_some()), "two are a class");
        assert!(!report.findings.iter().any(|said| said.starts_with("There is no interval")));
    }
}
