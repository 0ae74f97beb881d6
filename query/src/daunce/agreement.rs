//! Split-half agreement: how alike two halves of the models rank, which shows whether there are enough.

use gstore_core::correlation::{descending, spearman};
use gstore_core::{many, many_of};
use serde::Serialize;

use super::centring::{Centring, Models};
use super::how::{CovarianceOptions, Score};
use super::products::{ProductScratch, Products};

/// What [`agreement()`] is asked for.
#[derive(Debug, Clone)]
pub struct AgreementAsk {
    /// How scores are taken.
    pub how: CovarianceOptions,
    /// Rows at the top of the rankings whose overlap is counted.
    pub top: usize,
    /// Numbers of models: of each, the first so many are halved. Those whose halves do not rank are left out:
    /// a half has at least two models, and after centring one dimension, or two for correlations, which are
    /// 1 or -1 in one.
    pub at: Vec<usize>,
}

impl AgreementAsk {
    /// Of a number of models, and about ten steps on the way to it.
    pub fn up_to(models: usize, how: CovarianceOptions, top: usize) -> Self {
        let step = (models / 10).max(1);
        let at = (1..).map(|i| i * step).take_while(|n| *n < models).chain([models]).collect();
        Self { how, top, at }
    }
}

/// How alike two halves of some models rank.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AgreementAt {
    /// Models that were halved: those at even places and those at odd ones.
    pub models: usize,
    /// Spearman's correlation of the two halves' scores of the rows, the mean over the queries. `None` where
    /// it is defined for no query.
    pub split_half: Option<f64>,
    /// What all of them together are expected to have with as many others: `2 r / (1 + r)` (Spearman and
    /// Brown). `None` where the halves do not agree: of r below 0 it is no correlation.
    pub spearman_brown: Option<f64>,
    /// The share of the first `top` rows that the halves have in common, the mean over the same queries.
    pub top_overlap: Option<f64>,
}

/// How alike halves of the models rank, for several numbers of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreement {
    /// Rows that were ranked.
    pub rows: usize,
    /// Queries that they were ranked for.
    pub queries: usize,
    /// Rows that were left out: they lack the losses of some models.
    pub rows_left_out: usize,
    /// Queries that were left out, likewise.
    pub queries_left_out: usize,
    /// Rows at the top whose overlap was counted.
    pub top: usize,
    /// The overlap of rankings that have nothing to do with each other.
    pub overlap_by_chance: f64,
    /// By number of models, ascending.
    pub at: Vec<AgreementAt>,
}

impl Agreement {
    /// The agreement of the halves of all models, where it is defined: what a stop rule compares.
    pub fn last(&self) -> Option<f64> {
        self.at.last()?.split_half
    }

    /// How many rows and queries were left out, in a sentence; `None` if none was.
    pub fn left_out(&self) -> Option<String> {
        let none = if self.rows == 0 || self.queries == 0 { "; nothing is left to compare" } else { "" };
        let rows = many(self.rows_left_out as u64, "row");
        let queries = many_of(self.queries_left_out as u64, "query", "queries");
        (self.rows_left_out + self.queries_left_out > 0).then(|| {
            format!(
                "{rows} and {queries} without the losses of all models are left out of this agreement{none}"
            )
        })
    }
}

/// How alike the halves of the models rank.
///
/// `rows` and `queries`: losses, or their differences from the base model, one row after the other, a value
/// for each of `models`. Memory: two scores for each row and query. Rows or queries with a cell that is not
/// finite are left out.
///
/// # Panics
/// When there is not a loss for each model and row or query.
pub fn agreement(rows: &[f64], queries: &[f64], models: &Models, ask: &AgreementAsk) -> Agreement {
    let k = models.len();
    let whole = |values: &[f64]| -> Vec<f64> {
        assert!(k > 0 && values.len().is_multiple_of(k), "a loss for each model");
        let has_all = |row: &&[f64]| row.iter().all(|x| x.is_finite());
        values.chunks_exact(k).filter(has_all).flatten().copied().collect()
    };
    let given = [rows.len(), queries.len()];
    let (rows, queries) = (whole(rows), whole(queries));
    let (n, m) = (rows.len() / k, queries.len() / k);
    let [rows_left_out, queries_left_out] = [given[0] / k - n, given[1] / k - m];
    let top = ask.top.min(n);
    let mut at: Vec<usize> = ask.at.iter().map(|models| (*models).min(k)).collect();
    at.sort_unstable();
    at.dedup();
    let at = at.into_iter().filter_map(|first| {
        let halves = [0, 1].map(|odd| (0..first).filter(|k| k % 2 == odd).collect::<Vec<usize>>());
        let all_rank = halves.iter().all(|places| ranks(&models.some(places), ask.how));
        all_rank.then(|| {
            let halves = halves.map(|places| scores(&rows, &queries, models, &places, ask.how));
            compare(halves, (first, m, top))
        })
    });
    let at = if n == 0 || m == 0 { Vec::new() } else { at.collect() };
    let overlap_by_chance = if n == 0 { 0.0 } else { top as f64 / n as f64 };
    Agreement { rows: n, queries: m, rows_left_out, queries_left_out, top, overlap_by_chance, at }
}

/// Whether the scores of a half differ by more than rounding.
fn ranks(half: &Models, how: CovarianceOptions) -> bool {
    let least = match how.score {
        Score::Cov => 1,
        Score::Corr => 2,
    };
    half.len() >= 2 && half.dimensions(how.center) >= least
}

/// Scores of all rows with all queries under some of the models, by query.
fn scores(
    rows: &[f64],
    queries: &[f64],
    models: &Models,
    places: &[usize],
    how: CovarianceOptions,
) -> Vec<Vec<f64>> {
    let k = models.len();
    let some = |values: &[f64]| -> Vec<f64> {
        values.chunks_exact(k).flat_map(|row| places.iter().map(|place| row[*place])).collect()
    };
    let (rows, queries) = (some(rows), some(queries));
    let means = means(&rows, places.len());
    let products = Products::new(Centring::new(models.some(places), how, means), queries, 2);
    let mut out = vec![0.0; rows.len() / places.len() * products.len()];
    products.scores((&rows[..], places.len()), None, &mut ProductScratch::default(), &mut out);
    (0..products.len()).map(|q| out.iter().skip(q).step_by(products.len()).copied().collect()).collect()
}

/// The mean of each model over the rows.
pub(crate) fn means(rows: &[f64], models: usize) -> Vec<f64> {
    let count = (rows.len() / models.max(1)).max(1) as f64;
    (0..models).map(|k| rows.iter().skip(k).step_by(models).sum::<f64>() / count).collect()
}

/// Means over the queries.
fn compare([even, odd]: [Vec<Vec<f64>>; 2], (models, queries, top): (usize, usize, usize)) -> AgreementAt {
    // A row that does not vary under one half has no correlation there; it is no part of the comparison.
    let both = |q: usize| -> (Vec<f64>, Vec<f64>) {
        even[q]
            .iter()
            .zip(&odd[q])
            .filter(|(a, b)| a.is_finite() && b.is_finite())
            .map(|(a, b)| (*a, *b))
            .unzip()
    };
    let shared = |a: &[f64], b: &[f64]| {
        let top = top.min(a.len());
        let (a, b) = (descending(a), descending(b));
        a[..top].iter().filter(|i| b[..top].contains(i)).count() as f64 / top.max(1) as f64
    };
    // A half that scores all rows alike has no first ones.
    let of_query = |q: usize| {
        let (a, b) = both(q);
        Some((spearman(&a, &b)?, shared(&a, &b)))
    };
    let (ranks, overlaps): (Vec<f64>, Vec<f64>) = (0..queries).filter_map(of_query).unzip();
    let mean = |of: &[f64]| (!of.is_empty()).then(|| of.iter().sum::<f64>() / of.len() as f64);
    let split_half = mean(&ranks);
    AgreementAt {
        models,
        split_half,
        spearman_brown: split_half.filter(|r| *r > 0.0).map(|r| 2.0 * r / (1.0 + r)),
        top_overlap: mean(&overlaps),
    }
}

#[cfg(test)]
mod tests {
    use super::super::how::Center;
    use super::*;

    #[test]
    fn halves_that_disagree_say_nothing_of_all_models() {
        let of = |odd: [f64; 4]| compare([vec![vec![1.0, 2.0, 3.0, 4.0]], vec![odd.to_vec()]], (8, 1, 1));
        let agree = of([1.0, 2.0, 4.0, 3.0]);
        let (half, all) = (agree.split_half.unwrap(), agree.spearman_brown.unwrap());
        assert!((half - 0.8).abs() < 1e-12 && (all - 1.6 / 1.8).abs() < 1e-12, "{agree:?}");
        let disagree = of([3.0, 4.0, 1.0, 2.0]);
        assert!((disagree.split_half.unwrap() + 0.6).abs() < 1e-12, "{disagree:?}");
        assert_eq!(disagree.spearman_brown, None);
    }

    #[test]
    fn halves_without_a_ranking_are_not_compared() {
        let values: Vec<f64> = (0..6 * 8_i32).map(|i| f64::from(i * i % 17)).collect();
        let counts = |models: Models, score, center| {
            let how = CovarianceOptions { score, center, ddof: 1 };
            let found = agreement(&values, &values[..16], &models, &AgreementAsk::up_to(8, how, 2));
            found.at.iter().map(|at| at.models).collect::<Vec<usize>>()
        };
        assert_eq!(counts(Models::one(8), Score::Cov, Center::Row), [4, 5, 6, 7, 8]);
        // Two losses less their mean correlate by 1 or -1.
        assert_eq!(counts(Models::one(8), Score::Corr, Center::Row), [6, 7, 8]);
        assert_eq!(counts(Models::one(8), Score::Corr, Center::Model), [4, 5, 6, 7, 8]);
        let of_two = || Models::grouped(vec![0, 0, 1, 1, 0, 0, 1, 1]);
        assert_eq!(counts(of_two(), Score::Cov, Center::Row), [6, 7, 8]);
        assert_eq!(counts(of_two(), Score::Corr, Center::Row), [8]);
    }

    #[test]
    fn a_half_that_scores_all_rows_alike_has_no_first_rows_in_common_with_the_other() {
        let same = vec![0.0; 4];
        let at = compare([vec![same.clone()], vec![same.clone()]], (8, 1, 2));
        assert_eq!((at.split_half, at.top_overlap), (None, None));
        // Two rows that only one half scores, before the others in their order.
        let (none, ranked) = (f64::NAN, vec![1.0, 2.0, 3.0, 4.0]);
        let halves = [vec![same, vec![none, none, 1.0, 2.0]], vec![ranked.clone(), ranked]];
        let at = compare(halves, (8, 2, 1));
        assert_eq!((at.split_half, at.top_overlap), (Some(1.0), Some(1.0)));
    }
}
