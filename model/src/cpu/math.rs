//! Functions and sums of f32 that the compiler turns into vector code: no branches, no calls.
//!
//! `f32::exp` and its like call a library one value at a time, and a plain sum of f32 may not
//! be reordered into lanes.

/// Independent partial sums of a reduction; fixed, so that every level gives the same bits.
pub(super) const LANES: usize = 16;

/// `e^x` with a relative error below 2e-7; saturates below -87.3 (about 1e-38) and above 88.3.
///
/// Range reduction by ln 2 in two parts and a polynomial of degree 5 on [-ln 2 / 2, ln 2 / 2] (Cephes
/// `expf`).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.3, 88.3);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let p = polynomial(r, [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1]);
    let mantissa = p * (r * r) + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    mantissa * f32::from_bits(exponent)
}

/// A polynomial by Horner's rule, highest power first.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[0];
    for c in &coefficients[1..] {
        sum = sum * x + c;
    }
    sum
}

/// `1 / (1 + e^-x)` with a relative error below 4e-7 above -87.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `tanh(x)` with a relative error below 3e-7 (Cephes `tanhf`).
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let z = x * x;
    let p =
        polynomial(z, [-5.704_988_7e-3, 2.063_908_9e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328_2e-1]);
    let near = p * z * x + x;
    let far = (1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0)).copysign(x);
    if x.abs() < 0.625 { near } else { far }
}

/// The normal distribution function with a relative error below 4e-7 above -1, below 1e-5 above -10;
/// smaller than 1e-22 below.
///
/// From `erf` on [-1, 1] and `erfc` elsewhere (Cephes `ndtrf`), so that small values keep their digits.
#[inline(always)]
pub(super) fn normal_cdf(x: f32) -> f32 {
    let t = x * std::f32::consts::FRAC_1_SQRT_2;
    let a = t.abs();
    let z = t * t;
    let erf = t * polynomial(
        z,
        [
            7.853_861_4e-5,
            -8.010_193_6e-4,
            5.188_327_7e-3,
            -2.685_381_2e-2,
            1.128_358_5e-1,
            -3.761_262_6e-1,
            std::f32::consts::FRAC_2_SQRT_PI,
        ],
    );
    let q = 1.0 / a.max(1.0);
    let y = q * q;
    let middle = polynomial(
        y,
        [
            2.326_82e-2,
            -1.387_039_4e-1,
            3.687_424_7e-1,
            -5.824_733e-1,
            6.210_004_6e-1,
            -4.944_515_3e-1,
            3.404_88e-1,
            -2.741_127e-1,
            5.638_259_4e-1,
        ],
    );
    let tail = polynomial(
        y,
        [
            -1.047_766_4e1,
            1.297_72e1,
            -7.495_518_7,
            2.921_019,
            -1.015_265_3,
            4.218_463_4e-1,
            -2.820_767_4e-1,
            5.641_895_1e-1,
        ],
    );
    let erfc = exp(-z) * q * if a < 2.0 { middle } else { tail };
    let outer = if x < 0.0 { 0.5 * erfc } else { 1.0 - 0.5 * erfc };
    if a < 1.0 { 0.5 + 0.5 * erf } else { outer }
}

/// Adds the partial sums.
#[inline(always)]
fn total(lanes: [f32; LANES]) -> f32 {
    let mut half = [0f32; LANES / 2];
    for i in 0..LANES / 2 {
        half[i] = lanes[i] + lanes[i + LANES / 2];
    }
    ((half[0] + half[4]) + (half[2] + half[6])) + ((half[1] + half[5]) + (half[3] + half[7]))
}

#[inline(always)]
pub(super) fn sum(a: &[f32]) -> f32 {
    let (chunks, tail) = a.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for a in chunks {
        for (lane, a) in lanes.iter_mut().zip(a) {
            *lane += a;
        }
    }
    total(lanes) + tail.iter().sum::<f32>()
}

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
    total(lanes) + a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum::<f32>()
}

/// Sum of `f` over three slices of equal length.
#[inline(always)]
pub(super) fn sum3(a: &[f32], b: &[f32], c: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let (a_chunks, a_tail) = a.as_chunks::<LANES>();
    let (b_chunks, b_tail) = b.as_chunks::<LANES>();
    let (c_chunks, c_tail) = c.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for ((a, b), c) in a_chunks.iter().zip(b_chunks).zip(c_chunks) {
        for (((lane, a), b), c) in lanes.iter_mut().zip(a).zip(b).zip(c) {
            *lane += f(*a, *b, *c);
        }
    }
    let tail = a_tail.iter().zip(b_tail).zip(c_tail).map(|((a, b), c)| f(*a, *b, *c));
    total(lanes) + tail.sum::<f32>()
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
    let mut rest = 0.0;
    for v in tail {
        *v = exp(*v - shift);
        rest += *v;
    }
    total(lanes) + rest
}

/// Replaces each value s by `cap * tanh(s / cap)`.
#[inline(always)]
pub(super) fn soft_cap(values: &mut [f32], cap: f32) {
    let inverse = 1.0 / cap;
    for v in values {
        *v = cap * tanh(*v * inverse);
    }
}

#[cfg(test)]
#[path = "math_tests.rs"]
mod tests;
