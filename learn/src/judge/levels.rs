//! Terciles of scores, which are the classes of the classifier, and how well predictions find them.

use gstore_core::correlation::descending;
use serde::Serialize;

use super::order::equal;

/// The tercile of each score: 0 below the score at a third of the sorted list, 2 from that at two thirds on.
/// With ties, levels may have different sizes, or be empty.
pub(crate) fn levels(scores: &[f64]) -> Vec<u8> {
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let third = sorted.len() / 3;
    let (Some(low), Some(high)) = (sorted.get(third), sorted.get(2 * third)) else { return Vec::new() };
    let level = |score: &f64| if score >= high { 2 } else { u8::from(score >= low) };
    scores.iter().map(level).collect()
}

/// Levels of predictions that have none: the best get the highest, as many as there are in truth. Equal ones
/// get that of the middle one of their places, so that the order of rows decides nothing; levels may then
/// have other sizes.
pub(super) fn levels_of_ranks(predictions: &[f64], truth: &[u8]) -> Vec<u8> {
    let count = |level: u8| truth.iter().filter(|t| **t == level).count();
    let (high, middle) = (count(2), count(1));
    let mut found = vec![0; predictions.len()];
    for (places, rows) in equal(&descending(predictions), predictions) {
        let place = places.start + (places.len() - 1) / 2;
        let level = if place < high { 2 } else { u8::from(place < high + middle) };
        rows.iter().for_each(|row| found[*row] = level);
    }
    found
}

/// How often each level was taken for each.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Confusion {
    /// Rows by true level, columns by predicted level.
    pub counts: [[u64; 3]; 3],
    /// The share that is right.
    pub accuracy: f64,
    /// The share that a predictor has which always says the most frequent level.
    pub constant: f64,
}

pub(super) fn confusion(truth: &[u8], predicted: &[u8]) -> Confusion {
    let mut counts = [[0u64; 3]; 3];
    for (truth, predicted) in truth.iter().zip(predicted) {
        counts[usize::from(*truth).min(2)][usize::from(*predicted).min(2)] += 1;
    }
    let n = truth.len().max(1) as f64;
    let right: u64 = (0..3).map(|level| counts[level][level]).sum();
    let most = counts.iter().map(|of_level| of_level.iter().sum::<u64>()).max().unwrap_or(0);
    Confusion { counts, accuracy: right as f64 / n, constant: most as f64 / n }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terciles_are_those_of_the_fork() {
        let scores: Vec<f64> = (0..10).map(f64::from).collect();
        // c = 3: below 3, 3 to 5, from 6 on.
        assert_eq!(levels(&scores), [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]);
        assert_eq!(levels(&[1.0; 6]), [2; 6]);
        assert!(levels(&[]).is_empty());
    }

    #[test]
    fn equal_predictions_have_one_level() {
        let truth = [2, 2, 1, 1, 0, 0];
        for (predictions, levels) in [
            ([1.0; 6], [1; 6]),
            ([5.0, 5.0, 5.0, 1.0, 1.0, 1.0], [2, 2, 2, 0, 0, 0]),
            ([1.0, 5.0, 1.0, 5.0, 1.0, 5.0], [0, 2, 0, 2, 0, 2]),
        ] {
            assert_eq!(levels_of_ranks(&predictions, &truth), levels, "{predictions:?}");
        }
    }

    #[test]
    fn a_constant_predictor_is_as_good_as_the_most_frequent_level() {
        let truth = [0, 0, 1, 2, 2, 2];
        let found = confusion(&truth, &levels_of_ranks(&[0.0, 5.0, 1.0, 2.0, 3.0, 4.0], &truth));
        assert_eq!(found.counts, [[1, 0, 1], [1, 0, 0], [0, 1, 2]]);
        assert_eq!((found.accuracy, found.constant), (0.5, 0.5));
    }
}
