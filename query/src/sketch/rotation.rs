//! Seeded random rotations: sign flips and fast Walsh-Hadamard transforms.
//!
//! Invariants
//! - the map is orthogonal for every seed; only how well it mixes depends on the draw
//! - a rotation is known by its dimension and seed; the bits of a rotated vector are the same on every
//!   machine (additions and multiplications in a fixed order, none of them fused)

use std::ops::{Add, Mul, Range, Sub};

use gstore_core::hadamard;

use super::random::Stream;
use crate::kernel::CODE_STEP;

/// Rounds of flips and transforms where one transform covers every coordinate. After one, rows and queries
/// with few large coordinates have errors of up to eight times the expected standard deviation; after two the
/// deviation is right, but two such vectors are still like permutations of each other (Walsh functions
/// multiply to Walsh functions), and of 128 coordinates with eight that are not zero the bounds of nibbles
/// failed four times as often as stated. Three show neither.
const ROUNDS: usize = 3;

/// Rounds where a transform covers the first or the last coordinates in turn. The energy of two rounds moves
/// a quarter of the way at worst, so that six leave it even to 1/64.
const OVERLAPPING_ROUNDS: usize = 6;

/// A rotation of vectors of one dimension, padded with zeros to [`Rotation::padded`] coordinates.
#[derive(Debug, Clone)]
pub struct Rotation {
    dim: usize,
    padded: usize,
    /// Coordinates of one transform: a power of two.
    core: usize,
    /// For each round, one bit for each coordinate: its sign is flipped.
    flips: Vec<Vec<u64>>,
}

impl Rotation {
    /// The rotation of a seed.
    ///
    /// # Panics
    /// Without coordinates.
    pub fn new(dim: usize, seed: u64) -> Self {
        let padded = padded_dim(dim);
        let core = largest_power(padded);
        let rounds = if core == padded { ROUNDS } else { OVERLAPPING_ROUNDS };
        let flips = (0..rounds as u64)
            .map(|round| {
                let mut stream = Stream::new(seed, round);
                (0..padded / CODE_STEP).map(|_| stream.bits()).collect()
            })
            .collect();
        Self { dim, padded, core, flips }
    }

    /// Coordinates of what is rotated.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Coordinates of a rotated vector: a multiple of 64.
    pub fn padded(&self) -> usize {
        self.padded
    }

    /// A bound of `|computed - rotated| / |rotated|` in single precision. Each step of a transform, the
    /// scaling of a round and the rounding of the scale err by at most one unit of 2^-24 of the length (they
    /// are orthogonal up to scale, and every output is rounded once); vectors are longer than 2^-40, so that
    /// what underflow adds is far below the slack of the last factor.
    pub fn error(&self) -> f64 {
        let steps = self.flips.len() as u32 * (self.core.trailing_zeros() + 2);
        1.1 * f64::from(steps) * f64::from(f32::EPSILON) / 2.0
    }

    /// Rotates in single precision; the last `padded - dim` values of the buffer must be zero.
    ///
    /// # Panics
    /// When the buffer does not have `padded` values.
    pub fn rotate(&self, vector: &mut [f32]) {
        self.apply(vector, (1.0 / (self.core as f64).sqrt()) as f32, |x| -x);
    }

    /// The same in double precision, whose rounding is below 1e-13 of the length.
    pub(super) fn rotate_f64(&self, vector: &mut [f64]) {
        self.apply(vector, 1.0 / (self.core as f64).sqrt(), |x| -x);
    }

    fn apply<T>(&self, vector: &mut [T], scale: T, negate: impl Fn(T) -> T)
    where
        T: Copy + Add<Output = T> + Sub<Output = T> + Mul<Output = T>,
    {
        assert_eq!(vector.len(), self.padded);
        for (round, flips) in self.flips.iter().enumerate() {
            for (chunk, bits) in vector.chunks_exact_mut(CODE_STEP).zip(flips) {
                for (i, x) in chunk.iter_mut().enumerate() {
                    *x = if bits >> i & 1 == 1 { negate(*x) } else { *x };
                }
            }
            let part = &mut vector[self.span(round)];
            hadamard(part);
            part.iter_mut().for_each(|x| *x = *x * scale);
        }
    }

    /// Coordinates that a round transforms.
    fn span(&self, round: usize) -> Range<usize> {
        if round.is_multiple_of(2) { 0..self.core } else { self.padded - self.core..self.padded }
    }
}

fn largest_power(n: usize) -> usize {
    1 << n.ilog2()
}

/// Coordinates of a rotated vector: the next multiple of 64 up to one and a half times a power of two, beyond
/// that the next power of two, since two transforms that hardly overlap hardly mix.
pub fn padded_dim(dim: usize) -> usize {
    assert!(dim > 0);
    let stepped = dim.next_multiple_of(CODE_STEP);
    if stepped <= largest_power(stepped) * 3 / 2 { stepped } else { stepped.next_power_of_two() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(dim: usize, seed: u64) -> Vec<f64> {
        let mut stream = Stream::new(seed, 77);
        (0..dim).map(|_| stream.unit() - 0.5).collect()
    }

    fn length(v: &[f64]) -> f64 {
        v.iter().map(|x| x * x).sum::<f64>().sqrt()
    }

    #[test]
    fn products_survive_and_single_precision_stays_within_its_bound() {
        for dim in [1, 63, 64, 65, 96, 100, 128, 190, 200, 768, 1000, 1536, 4096] {
            let rotation = Rotation::new(dim, dim as u64);
            let rotated = |v: &[f64]| {
                let mut out = v.to_vec();
                out.resize(rotation.padded(), 0.0);
                rotation.rotate_f64(&mut out);
                out
            };
            for seed in 0..20 {
                let (a, b) = (vector(dim, seed), vector(dim, seed + 100));
                let a: Vec<f64> = a.iter().map(|x| f64::from(*x as f32)).collect();
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
                let (ra, rb) = (rotated(&a), rotated(&b));
                assert!((dot(&a, &b) - dot(&ra, &rb)).abs() <= 1e-12 * length(&a) * length(&b));
                let mut single: Vec<f32> = a.iter().map(|x| *x as f32).collect();
                single.resize(rotation.padded(), 0.0);
                rotation.rotate(&mut single);
                let off: Vec<f64> = single.iter().zip(&ra).map(|(s, r)| f64::from(*s) - r).collect();
                assert!(length(&off) <= rotation.error() * length(&a), "dim {dim}");
            }
        }
    }

    /// Entry (i, j) of the matrix is -1 to the number of bits that i and j have in common.
    #[test]
    fn a_transform_is_that_of_its_matrix() {
        for len in [8usize, 16, 64] {
            let v: Vec<i64> = (0..len as i64).map(|i| (i * 37 + 11) % 101 - 50).collect();
            let sign = |i: usize, j: usize| if (i & j).count_ones().is_multiple_of(2) { 1 } else { -1 };
            let row = |i: usize| v.iter().enumerate().map(|(j, x)| sign(i, j) * x).sum::<i64>();
            let expected: Vec<i64> = (0..len).map(row).collect();
            let mut found = v.clone();
            hadamard(&mut found);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_single_coordinate_is_spread_evenly() {
        for dim in [64, 96, 1000, 1536, 4096] {
            let rotation = Rotation::new(dim, 5);
            for at in [0, dim / 2, dim - 1] {
                let mut v = vec![0.0f64; rotation.padded()];
                v[at] = 1.0;
                rotation.rotate_f64(&mut v);
                let eighth = rotation.padded() / 8;
                for (i, part) in v.chunks_exact(eighth).enumerate() {
                    let energy: f64 = part.iter().map(|x| x * x).sum::<f64>() * 8.0;
                    // Two rounds leave chi-square noise; eight of it is far outside.
                    let noise = 8.0 * (2.0 / eighth as f64).sqrt() + 0.05;
                    assert!((energy - 1.0).abs() < noise, "dim {dim}, part {i}: {energy}");
                }
            }
        }
    }

    #[test]
    fn padding_is_at_most_a_third() {
        assert_eq!(
            [1, 64, 65, 96, 100, 192, 193, 200, 768, 3000].map(padded_dim),
            [64, 64, 128, 128, 128, 192, 256, 256, 768, 3008]
        );
        assert!((64..5000).all(|dim| padded_dim(dim) <= (dim + 63) * 4 / 3));
    }
}
