//! Randomized Hadamard rotations: random flips of signs and fast Walsh-Hadamard transforms, in turn.
//!
//! Invariants
//! - a rotation is orthogonal, and a function of the number of coordinates alone: the flips are counted out,
//!   not drawn
//! - the bits of a rotated vector are the same on every machine: additions and multiplications in a fixed
//!   order, none of them fused
//! - stored signs depend on every number here: none may change

use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

use super::dtype::{DType, SIGNS};
use super::mix::{MIX_STEP, mix};

/// Coordinates of one transform at most: in single precision they stay in the second-level cache.
const MOST: usize = 1 << 16;

/// Rounds. After two, vectors with few large coordinates are still alike where one transform covers all: a
/// product of two is again a permutation of Walsh functions.
const ROUNDS: usize = 3;

/// How each module group of a vector is rotated before its signs are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignRotation {
    /// Not at all.
    #[default]
    None,
    /// By the randomized Hadamard rotation of its number of coordinates: in rounds, each of which flips signs
    /// and transforms runs of coordinates whose lengths are powers of two.
    Hadamard,
}

// The names in descriptions, which are those of serde.
crate::named!(SignRotation { None = "none", Hadamard = "hadamard" });

impl SignRotation {
    /// That of new features of a type.
    pub const fn of(dtype: DType) -> Self {
        match dtype {
            DType::I1 => SignRotation::Hadamard,
            DType::F16 | DType::F32 | DType::I8 => SignRotation::None,
        }
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == SignRotation::None
    }

    /// A bound of `|computed - rotated| / |rotated|` in single precision, either way. Maps of a round are
    /// orthogonal up to their scale, so each of a transform's steps (16 at most) and the
    /// scaling before it move the vector by one rounding of each coordinate at most: 2^-24 of its length. The
    /// scale itself is rounded once.
    pub const fn rounding(self) -> f32 {
        match self {
            SignRotation::None => 0.0,
            SignRotation::Hadamard => {
                ROUNDS as f32 * (MOST.ilog2() + 2) as f32 / (1 << 24) as f32 * (1.0 + 1e-4)
            }
        }
    }

    /// Rotates the values of a module group. Holds them twice.
    pub fn rotate(self, group: &mut [f32]) {
        if self.is_none() || group.is_empty() {
            return;
        }
        for round in 0..ROUNDS {
            flip(group, round);
            transform(group, round);
        }
    }

    /// Rotates them back, up to rounding. Holds them twice.
    pub fn rotate_back(self, group: &mut [f32]) {
        if self.is_none() || group.is_empty() {
            return;
        }
        for round in (0..ROUNDS).rev() {
            transform(group, round);
            flip(group, round);
        }
    }
}

/// Lengths of the runs that together are `len` coordinates: powers of two, the longest first.
fn runs(len: usize) -> impl Iterator<Item = usize> {
    let mut left = len;
    std::iter::from_fn(move || {
        let run = 1 << left.min(MOST).checked_ilog2()?;
        left -= run;
        Some(run)
    })
}

/// The coordinates in the order of columns, where rows are the least power of two long of which the square
/// covers all: a run of these comes from everywhere.
fn by_columns(len: usize) -> impl Iterator<Item = usize> {
    let width = 1 << len.next_power_of_two().ilog2().div_ceil(2);
    (0..width).flat_map(move |column| (column..len).step_by(width))
}

/// Flips the signs that the bits of a round say.
fn flip(values: &mut [f32], round: usize) {
    for (word, values) in values.chunks_mut(SIGNS).enumerate() {
        let bits = mix(MIX_STEP.wrapping_mul(((round as u64) << 32 | word as u64) + 1));
        for (i, value) in values.iter_mut().enumerate() {
            *value = if bits >> i & 1 == 1 { -*value } else { *value };
        }
    }
}

/// The transforms of a round: in even ones of runs of coordinates, the longest first, in odd ones of runs in
/// the order of columns, the longest last. What is at an edge, in a short run, is thus in a long one next.
fn transform(values: &mut [f32], round: usize) {
    if round.is_multiple_of(2) {
        let mut rest = values;
        for run in runs(rest.len()) {
            let (part, after) = rest.split_at_mut(run);
            scaled(part);
            rest = after;
        }
    } else {
        let mut columns: Vec<f32> = by_columns(values.len()).map(|at| values[at]).collect();
        let mut rest = &mut columns[..];
        for run in runs(rest.len()) {
            let (before, part) = rest.split_at_mut(rest.len() - run);
            scaled(part);
            rest = before;
        }
        for (at, value) in by_columns(values.len()).zip(columns) {
            values[at] = value;
        }
    }
}

/// The orthogonal transform. Values are scaled before, as sums of finite values of a finite length
/// stay finite then.
fn scaled(values: &mut [f32]) {
    let scale = (1.0 / (values.len() as f64).sqrt()) as f32;
    values.iter_mut().for_each(|value| *value *= scale);
    hadamard(values);
}

/// Values whose first steps are taken together: loops over so few are unrolled.
const SHORT: usize = 8;

/// The Walsh-Hadamard transform of a power of two of values, not scaled.
pub fn hadamard<T: Copy + Add<Output = T> + Sub<Output = T>>(values: &mut [T]) {
    let (short, _) = values.as_chunks_mut::<SHORT>();
    for short in short {
        step(short, 1);
        step(short, 2);
        step(short, 4);
    }
    let mut half = if values.len() < SHORT { 1 } else { SHORT };
    while half < values.len() {
        step(values, half);
        half *= 2;
    }
}

/// Sums and differences of values that are `half` apart.
#[inline(always)]
fn step<T: Copy + Add<Output = T> + Sub<Output = T>>(values: &mut [T], half: usize) {
    for pair in values.chunks_exact_mut(2 * half) {
        let (a, b) = pair.split_at_mut(half);
        for (a, b) in a.iter_mut().zip(b) {
            (*a, *b) = (*a + *b, *a - *b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HADAMARD: SignRotation = SignRotation::Hadamard;

    /// Numbers between -1 and 1, far apart for other seeds.
    fn values(len: usize, seed: u64) -> Vec<f32> {
        let number = |i: u64| (mix(seed.wrapping_mul(MIX_STEP) ^ mix(i + 1)) >> 40) as f32;
        (0..len as u64).map(|i| number(i) / (1u64 << 23) as f32 - 1.0).collect()
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    fn rotated(values: &[f32]) -> Vec<f32> {
        let mut out = values.to_vec();
        HADAMARD.rotate(&mut out);
        out
    }

    #[test]
    fn names_are_those_that_are_stored() {
        for rotation in [SignRotation::None, HADAMARD] {
            assert_eq!(serde_json::to_value(rotation).unwrap(), rotation.name());
        }
    }

    #[test]
    fn transforms_are_the_matrices_of_sylvester() {
        let mut two = [3.0, 1.0];
        hadamard(&mut two);
        assert_eq!(two, [4.0, 2.0]);
        // Rows ++++, +-+-, ++--, +--+.
        let mut four = [1.0, 2.0, 3.0, 4.0];
        hadamard(&mut four);
        assert_eq!(four, [10.0, -2.0, -4.0, 0.0]);
        let mut one = [7.0];
        hadamard(&mut one);
        assert_eq!(one, [7.0]);
    }

    #[test]
    fn rotations_keep_products_and_are_undone() {
        for len in [1, 2, 3, 31, 64, 65, 100, 137, 192, 1024, 1500, 4095, 4097, 131_073] {
            let (a, b) = (values(len, 1), values(len, 2));
            let (ra, rb) = (rotated(&a), rotated(&b));
            let length = (dot(&a, &a) * dot(&b, &b)).sqrt();
            let bound = f64::from(HADAMARD.rounding());
            assert!((dot(&ra, &rb) - dot(&a, &b)).abs() <= 1e-6 * length, "{len}");
            assert!((dot(&ra, &ra) / dot(&a, &a) - 1.0).abs() <= 1e-6, "{len}");
            let mut back = ra.clone();
            HADAMARD.rotate_back(&mut back);
            let off: Vec<f32> = back.iter().zip(&a).map(|(back, a)| back - a).collect();
            assert!(dot(&off, &off) <= 1e-12 * dot(&a, &a), "{len}");
            assert!((dot(&ra, &ra) / dot(&a, &a)).sqrt() <= 1.0 + bound, "{len}");
            assert!(dot(&off, &off).sqrt() <= 2.0 * bound * dot(&a, &a).sqrt(), "{len}");
            assert!(len < 3 || ra != a);
            let mut none = a.clone();
            SignRotation::None.rotate(&mut none);
            assert_eq!(none, a);
        }
        assert!(rotated(&[]).is_empty() && rotated(&[0.0; 70]).iter().all(|value| *value == 0.0));
    }

    /// Each run of the coordinates is covered once by runs, and each coordinate has one place in columns.
    #[test]
    fn rounds_cover_every_coordinate_once() {
        for len in [1, 2, 3, 5, 17, 100, 4095, 4096, 70_000, 200_001] {
            let lengths: Vec<usize> = runs(len).collect();
            assert_eq!(lengths.iter().sum::<usize>(), len);
            assert!(lengths.is_sorted_by(|a, b| a >= b) && lengths.iter().all(|run| run.is_power_of_two()));
            let mut places: Vec<usize> = by_columns(len).collect();
            places.sort_unstable();
            assert!(places.into_iter().eq(0..len), "{len}");
        }
    }

    #[test]
    fn a_coordinate_is_spread_over_all() {
        for len in [64, 100, 1024, 1500, 3000, 4095] {
            for at in [0, len / 2, len - 1] {
                let mut one = vec![0.0; len];
                one[at] = 1.0;
                // Shares that are drawn are below eight standard deviations of a normal one.
                let largest = rotated(&one).iter().fold(0.0f32, |most, value| most.max(value.abs()));
                assert!(f64::from(largest) < 8.0 * (1.0 / len as f64).sqrt(), "{len}, {at}: {largest}");
            }
        }
    }

    /// What lies in one part of the coordinates, as the large ones of an eigenbasis do, lies in
    /// all parts then.
    #[test]
    fn energy_of_a_part_is_spread_evenly() {
        for len in [127, 250, 1000, 4095, 65_535, 131_072, 196_608] {
            for (first, last) in [(0, len / 4), (len / 2, len), (len - len / 8, len)] {
                let mut part = values(len, 5);
                part[..first].fill(0.0);
                part[last..].fill(0.0);
                let rotated = rotated(&part);
                let even = dot(&part, &part) / 4.0;
                for quarter in rotated.chunks(len.div_ceil(4)) {
                    let share = dot(quarter, quarter) / even;
                    // Ten deviations of a sum of squares of so many normal values at the least.
                    let off = 0.04 + 10.0 * (2.0 / quarter.len() as f64).sqrt();
                    assert!((share - 1.0).abs() < off, "{len}, {first}..{last}: {share}");
                }
                let magnitudes: f64 = rotated.iter().map(|value| f64::from(value.abs())).sum();
                let kept = magnitudes / (len as f64 * dot(&part, &part)).sqrt();
                // Of normal coordinates sqrt(2 / pi).
                assert!(
                    (kept - 0.798).abs() < 0.35 / (len as f64).sqrt() + 0.005,
                    "{len}, {first}..{last}: {kept}"
                );
            }
        }
    }

    /// 3 rounds of 16 steps and two roundings more: 54 of 2^-24.
    #[test]
    fn rounding_is_bounded_by_the_steps() {
        assert!((f64::from(HADAMARD.rounding()) * 2f64.powi(24) - 54.0).abs() < 0.01);
        assert_eq!(SignRotation::None.rounding(), 0.0);
    }

    #[test]
    fn what_is_long_stays_finite() {
        let long = vec![f32::MAX / 40.0; 1024];
        assert!(rotated(&long).iter().all(|value| value.is_finite()));
    }

    /// The coordinates follow from the constants above; computed in double precision by another program.
    #[test]
    fn stored_signs_stay_what_they_are() {
        let near = |found: &[f32], expected: &[f64]| {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
            }
        };
        near(&rotated(&[1.0, 2.0, 3.0, 4.0]), &[-1.0, 5.0, 0.0, 2.0]);
        near(&rotated(&[1.0, -2.0, 0.5]), &[0.810_660_17, -1.810_660_17, 1.146_446_61]);
        let wave = |len: usize| -> Vec<f32> {
            (0..len).map(|i| (i * 37 % 101) as f32).map(|residue| (residue - 50.0) / 50.0).collect()
        };
        for (len, first, third, last) in [
            (100, 0.216_417_3, -0.198_815_2, -0.163_566_0),
            (137, 1.362_394_5, 0.401_366_4, -0.059_476_2),
            (192, -0.493_476_3, 0.339_021_7, 0.132_474_1),
            (4095, -0.019_018_7, -0.742_488_6, 0.174_373_4),
            (131_073, -0.067_197_5, -0.911_435_4, -0.410_434_9),
        ] {
            let found = rotated(&wave(len));
            near(&[found[0], found[len / 3], found[len - 1]], &[first, third, last]);
        }
    }
}
