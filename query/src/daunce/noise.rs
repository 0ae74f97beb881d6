//! Noise floor of correlations: their spread, and the largest of many, where nothing is related.

use gstore_core::normal::upper_quantile;

/// Standard deviation of the correlation of unrelated losses; `None` with fewer than two dimensions.
///
/// `dimensions`: those of the centred losses, of rows that are centred models less groups. Source: the exact
/// variance of the sample correlation of K independent normal values, 1 / (K - 1).
pub(crate) fn noise_of_correlations(dimensions: usize) -> Option<f64> {
    (dimensions >= 2).then(|| 1.0 / (dimensions as f64).sqrt())
}

/// What the largest of `n` correlations of unrelated losses is expected to be, at most 1.
///
/// The expectation of the largest of n normal values is close to the quantile of 1 - exp(-gamma) / n, with
/// Euler's gamma.
pub(crate) fn largest_of(n: u64, dimensions: usize) -> Option<f64> {
    const EXP_MINUS_GAMMA: f64 = 0.561_459_483_566_885_1;
    let noise = noise_of_correlations(dimensions)?;
    if n < 2 {
        return Some(noise);
    }
    Some((upper_quantile(EXP_MINUS_GAMMA / n as f64) * noise).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_that_of_unrelated_losses() {
        assert!((noise_of_correlations(99).unwrap() - 0.1005).abs() < 5e-5);
        assert!((noise_of_correlations(199).unwrap() - 0.0709).abs() < 5e-5);
        assert_eq!(noise_of_correlations(1), None);
    }

    #[test]
    fn the_largest_of_many_is_about_what_was_seen() {
        // Seen once among 20,000: 0.41 with 100 models, 0.29 with 200.
        assert!((largest_of(20_000, 99).unwrap() - 0.41).abs() < 0.015);
        assert!((largest_of(20_000, 199).unwrap() - 0.29).abs() < 0.015);
        assert_eq!(largest_of(1_000_000, 2), Some(1.0));
    }
}
