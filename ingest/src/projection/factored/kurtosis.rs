//! Kurtosis test: whether coordinates are too uneven for a mask.

/// Above this, a mask is warned about.
pub(crate) const KURTOSIS_LIMIT: f64 = 10.0;

/// Kurtosis of the coordinates of some sampled vectors: `d sum x^4 / (sum x^2)^2`, the mean over the samples.
///
/// 1 for coordinates of equal magnitude, 3 for normal ones. The relative variance of a mask of k coordinates
/// is about `(kurtosis - 1)/k`. Vectors are formed gradients, or the inputs or output gradients of a token.
/// Samples that are zero or not finite do not count; without any other it is 0.
pub(crate) fn kurtosis<'a>(samples: impl IntoIterator<Item = &'a [f32]>) -> f64 {
    let values: Vec<f64> = samples.into_iter().map(of).filter(|k| k.is_finite()).collect();
    values.iter().sum::<f64>() / values.len().max(1) as f64
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
        spiky[50] = 20.0;
        let zero = vec![0.0; 100];
        assert!((kurtosis([&even[..]]) - 1.0).abs() < 1e-12);
        // 9/5 for uniform values.
        let uniform: Vec<f32> = (0..1000).map(|i| i as f32 - 499.5).collect();
        assert!((kurtosis([&uniform[..]]) - 1.8).abs() < 1e-3);
        let got = kurtosis([&spiky[..], &zero[..], &spiky[..]]);
        assert!(got > KURTOSIS_LIMIT && got == kurtosis([&spiky[..]]), "{got}");
        assert_eq!((kurtosis([&zero[..]]), kurtosis([])), (0.0, 0.0));
    }
}
