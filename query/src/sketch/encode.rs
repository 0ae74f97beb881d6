//! Codes of a rotated vector, with the factors that make estimates and bounds of them.
//!
//! A code c stands for a direction: with `rho = <x', c> / (|x'| |c|)`, `f <q', c>` estimates `<q', x'>`
//! without bias for `f = |x'|^2 / <x', c>`, since c is `rho |c|` along x' and the rest of it points anywhere
//! (RaBitQ, Gao and Long 2024, written for vectors that are not normalised and for any code). The int8 codes
//! also have a residual, which bounds the error with certainty.

use super::planes::Planes;
use super::rotation::Rotation;
use super::section::{Factor, Residual};
use crate::kernel::CodeKind;

/// Spacings of the nibbles' grid that are tried, in root mean squares of the coordinates; the best for a
/// normal distribution is 0.335.
const SPACINGS: [f64; 5] = [0.26, 0.30, 0.335, 0.37, 0.42];

/// Covers the rounding of a factor that bounds something to f32.
const UP: f64 = 1.0 + 1e-6;

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RowCodes {
    /// One bit a coordinate.
    pub sign: Vec<u8>,
    /// Four bits a coordinate.
    pub nibble: Vec<u8>,
    /// One signed byte a coordinate.
    pub int8: Vec<i8>,
    /// Of the signs.
    pub sign_factor: Factor,
    /// Of the nibbles.
    pub nibble_factor: Factor,
    /// Of the bytes.
    pub int8_factor: Factor,
    /// Of the bytes.
    pub residual: Residual,
}

/// Makes the codes of vectors, one at a time.
#[derive(Debug)]
pub(crate) struct Encoder<'a> {
    rotation: &'a Rotation,
    planes: Planes,
    rotated: Vec<f32>,
    trial: Vec<i8>,
    codes: RowCodes,
}

impl<'a> Encoder<'a> {
    /// An encoder of vectors of the rotation's dimension; the codes of other planes are as of zeros.
    pub fn new(rotation: &'a Rotation, planes: Planes) -> Self {
        let dim = rotation.padded();
        let codes = RowCodes {
            sign: vec![0; CodeKind::Sign.row_bytes(dim)],
            nibble: vec![0; CodeKind::Nibble.row_bytes(dim)],
            int8: vec![0; dim],
            ..RowCodes::default()
        };
        let (rotated, trial) = (vec![0.0; dim], vec![0; dim]);
        Self { rotation, planes, rotated, trial, codes }
    }

    /// The codes of a vector of which every value is zero, or which is not looked at.
    pub fn blank(&mut self) -> &RowCodes {
        self.codes.sign.fill(0);
        self.codes.nibble.fill(0);
        self.codes.int8.fill(0);
        (self.codes.sign_factor, self.codes.nibble_factor) = (Factor::default(), Factor::default());
        (self.codes.int8_factor, self.codes.residual) = (Factor::default(), Residual::default());
        &self.codes
    }

    /// The codes of `vector`, whose length is `norm`: not zero, and far from the ends of the range of f32.
    /// `inexact` bounds how far the values are from those that are stored, relative to the length.
    ///
    /// # Panics
    /// When `vector` has another dimension.
    pub fn encode(&mut self, vector: &[f32], norm: f64, inexact: f64) -> &RowCodes {
        assert_eq!(vector.len(), self.rotation.dim());
        self.rotated[..vector.len()].copy_from_slice(vector);
        self.rotated[vector.len()..].fill(0.0);
        self.rotation.rotate(&mut self.rotated);
        let error = (self.rotation.error() + inexact) * norm;
        let square = sum(&self.rotated, |x| x * x);
        let shape = RotatedLengths { square, norm, dim: self.rotated.len() };
        for kind in self.planes.kinds() {
            match kind {
                CodeKind::Sign => self.signs(shape),
                CodeKind::Nibble => self.nibbles(shape),
                CodeKind::Int8 => self.bytes(shape, error),
            }
        }
        &self.codes
    }

    fn signs(&mut self, shape: RotatedLengths) {
        for (byte, values) in self.codes.sign.iter_mut().zip(self.rotated.chunks_exact(8)) {
            *byte = values.iter().enumerate().fold(0, |byte, (i, x)| byte | u8::from(*x >= 0.0) << i);
        }
        let along = sum(&self.rotated, f64::abs);
        self.codes.sign_factor = shape.factor(along, shape.dim as f64);
    }

    fn nibbles(&mut self, shape: RotatedLengths) {
        let rms = (shape.square / shape.dim as f64).sqrt();
        let mut best = (f64::NEG_INFINITY, Factor::default());
        for spacing in SPACINGS {
            let per_step = (1.0 / (spacing * rms)) as f32;
            let (mut along, mut square) = (0.0f64, 0i64);
            for (values, trial) in self.rotated.chunks(64).zip(self.trial.chunks_mut(64)) {
                let mut part = 0.0f32;
                for (x, trial) in values.iter().zip(trial) {
                    // Codes 0..=15 stand for 2c - 15 half steps. A cast saturates, and makes no code
                    // of what is not a number.
                    let code = (x * per_step + 8.0).clamp(0.0, 15.0) as i8;
                    let value = 2 * code - 15;
                    *trial = value;
                    part += x * per_step * f32::from(value);
                    square += i64::from(value) * i64::from(value);
                }
                along += f64::from(part);
            }
            let along = along / f64::from(per_step);
            let rho = along / (shape.square * square as f64).sqrt();
            if rho > best.0 {
                // The product is taken again in double precision: the factor's bias would not be random.
                let along: f64 =
                    self.rotated.iter().zip(&self.trial).map(|(x, v)| f64::from(*x) * f64::from(*v)).sum();
                best = (rho, shape.factor(along, square as f64));
                for (byte, pair) in self.codes.nibble.iter_mut().zip(self.trial.chunks_exact(2)) {
                    let code = |value: i8| ((value + 15) / 2) as u8;
                    *byte = code(pair[0]) | code(pair[1]) << 4;
                }
            }
        }
        self.codes.nibble_factor = best.1;
    }

    fn bytes(&mut self, shape: RotatedLengths, error: f64) {
        // By their bits, which compare as the magnitudes of numbers do: that is turned into vector code.
        let largest = self.rotated.iter().fold(0, |most, x| x.abs().to_bits().max(most));
        let largest = f32::from_bits(largest);
        // 127 steps may fall short of the largest value by rounding; codes are cut there.
        let scale = largest / 127.0;
        let per_step = 1.0 / scale;
        let (mut off, mut along, mut square) = (0.0f64, 0.0f64, 0i64);
        for (x, code) in self.rotated.iter().zip(&mut self.codes.int8) {
            let value = nearest(x * per_step).clamp(-127.0, 127.0);
            *code = value as i8;
            let difference = f64::from(*x) - f64::from(scale) * f64::from(value);
            off += difference * difference;
            along += f64::from(*x) * f64::from(value);
            square += i64::from(*code) * i64::from(*code);
        }
        self.codes.int8_factor = shape.factor(along, square as f64);
        let residual = (off.sqrt() + error) * UP;
        self.codes.residual = Residual { scale, residual: (residual as f32).next_up() };
    }
}

#[derive(Clone, Copy)]
struct RotatedLengths {
    /// `|x'|^2` as it was rotated.
    square: f64,
    /// Length of the vector.
    norm: f64,
    dim: usize,
}

impl RotatedLengths {
    /// From `<x', c>` and `|c|^2`. A unit vector across x' has, in a space of n = dim - 1 dimensions, a
    /// component t along a given direction with density proportional to
    /// `(1 - t^2)^((n - 3) / 2) <= exp(-(n - 3) t^2 / 2)`: n - 3 in place of n makes its tail that of a
    /// normal variable, up to the factor [`tail_excess`].
    fn factor(self, along: f64, code_square: f64) -> Factor {
        let cotangent = (self.square * code_square / (along * along) - 1.0).max(0.0).sqrt();
        let spread = self.norm * cotangent / ((self.dim - 4) as f64).sqrt();
        Factor { factor: (self.square / along) as f32, spread: ((spread * UP) as f32).next_up() }
    }
}

/// By how much the probability of a tail may exceed the normal one:
/// `sqrt((n - 1) / (n - 3))` for n = dim - 1.
pub(crate) fn tail_excess(dim: usize) -> f64 {
    ((dim - 2) as f64 / (dim - 4) as f64).sqrt()
}

/// The nearest whole number, ties to even, of values below 2^22. `round_ties_even` may be a call for each
/// value.
#[inline(always)]
fn nearest(x: f32) -> f32 {
    // 1.5 * 2^23 leaves no place behind the point.
    const ROUND: f32 = 12_582_912.0;
    x + ROUND - ROUND
}

/// A sum in eight lanes of f64.
fn sum(values: &[f32], of: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0f64; 8];
    for chunk in values.chunks(8) {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += of(f64::from(*x));
        }
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_nearest_whole_numbers() {
        for i in -(128 << 8)..=128 << 8 {
            let exact = i as f32 / 256.0;
            for x in [exact.next_down(), exact, exact.next_up()] {
                assert_eq!(nearest(x), x.round_ties_even(), "{x}");
            }
        }
    }
}
