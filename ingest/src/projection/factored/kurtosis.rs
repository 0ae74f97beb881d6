//! Kurtosis test: whether coordinates are too uneven for a mask.

use std::ops::Range;

/// Above this, a mask is warned about.
pub const KURTOSIS_LIMIT: f64 = 10.0;

/// Kurtosis of the coordinates of each part of some sampled vectors: `d sum x^4 / (sum x^2)^2`, the
/// mean over the samples.
///
/// 1 for coordinates of equal magnitude, 3 for normal ones. The relative variance of a mask of k coordinates
/// is about `(kurtosis - 1)/k`. Parts are modules in a formed gradient, or the whole of a token's inputs or
/// output gradients. Samples that are zero or not finite there do not count; a part without any other has 0.
///
/// # Panics
/// If a part leaves a sample.
pub fn kurtosis(samples: &[&[f32]], parts: &[Range<usize>]) -> Vec<f64> {
    parts
        .iter()
        .map(|part| {
            let values: Vec<f64> =
                samples.iter().map(|s| of(&s[part.clone()])).filter(|k| k.is_finite()).collect();
            values.iter().sum::<f64>() / values.len().max(1) as f64
        })
        .collect()
}

fn of(values: &[f32]) -> f64 {
    let squares = values.iter().map(|v| f64::from(*v).powi(2));
    let (sum, fourth) = squares.fold((0.0, 0.0), |(sum, fourth), s| (sum + s, fourth + s * s));
    values.len() as f64 * fourth / (sum * sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_channel_stands_out() {
        let even: Vec<f32> = (0..100).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let mut spiky = even.clone();
        spiky[150 - 100] = 20.0;
        let zero = vec![0.0; 100];
        let whole = [0..100, 0..50];
        let got = kurtosis(&[&even], &whole);
        assert!(got.iter().all(|k| (k - 1.0).abs() < 1e-12));
        let got = kurtosis(&[&spiky, &zero, &spiky], &whole);
        assert!(got[0] > KURTOSIS_LIMIT && (got[1] - 1.0).abs() < 1e-12, "{got:?}");
        assert_eq!(kurtosis(&[&zero], &whole), [0.0, 0.0]);
        assert_eq!(kurtosis(&[], &whole), [0.0, 0.0]);
    }
}
