//! Confidence intervals of probabilities.

/// The upper end of the exact one-sided interval of a probability (Clopper and Pearson 1934): if it is the
/// truth, `failures` or fewer out of `trials` have a probability of 1 - `confidence`.
pub fn most_likely(failures: u64, trials: u64, confidence: f64) -> f64 {
    if failures >= trials { 1.0 } else { bound(failures, trials, 1.0 - confidence) }
}

/// The lower end of the same kind of interval.
pub fn least_likely(failures: u64, trials: u64, confidence: f64) -> f64 {
    if failures == 0 { 0.0 } else { bound(failures - 1, trials, confidence) }
}

/// The probability at which `k` or fewer out of `n > k` have a probability of `share`.
fn bound(k: u64, n: u64, share: f64) -> f64 {
    let (mut low, mut high) = (0.0f64, 1.0f64);
    for _ in 0..200 {
        let p = 0.5 * (low + high);
        if at_most(k, n, p) > share { low = p } else { high = p }
    }
    high
}

/// The probability of `k` or fewer out of `n` if each has probability `p`: the terms of the binomial distribution,
/// summed from the greatest to both sides, since one at the edge may be too small to compute the others from.
fn at_most(k: u64, n: u64, p: f64) -> f64 {
    let at = k.min(((n + 1) as f64 * p) as u64);
    let ways: f64 = (1..=at).map(|i| ((n - at + i) as f64 / i as f64).ln()).sum();
    let greatest = (ways + at as f64 * p.ln() + (n - at) as f64 * (-p).ln_1p()).exp();
    // Of term i to the one before.
    let ratio = |i: u64| (n - i + 1) as f64 * p / (i as f64 * (1.0 - p));
    let below = (1..=at).rev().scan(greatest, |term, i| {
        *term /= ratio(i);
        Some(*term)
    });
    let above = (at + 1..=k).scan(greatest, |term, i| {
        *term *= ratio(i);
        Some(*term)
    });
    greatest + below.sum::<f64>() + above.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_scipy() {
        // scipy.stats.beta.ppf(0.95, k + 1, n - k)
        for (failures, trials, want) in [
            (0, 1000, 0.0029912493),
            (5, 100, 0.1022533776),
            (57, 100_000, 0.0007106408),
            (90, 1000, 0.1062987875),
            (1000, 10_000, 0.1050711166),
        ] {
            let got = most_likely(failures, trials, 0.95);
            assert!((got - want).abs() < 1e-7 * want, "{failures} of {trials}: {got} is not {want}");
        }
        assert!((least_likely(5, 100, 0.95) - 0.0199055637).abs() < 1e-9);
        assert_eq!((most_likely(3, 3, 0.95), least_likely(0, 3, 0.95)), (1.0, 0.0));
    }
}
