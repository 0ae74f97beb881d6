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

/// `tanh(x)` with a relative error below 3e-7. Branch-free.
///
/// A polynomial near zero (Cephes `tanhf`), elsewhere by the exponential.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let z = x * x;
    let mut p = -5.704_988_7e-3;
    p = p * z + 2.063_908_8e-2;
    p = p * z - 5.373_971_5e-2;
    p = p * z + 1.333_144_2e-1;
    p = p * z - 3.333_328_2e-1;
    let near = p * z * x + x;
    let far = 1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0);
    if x.abs() < 0.625 { near } else { far.copysign(x) }
}

/// Density and distribution function of the normal distribution, each with a relative error below 1e-6 where it is above 1e-37.
/// Branch-free.
///
/// `Phi(-a) = e^(-a^2 / 2) m(a)`; `m(a) / t` with `t = 1 / (1 + 0.3 a)` is nearly constant, so a polynomial in t (interpolated at
/// Chebyshev nodes for a up to 14) is exact to 5e-9.
#[inline(always)]
pub(super) fn normal(x: f32) -> (f32, f32) {
    const DENSITY: f32 = 0.398_942_3;
    let a = x.abs().min(20.0);
    // The square of the upper half of the bits is exact; its rounding would be multiplied by the exponent.
    let upper = f32::from_bits(a.to_bits() & 0xffff_f000);
    let e = exp(-0.5 * upper * upper) * exp(-0.5 * (a - upper) * (a + upper));
    let t = 1.0 / (1.0 + 0.3 * a);
    let mut p = -2.091_435_97e-2;
    p = p * t + 1.140_402_72e-1;
    p = p * t - 2.320_384_83e-1;
    p = p * t + 1.969_406_77e-1;
    p = p * t - 8.374_254_9e-2;
    p = p * t + 9.848_074_02e-2;
    p = p * t + 7.758_906_44e-2;
    p = p * t + 1.104_051_8e-1;
    p = p * t + 1.195_517_63e-1;
    p = p * t + 1.196_876_93e-1;
    let tail = e * (p * t);
    (DENSITY * e, if x < 0.0 { tail } else { 1.0 - tail })
}

/// Each value v becomes `cap * tanh(v / cap)`.
#[inline(always)]
pub(super) fn softcap(values: &mut [f32], cap: f32) {
    for v in values {
        *v = cap * tanh(*v / cap);
    }
}

/// Derivatives of [`softcap`] from the capped values: `1 - (v / cap)^2`.
#[inline(always)]
pub(super) fn softcap_slopes(capped: &[f32], cap: f32, out: &mut [f32]) {
    for (out, v) in out.iter_mut().zip(capped) {
        let t = v / cap;
        *out = (1.0 - t) * (1.0 + t);
    }
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

/// `sum a b (c - shift)`.
#[inline(always)]
pub(super) fn dot3(a: &[f32], b: &[f32], c: &[f32], shift: f32) -> f32 {
    let (a_chunks, a_tail) = a.as_chunks::<LANES>();
    let (b_chunks, b_tail) = b.as_chunks::<LANES>();
    let (c_chunks, c_tail) = c.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for ((a, b), c) in a_chunks.iter().zip(b_chunks).zip(c_chunks) {
        for (((lane, a), b), c) in lanes.iter_mut().zip(a).zip(b).zip(c) {
            *lane += a * b * (c - shift);
        }
    }
    let tail: f32 = a_tail.iter().zip(b_tail).zip(c_tail).map(|((a, b), c)| a * b * (c - shift)).sum();
    lanes.iter().sum::<f32>() + tail
}

/// `sum (x - shift)`.
#[inline(always)]
pub(super) fn sum(x: &[f32], shift: f32) -> f32 {
    sum_of(
        x,
        #[inline(always)]
        |v| v - shift,
    )
}

/// `sum (x - shift)^2`.
#[inline(always)]
pub(super) fn squares(x: &[f32], shift: f32) -> f32 {
    sum_of(
        x,
        #[inline(always)]
        |v| (v - shift) * (v - shift),
    )
}

#[inline(always)]
pub(super) fn sum_of(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, tail) = x.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += f(*v);
        }
    }
    lanes.iter().sum::<f32>() + tail.iter().map(|v| f(*v)).sum::<f32>()
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
            assert_eq!(super::dot3(&ones, &ones, &a, 1.0), expected - n as f32);
            assert_eq!(super::sum(&a, 1.0), expected - n as f32);
            assert_eq!(super::squares(&a, 0.0), super::dot(&a, &a));
            assert_eq!(super::max(&a), n.checked_sub(1).map_or(f32::NEG_INFINITY, |m| m as f32));
            let mut b = a.clone();
            let sum = super::exp_sum(&mut b, 60.0);
            let exact: f64 = a.iter().map(|v| f64::from(*v - 60.0).exp()).sum();
            assert!((f64::from(sum) - exact).abs() <= 1e-6 * exact);
        }
    }
}
