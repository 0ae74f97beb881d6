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

/// Cronbach's alpha (1951) of scores that are means of `CLASSES` estimates: one less the variance of their errors over
/// theirs, which is the mean of the split-half reliabilities of Flanagan and Rulon over all ways to halve the classes.
/// `deviations` says how far the estimates of a row are from its score. What the errors of all rows have in common
/// changes no order and is no noise. None for fewer than two rows, or labels that are all equal.
pub fn reliability<const CLASSES: usize>(
    scores: &[f64],
    deviations: &[[f64; CLASSES]],
    bootstrap: &Bootstrap,
) -> Option<Reliability> {
    if scores.len() < 2 || scores.iter().all(|score| *score == scores[0]) {
        return None;
    }
    // Scores that are far from 0 lose no digits.
    let centre = scores.iter().sum::<f64>() / scores.len() as f64;
    let of = |rows: &mut dyn Iterator<Item = usize>| {
        let mut n = 0.0f64;
        let mut score = Moments::default();
        let mut classes = [Moments::default(); CLASSES];
        rows.for_each(|row| {
            n += 1.0;
            score.add(scores[row] - centre);
            classes.iter_mut().zip(&deviations[row]).for_each(|(class, deviation)| class.add(*deviation));
        });
        let noise: f64 = classes.iter().map(|class| class.scatter(n)).sum();
        let of_mean = noise / (CLASSES * CLASSES.saturating_sub(1)) as f64;
        (1.0 - of_mean / score.scatter(n)).clamp(0.0, 1.0)
    };
    let value = of(&mut (0..scores.len()));
    // Errors are measured on few rows.
    let never = Cancel::new();
    let interval = bootstrap.interval(scores.len(), &never, |rows| of(&mut rows.iter().copied())).ok()??;
    Some(Reliability { value, interval, rows: scores.len() })
}

/// Sums of values and their squares.
#[derive(Debug, Default, Clone, Copy)]
struct Moments {
    sum: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.squares += value * value;
    }

    /// Squares of the distances from the mean of `n` values.
    fn scatter(self, n: f64) -> f64 {
        self.squares - self.sum * self.sum / n
    }
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
        // Sums of uniform numbers. A score is the mean of four estimates, whose errors have a variance of 2: 1 of the
        // signal, 0.5 of the noise. Errors that all rows have in common are none, and change nothing.
        let normal = |of: u64, row: u64| (0..12).map(|i| random::uniform(of, row, i)).sum::<f64>() - 6.0;
        let of = |common: f64| {
            let row = |row: u64| {
                let signal = normal(1, row);
                let error = |class: u64| 2.0f64.sqrt() * normal(2 + class, row) + common * class as f64;
                let estimates = [0, 1, 2, 3].map(|class| signal + error(class));
                let score = estimates.iter().sum::<f64>() / 4.0;
                (score, estimates.map(|estimate| estimate - score))
            };
            let (scores, deviations): (Vec<_>, Vec<_>) = (0..2000).map(row).unzip();
            reliability(&scores, &deviations, &Bootstrap::default()).unwrap()
        };
        let found = of(0.0);
        assert!((found.value - 2.0 / 3.0).abs() < 0.04, "{found:?}");
        assert!(found.interval.low < found.value && found.value < found.interval.high);
        let shifted = of(10.0);
        assert!((shifted.value - found.value).abs() < 1e-9, "{shifted:?}");
        assert!(reliability(&[1.0; 5], &[[0.1, -0.1]; 5], &Bootstrap::default()).is_none());
    }
}
