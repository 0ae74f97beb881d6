//! `gaussian`: the dense matrix of independent normals of variance 1/k.
//!
//! For comparison with other libraries; `rademacher` has no larger variance and costs less. Entries are
//! evaluated in f64 and rounded once to f32; across platforms they may differ by the last places of
//! `ln`, `sin` and `cos`.

use std::f64::consts::TAU;

use gstore_model::vectorised;

use super::philox::RandomWords;
use super::summed::RandomMatrix;

/// The dense normal matrix with `dim` rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gaussian {
    dim: usize,
}

impl Gaussian {
    pub(super) fn new(dim: u32) -> Self {
        Self { dim: dim as usize }
    }
}

/// Four normals from four words, by pairs (Box and Muller).
fn normals(words: [u32; 4]) -> [f64; 4] {
    let [u0, u1, u2, u3] = words.map(|w| (f64::from(w) + 0.5) * 2f64.powi(-32));
    let pair = |u: f64, v: f64| {
        let radius = (-2.0 * u.ln()).sqrt();
        let (sin, cos) = (TAU * v).sin_cos();
        [radius * cos, radius * sin]
    };
    let ([a, b], [c, d]) = (pair(u0, u1), pair(u2, u3));
    [a, b, c, d]
}

impl RandomMatrix for Gaussian {
    fn width(&self) -> usize {
        self.dim
    }

    fn fill(&self, words: RandomWords, first: u64, entries: &mut [u32]) {
        let root = (self.dim as f64).sqrt();
        for (i, column) in (first..).zip(entries.chunks_exact_mut(self.dim)) {
            for (call, four) in (0..).zip(column.chunks_mut(4)) {
                for (entry, z) in four.iter_mut().zip(normals(words.at(i, call))) {
                    *entry = ((z / root) as f32).to_bits();
                }
            }
        }
    }

    fn apply(&self, entries: &[u32], values: &[f32], sums: &mut [f32]) {
        vectorised!({
            for (column, value) in entries.chunks_exact(self.dim).zip(values) {
                if *value == 0.0 {
                    continue;
                }
                for (sum, entry) in sums.iter_mut().zip(column) {
                    *sum += value * f32::from_bits(*entry);
                }
            }
        });
    }

    fn scale(&self) -> f64 {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::key::MatrixSide;
    use crate::projection::philox::StreamTag;

    #[test]
    fn golden_words_and_column() {
        let words = RandomWords::of(StreamTag::Gaussian, "layers.0.w", MatrixSide::Whole, 42, None);
        assert_eq!(words.at(0, 0), [0x3fd0962e, 0xfbe54054, 0x868edf4c, 0x535ca825]);
        let mut column = [0; 4];
        Gaussian::new(4).fill(words, 0, &mut column);
        let want: [f64; 4] = [0.82919901, -0.08381663, -0.25945959, 0.50425334];
        for (got, want) in column.into_iter().zip(want) {
            assert!((f64::from(f32::from_bits(got)) - want).abs() < 5e-8);
        }
    }
}
