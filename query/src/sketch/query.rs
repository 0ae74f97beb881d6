//! Query vectors, rotated and rounded for products with codes.

use super::random::Stream;
use super::rotation::Rotation;
use crate::kernel::{CodeQueries, MAX_SIGN_VALUE};

/// Length of a query that the bounds hold for; all zeros are fine as well. Outside, what underflow and
/// overflow do to a score is not bounded.
pub(crate) const QUERY_NORMS: std::ops::RangeInclusive<f64> = 8.7e-19..=1.1e18;

/// The largest of the values.
const MOST: i8 = 127;

/// Covers what double precision rounds.
const UP: f64 = 1.0 + 1e-12;

/// Queries of one feature in the rotation of its sketch.
#[derive(Debug, Clone)]
pub(crate) struct SketchQueries {
    /// Rounded at random to so few values that products with signs are looked up. Signs are so far from a row
    /// that this hardly adds to their errors.
    pub signs: CodeQueries,
    /// Rounded at random to half of what int8 holds: sums of products with nibbles fit into 16 bits for longer.
    pub nibbles: CodeQueries,
    /// Rounded at random to int8.
    pub bytes: CodeQueries,
    /// Two for each: the nearest int8 values, and what remains in 254ths of a step,
    /// `fine_step (first + second / 254)`.
    pub fine: CodeQueries,
    /// What bounds are made with.
    pub each: Vec<Query>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Query {
    /// Its length, rounded up.
    pub norm: f64,
    /// Steps of the values that are rounded at random.
    pub sign_step: f64,
    pub nibble_step: f64,
    pub byte_step: f64,
    /// A step of the first of the fine values.
    pub fine_step: f64,
    /// At least the distance of the fine values from the query.
    pub fine_error: f64,
}

impl SketchQueries {
    /// `vectors` holds any number of finite vectors of the rotation's dimension. Where values are rounded up or
    /// down at random, the rounding of every coordinate is independent of everything else and zero on average;
    /// the draw depends on the seed and the query.
    ///
    /// # Panics
    /// When `vectors` is not a whole number of vectors.
    pub fn new(rotation: &Rotation, seed: u64, vectors: &[f32]) -> Self {
        let (dim, padded) = (rotation.dim(), rotation.padded());
        assert!(vectors.len().is_multiple_of(dim));
        let count = vectors.len() / dim;
        let [mut signs, mut nibbles, mut bytes] = [(); 3].map(|()| Vec::with_capacity(count * padded));
        let mut fine = Vec::with_capacity(2 * count * padded);
        let mut each = Vec::with_capacity(count);
        let (mut rotated, mut off) = (vec![0.0f64; padded], Vec::with_capacity(padded));
        for vector in vectors.chunks_exact(dim) {
            rotated.fill(0.0);
            rotated.iter_mut().zip(vector).for_each(|(r, x)| *r = f64::from(*x));
            let norm = length(&rotated);
            rotation.rotate_f64(&mut rotated);
            let largest = rotated.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            if !norm.is_finite() || norm == 0.0 {
                for values in [&mut signs, &mut nibbles, &mut bytes] {
                    values.resize(values.len() + padded, 0);
                }
                fine.resize(fine.len() + 2 * padded, 0);
                each.push(Query { norm: if norm == 0.0 { 0.0 } else { f64::INFINITY }, ..Query::default() });
                continue;
            }
            let number = vector
                .iter()
                .fold(0u64, |h, x| (h ^ u64::from(x.to_bits())).wrapping_mul(0x0000_0100_0000_01b3));
            let mut stream = Stream::new(seed, number);
            let mut round = |values: &mut Vec<i8>, most: i8| {
                let step = largest * UP / f64::from(most);
                values.extend(rotated.iter().map(|x| floor(x / step + stream.unit())));
                step
            };
            let byte_step = round(&mut bytes, MOST);
            let nibble_step = round(&mut nibbles, MOST / 2);
            let sign_step = round(&mut signs, MAX_SIGN_VALUE);
            let fine_step = largest / f64::from(MOST);
            let first = fine.len();
            fine.resize(first + 2 * padded, 0);
            let (highs, lows) = fine[first..].split_at_mut(padded);
            off.clear();
            for ((x, to_high), to_low) in rotated.iter().zip(highs).zip(lows) {
                let steps = x / fine_step;
                let high = steps.round().clamp(-127.0, 127.0);
                let low = ((steps - high) * 254.0).round().clamp(-127.0, 127.0);
                (*to_high, *to_low) = (high as i8, low as i8);
                off.push(x - fine_step * (high + low / 254.0));
            }
            each.push(Query {
                norm: norm * UP,
                sign_step,
                nibble_step,
                byte_step,
                fine_step,
                // What the rotation in double precision is off by is far below the second part.
                fine_error: length(&off) * (1.0 + 1e-9) + 1e-11 * norm,
            });
        }
        let [signs, nibbles, bytes, fine] =
            [signs, nibbles, bytes, fine].map(|values| CodeQueries::new(&values, padded));
        Self { signs, nibbles, bytes, fine, each }
    }
}

fn length(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The largest whole number that is not above a value, cut at the ends of the codes. `f64::floor` may be a
/// call for each value.
fn floor(x: f64) -> i8 {
    let towards_zero = x as i32;
    let down = i32::from(f64::from(towards_zero) > x);
    towards_zero.saturating_sub(down).clamp(-127, 127) as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_values_are_whole_numbers_below() {
        let ends = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e300, -1e300, -1e-300, 1e-300, -0.0];
        let between = (-130 * 64..=130 * 64).map(|i| f64::from(i) / 64.0);
        for x in between.flat_map(|x| [x.next_down(), x, x.next_up()]).chain(ends) {
            assert_eq!(floor(x), x.floor().clamp(-127.0, 127.0) as i8, "{x}");
        }
    }
}
