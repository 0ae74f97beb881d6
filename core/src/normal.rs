//! Tails of the standard normal distribution.

/// The z with `P(Z > z) = p`, rounded up by at most 1e-9; 0 for p of a half or more.
pub fn upper_quantile(p: f64) -> f64 {
    if p >= 0.5 {
        return 0.0;
    }
    // The logarithm of the tail is concave, so that Newton's steps come down to the z from above.
    let mut z = (-2.0 * (2.0 * p.max(f64::MIN_POSITIVE)).ln()).sqrt();
    loop {
        let tail = upper_tail(z);
        let step = (tail / p.max(f64::MIN_POSITIVE)).ln() * tail / density(z);
        z += step;
        if step > -1e-10 {
            return z.max(0.0) + 1e-10;
        }
    }
}

fn density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// `P(Z > z)` for z >= 0, to about 1e-14 relative: the series of the distribution function below 2.5, the
/// continued fraction of Mills' ratio above.
pub fn upper_tail(z: f64) -> f64 {
    let density = density(z);
    if z < 2.5 {
        let (mut term, mut sum, mut n) = (z, z, 1.0);
        while term > 1e-18 * sum {
            n += 2.0;
            term *= z * z / n;
            sum += term;
        }
        return 0.5 - density * sum;
    }
    let ratio = (1..=200).rev().fold(z, |below, n| z + f64::from(n) / below);
    density / ratio
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_tables() {
        for (p, z) in [
            (0.1, 1.281_551_565_544_6),
            (0.01, 2.326_347_874_040_8),
            (1e-3, 3.090_232_306_167_8),
            (1e-6, 4.753_424_308_822_9),
            (1e-8, 5.612_001_244_174_8),
            (1e-12, 7.034_483_825_211_4),
        ] {
            assert!((upper_quantile(p) - z).abs() < 2e-9, "{p}: {} is not {z}", upper_quantile(p));
        }
        assert_eq!(upper_quantile(0.5), 0.0);
        assert!(upper_quantile(0.0) <= 40.0);
    }
}
