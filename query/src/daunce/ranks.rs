//! Rank correlation, and the best of some scores by a full sort.

/// Spearman's rank correlation, with mean ranks for ties; `None` where one side does not vary, has fewer than
/// two values, or a value that is not finite.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.len() < 2 || a.iter().chain(b).any(|x| !x.is_finite()) {
        return None;
    }
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 + 1.0) / 2.0;
    let product: f64 = a.iter().zip(&b).map(|(x, y)| (x - mean) * (y - mean)).sum();
    let square = |values: &[f64]| values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
    let lengths = (square(&a) * square(&b)).sqrt();
    (lengths > 0.0).then(|| (product / lengths).clamp(-1.0, 1.0))
}

/// Ranks from 1, those of equal values their mean.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|i, j| (values[*i] + 0.0).total_cmp(&(values[*j] + 0.0)));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for alike in order.chunk_by(|i, j| values[*i] == values[*j]) {
        let mean = first as f64 + (alike.len() as f64 + 1.0) / 2.0;
        alike.iter().for_each(|i| ranks[*i] = mean);
        first += alike.len();
    }
    ranks
}

/// The places of the `k` highest scores in order, of equal ones the first; those that are not defined (NaN)
/// come last.
pub fn best(scores: &[f64], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let key = |i: usize| if scores[i].is_nan() { f64::NEG_INFINITY } else { scores[i] + 0.0 };
    order.sort_by(|i, j| scores[*i].is_nan().cmp(&scores[*j].is_nan()).then(key(*j).total_cmp(&key(*i))));
    order.truncate(k);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_have_their_mean_rank() {
        assert_eq!(ranks(&[2.0, 1.0, 2.0, -0.0, 0.0]), [4.5, 3.0, 4.5, 1.5, 1.5]);
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 30.0, 20.0]), Some(0.5));
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[1.0, f64::NAN], &[1.0, 2.0]), None);
    }

    #[test]
    fn what_is_not_defined_comes_last() {
        assert_eq!(best(&[0.5, f64::NAN, 0.7, 0.5, -3.0], 9), [2, 0, 3, 4, 1]);
        assert_eq!(best(&[0.5, f64::NAN, 0.7], 1), [2]);
    }
}
