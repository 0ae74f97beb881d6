//! Placements of rows, whose mean is the area under the ROC curve.

use gstore_core::correlation::ranks;

/// Of each row the share of rows of the other class that it is on the right side of: a positive row above
/// negative ones, ties by half. The mean over the positive rows, and over the negative ones, is the area
/// under the ROC curve. None where a class has no row, and of scores of other rows.
pub(super) fn placements(scores: &[f64], positive: &[bool]) -> Option<Vec<f64>> {
    let all = ranks(scores);
    let of =
        |class: bool| -> Vec<usize> { (0..positive.len()).filter(|row| positive[*row] == class).collect() };
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Area under the ROC curve: how often a positive row has the higher score than a negative
    /// one, ties by half.
    pub fn auc(scores: &[f64], positive: &[bool]) -> Option<f64> {
        let placed = placements(scores, positive)?;
        let of_positives: Vec<f64> =
            placed.iter().zip(positive).filter(|(_, p)| **p).map(|(v, _)| *v).collect();
        Some(of_positives.iter().sum::<f64>() / of_positives.len() as f64)
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
