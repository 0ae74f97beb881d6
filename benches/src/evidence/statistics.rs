//! Confidence intervals of probabilities.

/// The upper end of the exact one-sided interval of a probability (Clopper and Pearson 1934): if it is the
/// truth, `failures` or fewer out of `trials` have a probability of 1 - `confidence`.
pub fn most_likely(failures: u64, trials: u64, confidence: f64) -> f64 {
    if failures >= trials {
        return 1.0;
    }
    // P(X <= k) of a binomial is the regularised incomplete beta function I_{1-p}(n - k, k + 1).
    let (mut low, mut high) = (0.0f64, 1.0f64);
    for _ in 0..200 {
        let p = 0.5 * (low + high);
        let below = beta((trials - failures) as f64, failures as f64 + 1.0, 1.0 - p);
        if below > 1.0 - confidence { low = p } else { high = p }
    }
    high
}

/// The lower end of the same kind of interval.
pub fn least_likely(failures: u64, trials: u64, confidence: f64) -> f64 {
    1.0 - most_likely(trials - failures, trials, confidence)
}

/// The regularised incomplete beta function `I_x(a, b)`: the continued fraction of Numerical Recipes,
/// section 6.4, by Lentz.
fn beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta(b, a, 1.0 - x);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp() / a;
    let away = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let (mut c, mut d) = (1.0, 1.0 / away(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            change = c * d;
            fraction *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * fraction
}

/// The logarithm of the gamma function, by Lanczos's series with g = 7 and nine terms.
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 8] = [
        676.5203681218851,
        -1259.1392167224028,
        771.32342877765313,
        -176.61502916214059,
        12.507343278686905,
        -0.13857109526572012,
        9.9843695780195716e-6,
        1.5056327351493116e-7,
    ];
    let x = x - 1.0;
    let series = TERMS
        .iter()
        .enumerate()
        .fold(0.99999999999980993, |sum, (i, term)| sum + term / (x + i as f64 + 1.0));
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + series.ln()
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
