//! Rank correlation with average ranks for ties, Pearson's correlation, and the area under the ROC curve.

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

/// Pearson's correlation; none of fewer than two pairs, and where a side is constant.
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

/// Spearman's correlation: Pearson's of the ranks.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    pearson(&ranks(a), &ranks(b))
}

/// Whether all values are the same.
pub fn is_constant(values: &[f64]) -> bool {
    values.windows(2).all(|pair| pair[0] == pair[1])
}

/// Of each row the share of rows of the other class that it is on the right side of: a positive row above
/// negative ones, ties by half. The mean over the positive rows, and over the negative ones, is the area
/// under the ROC curve. None where a class has no row.
pub fn placements(scores: &[f64], positive: &[bool]) -> Option<Vec<f64>> {
    let all = ranks(scores);
    let of =
        |class: bool| -> Vec<usize> { (0..scores.len()).filter(|row| positive[*row] == class).collect() };
    let (positives, negatives) = (of(true), of(false));
    if scores.len() != positive.len() || positives.is_empty() || negatives.is_empty() {
        return None;
    }
    let mut placed = vec![0.0; scores.len()];
    for (own, others, above) in [(&positives, &negatives, true), (&negatives, &positives, false)] {
        // A rank counts the rows below it and half of its equals, of both classes; those of its own
        // class are taken off again.
        let within = ranks(&own.iter().map(|row| scores[*row]).collect::<Vec<f64>>());
        for (row, within) in own.iter().zip(within) {
            let share = (all[*row] - within) / others.len() as f64;
            placed[*row] = if above { share } else { 1.0 - share };
        }
    }
    Some(placed)
}

/// Area under the ROC curve: how often a positive row has the higher score than a negative one, ties by half.
pub fn auc(scores: &[f64], positive: &[bool]) -> Option<f64> {
    let placed = placements(scores, positive)?;
    let of_positives: Vec<f64> = placed.iter().zip(positive).filter(|(_, p)| **p).map(|(v, _)| *v).collect();
    Some(of_positives.iter().sum::<f64>() / of_positives.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_the_mean_of_their_ranks() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert_eq!(ranks(&[0.0, -0.0, 1.0]), [1.5, 1.5, 3.0]);
        // scipy.stats.spearmanr([1, 2, 2, 4], [1, 3, 2, 4])
        let found = spearman(&[1.0, 2.0, 2.0, 4.0], &[1.0, 3.0, 2.0, 4.0]).expect("defined");
        assert!((found - 0.948_683_298_050_513_7).abs() < 1e-12, "{found}");
    }

    #[test]
    fn a_constant_side_has_no_correlation() {
        assert_eq!(spearman(&[0.1; 7], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), None);
        assert_eq!(spearman(&[1.0], &[2.0]), None);
        assert!(pearson(&[1.0, 2.0], &[2.0, 4.0]).is_some_and(|found| (found - 1.0).abs() < 1e-12));
    }

    #[test]
    fn the_area_under_the_curve_counts_ties_by_half() {
        let positive = [true, false, true, false, false];
        // Pairs of (0.9, 0.4) against (0.5, 0.4, 0.1): 3 and 1.5 of 3.
        let found = auc(&[0.9, 0.5, 0.4, 0.4, 0.1], &positive).expect("two classes");
        assert!((found - 0.75).abs() < 1e-15, "{found}");
        let placed = placements(&[0.9, 0.5, 0.4, 0.4, 0.1], &positive).expect("two classes");
        assert!((placed[1] + placed[3] + placed[4] - 3.0 * 0.75).abs() < 1e-15, "{placed:?}");
        assert_eq!(auc(&[1.0, 2.0], &[true, true]), None);
    }
}
