//! `rademacher`: the dense matrix of +-1/sqrt(k).
//!
//! Entry (j, i) is bit `j mod 32` of word `(j mod 128) / 32` at counter (i, j/128); a set bit means negative.
//! One call serves 128 rows of one column.

use super::philox::Words;
use super::summed::SummedKind;

/// Rows of a column that one generator call gives.
const ROWS_PER_CALL: usize = 128;

/// The eight signs of each byte.
static SIGNS: [[f32; 8]; 256] = signs();

const fn signs() -> [[f32; 8]; 256] {
    let mut table = [[1.0f32; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut bit = 0;
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                table[byte][bit] = -1.0;
            }
            bit += 1;
        }
        byte += 1;
    }
    table
}

/// The dense sign matrix with `dim` rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rademacher {
    dim: usize,
}

impl Rademacher {
    pub(super) fn new(dim: u32) -> Self {
        Self { dim: dim as usize }
    }
}

impl SummedKind for Rademacher {
    fn width(&self) -> usize {
        4 * self.dim.div_ceil(ROWS_PER_CALL)
    }

    fn fill(&self, words: Words, first: u64, entries: &mut [u32]) {
        for (i, column) in (first..).zip(entries.chunks_exact_mut(self.width())) {
            for (call, four) in (0..).zip(column.chunks_exact_mut(4)) {
                four.copy_from_slice(&words.at(i, call));
            }
        }
    }

    fn apply(&self, entries: &[u32], values: &[f32], sums: &mut [f32]) {
        for (column, value) in entries.chunks_exact(self.width()).zip(values) {
            if *value == 0.0 {
                continue;
            }
            for (word, sums) in column.iter().zip(sums.chunks_mut(32)) {
                for (byte, sums) in word.to_le_bytes().into_iter().zip(sums.chunks_mut(8)) {
                    for (sum, sign) in sums.iter_mut().zip(&SIGNS[usize::from(byte)]) {
                        *sum += value * sign;
                    }
                }
            }
        }
    }

    fn scale(&self) -> f64 {
        1.0 / (self.dim as f64).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::key::{Side, derive_key};
    use crate::projection::philox::Tag;

    #[test]
    fn golden_words_and_signs() {
        let words =
            Words::new(derive_key("rademacher", "layers.0.w", Side::Whole, 42, None), Tag::Rademacher);
        assert_eq!(words.at(0, 0), [0xdce66a8a, 0x784b855e, 0xb2e9ecf3, 0xaf1e390e]);
        let kind = Rademacher::new(4);
        let mut entries = vec![0; 8 * kind.width()];
        kind.fill(words, 0, &mut entries);
        for (row, want) in ["++---+++", "--+-++++", "++-+-++-", "-++-----"].into_iter().enumerate() {
            let got: String =
                (0..8).map(|i| if entries[i * kind.width()] >> row & 1 == 1 { '-' } else { '+' }).collect();
            assert_eq!(got, want, "row {row}");
        }
    }
}
