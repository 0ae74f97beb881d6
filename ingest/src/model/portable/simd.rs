//! Plain loops compiled for the vector instructions that the CPU has, chosen at run time.

/// Runs a loop compiled for the widest vectors of this CPU. Functions that it calls must be `#[inline(always)]` to be compiled so too.
#[inline(always)]
pub(super) fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// `e^x` with a relative error below 2e-7; saturates below -87.3 (about 1e-38) and above 88.3. Branch-free, so it vectorises.
///
/// Range reduction by ln 2 in two parts and a polynomial of degree 5 on [-ln 2 / 2, ln 2 / 2] (Cephes `expf`).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.3, 88.3);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5e-1;
    let mantissa = p * (r * r) + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    mantissa * f32::from_bits(exponent)
}

/// Independent partial sums, so that a sum of f32 vectorises.
const LANES: usize = 16;

/// Sum of products.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_tail) = a.as_chunks::<LANES>();
    let (b_chunks, b_tail) = b.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + tail
}

/// Sum of products of three.
#[inline(always)]
pub(super) fn dot3(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let (a_chunks, a_tail) = a.as_chunks::<LANES>();
    let (b_chunks, b_tail) = b.as_chunks::<LANES>();
    let (c_chunks, c_tail) = c.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for ((a, b), c) in a_chunks.iter().zip(b_chunks).zip(c_chunks) {
        for (((lane, a), b), c) in lanes.iter_mut().zip(a).zip(b).zip(c) {
            *lane += a * b * c;
        }
    }
    let tail: f32 = a_tail.iter().zip(b_tail).zip(c_tail).map(|((a, b), c)| a * b * c).sum();
    lanes.iter().sum::<f32>() + tail
}

/// Largest value; negative infinity for an empty slice.
#[inline(always)]
pub(super) fn max(a: &[f32]) -> f32 {
    let (chunks, tail) = a.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane = if *v > *lane { *v } else { *lane };
        }
    }
    lanes.iter().chain(tail).fold(f32::NEG_INFINITY, |m, v| if *v > m { *v } else { m })
}

/// Replaces each value by `e^(value - shift)` and returns their sum.
#[inline(always)]
pub(super) fn exp_sum(values: &mut [f32], shift: f32) -> f32 {
    let (chunks, tail) = values.as_chunks_mut::<LANES>();
    let mut lanes = [0f32; LANES];
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *v = exp(*v - shift);
            *lane += *v;
        }
    }
    let mut sum = lanes.iter().sum::<f32>();
    for v in tail {
        *v = exp(*v - shift);
        sum += *v;
    }
    sum
}

#[cfg(test)]
mod tests {
    #[test]
    fn exp_is_accurate() {
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            let found = f64::from(super::exp(x));
            assert!(((found - exact) / exact).abs() < 2e-7, "exp({x}) = {found}, exact {exact}");
        }
        assert!(super::exp(-1e9) < 1.3e-38);
        assert!(super::exp(f32::NAN).is_nan() || super::exp(f32::NAN) > 0.0);
    }

    #[test]
    fn sums_cover_every_length() {
        for n in 0..70 {
            let a: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let ones = vec![1.0; n];
            let expected = (0..n).sum::<usize>() as f32;
            assert_eq!(super::dot(&a, &ones), expected);
            assert_eq!(super::dot3(&a, &ones, &ones), expected);
            assert_eq!(super::max(&a), n.checked_sub(1).map_or(f32::NEG_INFINITY, |m| m as f32));
            let mut b = a.clone();
            let sum = super::exp_sum(&mut b, 60.0);
            let exact: f64 = a.iter().map(|v| f64::from(*v - 60.0).exp()).sum();
            assert!((f64::from(sum) - exact).abs() <= 1e-6 * exact);
        }
    }
}
