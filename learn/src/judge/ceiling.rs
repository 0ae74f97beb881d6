//! Expected recall of a perfect prediction where labels are noisy.

use gstore_core::Cancel;
use serde::{Deserialize, Serialize};

use super::resample::{Bootstrap, Interval};

/// The share of a label's variance that is not noise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    /// The share.
    pub value: f64,
    /// Its interval.
    pub interval: Interval,
    /// Rows it was measured on.
    pub rows: usize,
}

/// One less the mean square of the labels' standard errors over their variance. The errors are those of
/// balanced halves of a projection's coordinates. None for fewer than two rows, or labels that are all equal.
pub fn reliability(scores: &[f64], errors: &[f64], bootstrap: &Bootstrap) -> Option<Reliability> {
    let of = |rows: &mut dyn Iterator<Item = usize>| {
        let (mut n, mut sum, mut squares, mut noise) = (0.0f64, 0.0, 0.0, 0.0);
        rows.for_each(|row| {
            n += 1.0;
            sum += scores[row];
            squares += scores[row] * scores[row];
            noise += errors[row] * errors[row];
        });
        let variance = (squares - sum * sum / n) / (n - 1.0);
        (1.0 - noise / n / variance).clamp(0.0, 1.0)
    };
    if scores.len() < 2 || scores.iter().all(|score| *score == scores[0]) {
        return None;
    }
    let value = of(&mut (0..scores.len()));
    // Errors are measured on few rows.
    let never = Cancel::new();
    let interval = bootstrap.interval(scores.len(), &never, |rows| of(&mut rows.iter().copied())).ok()??;
    Some(Reliability { value, interval, rows: scores.len() })
}

/// The recall of the top share of noisy labels that the noiseless score would reach when a share of rows is
/// kept, both normal.
pub fn expected_recall(reliability: f64, top: f64, kept: f64) -> f64 {
    if kept >= 1.0 || !(top > 0.0 && top < 1.0) {
        return 1.0;
    }
    if kept <= 0.0 {
        return 0.0;
    }
    let (common, own) = (reliability.max(0.0).sqrt(), (1.0 - reliability).max(1e-12).sqrt());
    let cut = quantile(1.0 - kept);
    const STEPS: usize = 2000;
    let at = |step: usize| {
        let label = quantile(1.0 - top * (step as f64 + 0.5) / STEPS as f64);
        normal((common * label - cut) / own)
    };
    (0..STEPS).map(at).sum::<f64>() / STEPS as f64
}

/// The normal distribution function (Abramowitz and Stegun 7.1.26, to 1.5e-7).
fn normal(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let tail = 0.5 * series.iter().fold(0.0, |sum, c| (sum + c) * t) * (-z * z).exp();
    if x >= 0.0 { 1.0 - tail } else { tail }
}

fn quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-10.0, 10.0);
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if normal(middle) < p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    #[test]
    fn ceilings_are_those_of_the_simulation() {
        // The table of docs/prefilter.md: the share of noise, and recalls at 10, 20, 36.5 and 50 %.
        for (noise, recalls) in [
            (0.25, [0.80, 0.95, 1.00, 1.00]),
            (0.50, [0.59, 0.79, 0.93, 0.98]),
            (0.75, [0.38, 0.58, 0.78, 0.88]),
            (0.95, [0.20, 0.35, 0.55, 0.68]),
        ] {
            for (kept, recall) in [0.1, 0.2, 0.365, 0.5].into_iter().zip(recalls) {
                let found = expected_recall(1.0 - noise, 0.05, kept);
                assert!((found - recall).abs() < 0.012, "{noise} {kept}: {found}");
            }
        }
        assert_eq!((expected_recall(0.5, 0.05, 1.0), expected_recall(0.5, 0.05, 0.0)), (1.0, 0.0));
    }

    #[test]
    fn noise_is_told_from_signal() {
        // Sums of uniform numbers: variance 1 of the signal, 0.5 of the noise.
        let normal = |of: u64, row: u64| (0..12).map(|i| random::uniform(of, row, i)).sum::<f64>() - 6.0;
        let scores: Vec<f64> = (0..2000).map(|row| normal(1, row) + 0.5f64.sqrt() * normal(2, row)).collect();
        let found = reliability(&scores, &[0.5f64.sqrt(); 2000], &Bootstrap::default()).unwrap();
        assert!((found.value - 2.0 / 3.0).abs() < 0.04, "{found:?}");
        assert!(found.interval.low < found.value && found.value < found.interval.high);
        assert!(reliability(&[1.0; 5], &[0.1; 5], &Bootstrap::default()).is_none());
    }
}
