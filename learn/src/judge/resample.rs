//! The bootstrap: percentile intervals over rows that are drawn with replacement.

use gstore_core::{Cancel, Cancelled};
use serde::{Deserialize, Serialize};

use crate::random;

/// Where a value lies with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How often rows are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    /// Resamples.
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 1000, seed: 42 }
    }
}

impl Bootstrap {
    /// The interval of a measure over `n` rows; none where no resample gives a finite one.
    ///
    /// # Errors
    /// Being told to stop.
    pub fn interval(
        &self,
        n: usize,
        cancel: &Cancel,
        mut measure: impl FnMut(&[usize]) -> f64,
    ) -> Result<Option<Interval>, Cancelled> {
        let mut rows = vec![0; n];
        let mut found = Vec::with_capacity(self.resamples);
        for resample in 0..self.resamples {
            cancel.check()?;
            for (i, row) in rows.iter_mut().enumerate() {
                *row = random::below(self.seed, resample as u64, i as u64, n);
            }
            found.push(measure(&rows));
        }
        found.retain(|value| value.is_finite());
        found.sort_unstable_by(f64::total_cmp);
        let at =
            |share: f64| found.get(((found.len() as f64 - 1.0).max(0.0) * share).round() as usize).copied();
        Ok(at(0.025).zip(at(0.975)).map(|(low, high)| Interval { low, high }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_mean_is_about_two_errors_wide() {
        let values: Vec<f64> = (0..400).map(|i| random::uniform(1, 0, i)).collect();
        let mean = |rows: &[usize]| rows.iter().map(|row| values[*row]).sum::<f64>() / rows.len() as f64;
        let found = Bootstrap::default().interval(400, &Cancel::new(), mean).unwrap().unwrap();
        let width = found.high - found.low;
        // 2 * 1.96 * sqrt(1/12) / 20
        assert!((width - 0.0566).abs() < 0.01, "{found:?}");
        assert_eq!(Bootstrap::default().interval(0, &Cancel::new(), |_| f64::NAN), Ok(None));
        assert_eq!(Bootstrap::default().interval(400, &Cancel::raised(), mean), Err(Cancelled));
    }
}
