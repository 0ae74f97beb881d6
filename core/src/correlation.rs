//! Correlation of paired values (Pearson, and Spearman of ranks), and orders by value.

/// Ranks from 1; equal values share the mean of their ranks.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = before as f64 + (equal.len() + 1) as f64 / 2.0;
        equal.iter().for_each(|place| ranks[*place] = rank);
        before += equal.len();
    }
    ranks
}

/// Places by value, largest first, equal ones by place; what is not defined (NaN) comes last.
pub fn descending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    // Adding 0 makes -0 equal to 0.
    let by_value = |a: usize, b: usize| (values[b] + 0.0).total_cmp(&(values[a] + 0.0));
    order.sort_by(|a, b| values[*a].is_nan().cmp(&values[*b].is_nan()).then(by_value(*a, *b)));
    order
}

/// Pearson's correlation; none of fewer than two pairs, where a side is constant, and where a value is not
/// finite.
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.len() < 2 || is_constant(a) || is_constant(b) {
        return None;
    }
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    let found = ab / (aa.sqrt() * bb.sqrt());
    found.is_finite().then(|| found.clamp(-1.0, 1.0))
}

/// Spearman's rank correlation, with mean ranks for ties; none of fewer than two pairs, where a side is
/// constant, and where a value is not finite.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.len() < 2 || a.iter().chain(b).any(|x| !x.is_finite()) {
        return None;
    }
    of_ranks(&ranks(a), &ranks(b))
}

/// Spearman's correlation of ranks from 1, in which ties have their mean; none where a side is constant.
pub fn of_ranks(a: &[f64], b: &[f64]) -> Option<f64> {
    let mean = (a.len() as f64 + 1.0) / 2.0;
    let product: f64 = a.iter().zip(b).map(|(x, y)| (x - mean) * (y - mean)).sum();
    let square = |values: &[f64]| values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
    let lengths = (square(a) * square(b)).sqrt();
    (lengths > 0.0).then(|| (product / lengths).clamp(-1.0, 1.0))
}

/// Whether all values are the same.
pub fn is_constant<T: PartialEq>(values: &[T]) -> bool {
    values.windows(2).all(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_the_mean_of_their_ranks() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert_eq!(ranks(&[2.0, 1.0, 2.0, -0.0, 0.0]), [4.5, 3.0, 4.5, 1.5, 1.5]);
        assert!(ranks(&[]).is_empty());
    }

    #[test]
    fn equal_values_go_by_place_and_what_is_not_defined_comes_last() {
        assert_eq!(descending(&[2.0, -0.0, 5.0, 0.0, 2.0]), [2, 0, 4, 1, 3]);
        assert_eq!(descending(&[0.5, f64::NAN, 0.7, 0.5, -3.0]), [2, 0, 3, 4, 1]);
    }

    #[test]
    fn correlations_of_known_lists() {
        let a = [1.0, 2.0, 3.0, 4.0];
        let near = |found: Option<f64>, want: f64| {
            let found = found.expect("defined");
            assert!((found - want).abs() < 1e-9, "{found} is not {want}");
        };
        near(pearson(&a, &[2.0, 4.0, 6.0, 8.5]), 0.9983814394);
        near(pearson(&[1.0, 2.0], &[2.0, 4.0]), 1.0);
        // scipy.stats.spearmanr
        near(spearman(&[1.0, 2.0, 2.0, 4.0], &[1.0, 3.0, 2.0, 4.0]), 0.948_683_298_050_513_7);
        near(spearman(&a, &[1.0, 1.0, 2.0, 0.0]), -0.3162277660);
        assert_eq!(spearman(&a, &[1.0, 10.0, 100.0, 1000.0]), Some(1.0));
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 30.0, 20.0]), Some(0.5));
    }

    #[test]
    fn a_constant_side_has_no_correlation_nor_has_what_is_not_finite() {
        let seven = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        for found in [spearman, pearson] {
            assert_eq!(found(&[0.1; 7], &seven), None);
            assert_eq!(found(&[1.0], &[2.0]), None);
            assert_eq!(found(&[1.0, f64::NAN], &[1.0, 2.0]), None);
        }
    }
}
