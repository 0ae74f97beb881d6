//! The score of a row for several queries with its standard error, by a jackknife over the models.

use super::how::Score;
use super::pair::Pair;

/// A score and how far it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// The score; none where it is not defined.
    pub score: Option<f64>,
    /// Its standard error over the models; none with fewer than three, of a correlation than four.
    pub se: Option<f64>,
    /// Models that it is taken over; of several queries the fewest.
    pub models: usize,
    /// Standard deviation of the score of losses that vary as much and are unrelated.
    pub noise_floor: Option<f64>,
}

impl Estimate {
    /// The score in standard errors; none where there is no error.
    pub fn z(&self) -> Option<f64> {
        let (score, se) = (self.score?, self.se?);
        (se > 0.0).then(|| score / se)
    }
}

/// The score of a row from its pairs with the queries: `combine` makes one value of those of the queries, and
/// says by how much each of them counts in it.
///
/// The standard error is that of the jackknife over models: with K of them and the scores S_k without one,
/// `se^2 = (K - 1) / K sum (S_k - mean)^2`. For a covariance this is the closed form
/// `K / ((K - 1) (K - 2)^2) sum (p_k - mean)^2` of the centred products p_k.
pub fn estimate(pairs: &[Pair], score: Score, combine: impl Fn(&[f64]) -> (f64, Vec<f64>)) -> Estimate {
    let models = pairs.iter().map(Pair::models).min().unwrap_or(0);
    let values: Option<Vec<f64>> = pairs.iter().map(|pair| pair.score(score)).collect();
    let combined = values.map(|values| combine(&values));
    let jackknifed = pairs.iter().all(|pair| pair.has_jackknife(score));
    let parts = jackknifed.then(|| without_each(pairs, score, |values| combine(values).0)).flatten();
    let noise_floor = combined.as_ref().and_then(|(_, counts)| noise(pairs, score, counts));
    Estimate {
        score: combined.map(|(score, _)| score),
        se: parts.map(|parts| spread(&parts)),
        models,
        noise_floor,
    }
}

/// The score without each model; none for a model that no pair uses, and where it is not defined without it.
pub(crate) fn without_model(
    pairs: &[Pair],
    score: Score,
    combine: impl Fn(&[f64]) -> f64,
) -> Vec<Option<f64>> {
    let of_pairs: Vec<Vec<Option<f64>>> = pairs.iter().map(|pair| pair.without_each(score)).collect();
    let models = of_pairs.first().map_or(0, Vec::len);
    let without = |k: usize| {
        let values: Option<Vec<f64>> = of_pairs.iter().map(|of_pair| of_pair[k]).collect();
        values.filter(|_| pairs.iter().any(|pair| pair.has(k))).map(|values| combine(&values))
    };
    (0..models).map(without).collect()
}

/// The score without each model that any pair uses; none where it is not defined without one of them.
fn without_each(pairs: &[Pair], score: Score, combine: impl Fn(&[f64]) -> f64) -> Option<Vec<f64>> {
    let without = without_model(pairs, score, combine);
    let used = (0..without.len()).filter(|k| pairs.iter().any(|pair| pair.has(*k)));
    used.map(|k| without[k]).collect()
}

/// The jackknife's standard error.
fn spread(parts: &[f64]) -> f64 {
    let n = parts.len() as f64;
    let mean = parts.iter().sum::<f64>() / n;
    let squares: f64 = parts.iter().map(|x| (x - mean) * (x - mean)).sum();
    ((n - 1.0) / n * squares).sqrt()
}

/// What the score of an unrelated row would vary by: the length of the queries as they count in the score,
/// times that of the row, over the root of the dimensions that both have after centring. Only a covariance is
/// divided by what `ddof` makes of the number of models.
fn noise(pairs: &[Pair], score: Score, counts: &[f64]) -> Option<f64> {
    let first = pairs.first()?;
    let square = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>();
    let mut sum = vec![0.0; first.query.len()];
    for (pair, count) in pairs.iter().zip(counts) {
        let length = match score {
            Score::Cov => 1.0,
            Score::Corr => square(&pair.query).sqrt(),
        };
        if length > 0.0 {
            sum.iter_mut().zip(&pair.query).for_each(|(sum, x)| *sum += count * x / length);
        }
    }
    let (degrees, dimensions) = (first.degrees, first.dimensions as f64);
    if degrees < 1.0 || dimensions < 1.0 {
        return None;
    }
    Some(match score {
        Score::Corr => square(&sum).sqrt() / dimensions.sqrt(),
        Score::Cov => (square(&sum) * square(&first.row)).sqrt() / degrees / dimensions.sqrt(),
    })
}
