//! Query vectors, rotated and rounded for products with codes.

use super::planes::Planes;
use super::random::Stream;
use super::rotation::Rotation;
use crate::kernel::{CodeKind, CodeQueries, MAX_SIGN_VALUE};

/// Length of a query that the bounds hold for; all zeros are fine as well. Outside, what underflow and
/// overflow do to a score is not bounded.
pub(crate) const QUERY_NORMS: std::ops::RangeInclusive<f64> = 8.7e-19..=1.1e18;

/// The largest of the values.
const MOST: i8 = 127;

/// Covers what double precision rounds.
const UP: f64 = 1.0 + 1e-12;

/// Queries of one feature in the rotation of its sketch, rounded for the planes that may be read.
#[derive(Debug, Clone, Default)]
pub(crate) struct SketchQueries {
    /// Rounded at random to so few values that products with signs are looked up. Signs are so far from a row
    /// that this hardly adds to their errors.
    pub signs: Option<CodeQueries>,
    /// Rounded at random to half of what int8 holds: sums of products with nibbles fit into 16 bits for
    /// longer.
    pub nibbles: Option<CodeQueries>,
    /// Rounded at random to int8.
    pub bytes: Option<CodeQueries>,
    /// For certain bounds two of each: the nearest int8 values, and what remains in 254ths of a step,
    /// `fine_step (first + second / 254)`.
    pub fine: Option<CodeQueries>,
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
    /// `vectors` holds any number of finite vectors of the rotation's dimension; those for `planes` are
    /// rounded up or down at random, so that the rounding of every coordinate is independent of everything
    /// else and zero on average. The draw depends on the seed, the query and the plane.
    ///
    /// # Panics
    /// When `vectors` is not a whole number of vectors.
    pub fn new(
        rotation: &Rotation,
        seed: u64,
        vectors: &[f32],
        (planes, is_certified): (Option<Planes>, bool),
    ) -> Self {
        let (dim, padded) = (rotation.dim(), rotation.padded());
        assert!(vectors.len().is_multiple_of(dim));
        let count = vectors.len() / dim;
        let mut queries = Self { each: Vec::with_capacity(count), ..Self::default() };
        let kinds: Vec<CodeKind> = planes.iter().flat_map(|planes| planes.kinds()).collect();
        let mut rounded = vec![Vec::with_capacity(count * padded); kinds.len()];
        let mut fine = Vec::with_capacity(if is_certified { 2 * count * padded } else { 0 });
        let (mut rotated, mut off) = (vec![0.0f64; padded], Vec::with_capacity(padded));
        for vector in vectors.chunks_exact(dim) {
            rotated.fill(0.0);
            rotated.iter_mut().zip(vector).for_each(|(r, x)| *r = f64::from(*x));
            let norm = length(&rotated);
            rotation.rotate_f64(&mut rotated);
            let largest = rotated.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            if !norm.is_finite() || norm == 0.0 {
                rounded.iter_mut().for_each(|values| values.resize(values.len() + padded, 0));
                fine.resize(fine.len() + if is_certified { 2 * padded } else { 0 }, 0);
                let norm = if norm == 0.0 { 0.0 } else { f64::INFINITY };
                queries.each.push(Query { norm, ..Query::default() });
                continue;
            }
            let mut query = Query { norm: norm * UP, ..Query::default() };
            let number = vector
                .iter()
                .fold(0u64, |h, x| (h ^ u64::from(x.to_bits())).wrapping_mul(0x0000_0100_0000_01b3));
            for (kind, values) in kinds.iter().zip(&mut rounded) {
                let (most, to_step) = match kind {
                    CodeKind::Sign => (MAX_SIGN_VALUE, &mut query.sign_step),
                    CodeKind::Nibble => (MOST / 2, &mut query.nibble_step),
                    CodeKind::Int8 => (MOST, &mut query.byte_step),
                };
                let step = largest * UP / f64::from(most);
                let mut stream = Stream::new(seed, number.wrapping_add(most as u64));
                values.extend(rotated.iter().map(|x| floor(x / step + stream.unit())));
                *to_step = step;
            }
            if is_certified {
                query.fine_step = largest / f64::from(MOST);
                let first = fine.len();
                fine.resize(first + 2 * padded, 0);
                let (highs, lows) = fine[first..].split_at_mut(padded);
                off.clear();
                for ((x, to_high), to_low) in rotated.iter().zip(highs).zip(lows) {
                    let steps = x / query.fine_step;
                    let high = steps.round().clamp(-127.0, 127.0);
                    let low = ((steps - high) * 254.0).round().clamp(-127.0, 127.0);
                    (*to_high, *to_low) = (high as i8, low as i8);
                    off.push(x - query.fine_step * (high + low / 254.0));
                }
                // What the rotation in double precision is off by is far below the second part.
                query.fine_error = length(&off) * (1.0 + 1e-9) + 1e-11 * norm;
            }
            queries.each.push(query);
        }
        for (kind, values) in kinds.into_iter().zip(rounded) {
            let packed = Some(CodeQueries::new(&values, padded));
            match kind {
                CodeKind::Sign => queries.signs = packed,
                CodeKind::Nibble => queries.nibbles = packed,
                CodeKind::Int8 => queries.bytes = packed,
            }
        }
        queries.fine = is_certified.then(|| CodeQueries::new(&fine, padded));
        queries
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
