//! A row and a query: covariance, correlation, and both without one of the models.

use super::centring::{Centring, sum};
use super::how::Score;

/// The centred losses of a row and a query over the models that have both.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The centred losses of the row, those of models that are not used 0.
    pub(super) row: Vec<f64>,
    /// Those of the query.
    pub(super) query: Vec<f64>,
    used: Vec<bool>,
    /// By how much a product counts where its model is left out: the means move too.
    factors: Vec<f64>,
    /// What the sum of products is divided by.
    pub(super) degrees: f64,
    /// Degrees of freedom without each model.
    degrees_without: Vec<f64>,
    /// Dimensions of the centred losses, whatever the divisor.
    pub(super) dimensions: usize,
    /// Products that differ: the two models of a group have the same after centring.
    distinct: usize,
}

impl Pair {
    /// Centres both over the models for which both are finite.
    ///
    /// # Panics
    /// When one of them has not a value for each model.
    pub fn new(centring: &Centring, row: &[f64], query: &[f64]) -> Self {
        let models = centring.models();
        assert!(row.len() == models.len() && query.len() == models.len(), "a loss for each model");
        let used: Vec<bool> = row.iter().zip(query).map(|(a, b)| a.is_finite() && b.is_finite()).collect();
        let centred = |values: &[f64]| {
            let mut values = values.to_vec();
            centring.centre_used(&mut values, &used);
            values
        };
        let of_rows = centring.how().center.of_rows();
        let ddof = f64::from(centring.how().ddof);
        let mut counts = vec![0usize; models.groups()];
        for (k, group) in models.group().iter().enumerate() {
            counts[*group as usize] += usize::from(used[k]);
        }
        let count: usize = counts.iter().sum();
        let degrees = match of_rows {
            true => counts.iter().filter(|n| **n > 0).map(|n| *n as f64 - ddof).sum(),
            false => count as f64 - ddof,
        };
        let without = |k: usize| {
            let own = counts[models.group()[k] as usize];
            // The last model of a group takes with it what was estimated of the group.
            let last = of_rows && own == 1;
            let factor = if of_rows && own > 1 { own as f64 / (own - 1) as f64 } else { 1.0 };
            (factor, degrees - if last { 1.0 - ddof } else { 1.0 })
        };
        let (factors, degrees_without) = (0..models.len()).map(without).unzip();
        let (dimensions, distinct) = match of_rows {
            false => (count, count),
            true => (
                counts.iter().map(|n| n.saturating_sub(1)).sum(),
                counts.iter().map(|n| if *n > 2 { *n } else { n.saturating_sub(1) }).sum(),
            ),
        };
        let (row, query) = (centred(row), centred(query));
        Self { row, query, used, factors, degrees, degrees_without, dimensions, distinct }
    }

    /// Whether a jackknife over the models tells how a score varies. It takes three scores that differ, and
    /// of correlations two dimensions that are left: in one dimension all of them are 1 or -1.
    pub(crate) fn has_jackknife(&self, score: Score) -> bool {
        self.distinct >= 3 && (score == Score::Cov || self.dimensions >= 3)
    }

    /// How many models have both losses.
    pub fn models(&self) -> usize {
        self.used.iter().filter(|used| **used).count()
    }

    /// Whether a model has both losses.
    pub fn has(&self, model: usize) -> bool {
        self.used.get(model) == Some(&true)
    }

    /// The score: `None` where no degree of freedom is left, and for a correlation where one side does not
    /// vary.
    pub fn score(&self, score: Score) -> Option<f64> {
        let sums = self.sums();
        quotient(score, sums, self.degrees)
    }

    /// The score without each model in turn, in O(K); that of a model that is not used is the score.
    pub fn without_each(&self, score: Score) -> Vec<Option<f64>> {
        let (product, row, query) = self.sums();
        let without = |k: usize| {
            if !self.used[k] {
                return quotient(score, (product, row, query), self.degrees);
            }
            let (a, b, factor) = (self.row[k], self.query[k], self.factors[k]);
            let rest = (product - factor * a * b, row - factor * a * a, query - factor * b * b);
            quotient(score, rest, self.degrees_without[k])
        };
        (0..self.used.len()).map(without).collect()
    }

    /// Sums of the products, and of the squares of the row and of the query.
    fn sums(&self) -> (f64, f64, f64) {
        let product = sum(self.row.iter().zip(&self.query).map(|(a, b)| a * b));
        let square = |values: &[f64]| sum(values.iter().map(|x| x * x));
        (product, square(&self.row), square(&self.query))
    }
}

fn quotient(score: Score, (product, row, query): (f64, f64, f64), degrees: f64) -> Option<f64> {
    if degrees <= 0.0 {
        return None;
    }
    match score {
        Score::Cov => Some(product / degrees),
        Score::Corr => correlation(product, row, query),
    }
}

/// The correlation of a sum of products and two sums of squares, at most 1; none where one side does not
/// vary.
pub(crate) fn correlation(product: f64, row: f64, query: f64) -> Option<f64> {
    // Each root by itself: the product of tiny squares may vanish.
    let lengths = row.max(0.0).sqrt() * query.max(0.0).sqrt();
    (lengths > 0.0).then(|| (product / lengths).clamp(-1.0, 1.0))
}
