//! `rademacher`: the dense matrix of +-1/sqrt(k).
//!
//! Entry (j, i) is bit `j mod 32` of word `(j mod 128) / 32` at counter (i, j/128); a set bit means negative.
//! One call serves 128 rows of one column.

use gstore_model::vectorised;

use super::philox::RandomWords;
use super::summed::RandomMatrix;

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

impl RandomMatrix for Rademacher {
    fn width(&self) -> usize {
        4 * self.dim.div_ceil(ROWS_PER_CALL)
    }

    fn fill(&self, words: RandomWords, first: u64, entries: &mut [u32]) {
        for (i, column) in (first..).zip(entries.chunks_exact_mut(self.width())) {
            for (call, four) in (0..).zip(column.chunks_exact_mut(4)) {
                four.copy_from_slice(&words.at(i, call));
            }
        }
    }

    fn apply(&self, entries: &[u32], values: &[f32], sums: &mut [f32]) {
        // A byte has eight sums, the last one fewer.
        let (whole, rest) = sums.as_chunks_mut::<8>();
        let last = whole.len();
        vectorised!({
            for (column, value) in entries.chunks_exact(self.width()).zip(values) {
                if *value == 0.0 {
                    continue;
                }
                for (word, sums) in column.iter().zip(whole.chunks_mut(4)) {
                    for (sums, byte) in sums.iter_mut().zip(word.to_le_bytes()) {
                        add(sums, *value, byte);
                    }
                }
                if let Some(word) = column.get(last / 4) {
                    add(rest, *value, word.to_le_bytes()[last % 4]);
                }
            }
        });
    }

    fn scale(&self) -> f64 {
        1.0 / (self.dim as f64).sqrt()
    }
}

/// Adds `value` with the signs of a byte to at most eight sums.
#[inline(always)]
fn add(sums: &mut [f32], value: f32, byte: u8) {
    for (sum, sign) in sums.iter_mut().zip(&SIGNS[usize::from(byte)]) {
        *sum += value * sign;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::key::MatrixSide;
    use crate::projection::philox::StreamTag;

    #[test]
    fn golden_words_and_signs() {
        let words = RandomWords::of(StreamTag::Rademacher, "layers.0.w", MatrixSide::Whole, 42, None);
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

    /// Numbers of sums that end within a byte, within a word and within a call.
    #[test]
    fn each_sum_takes_the_sign_of_its_own_bit() {
        let words = RandomWords::of(StreamTag::Rademacher, "layers.0.w", MatrixSide::Whole, 42, None);
        for dim in [1, 7, 8, 31, 32, 45, 128, 131] {
            let kind = Rademacher::new(dim);
            let mut entries = vec![0; 2 * kind.width()];
            kind.fill(words, 0, &mut entries);
            let mut sums = vec![0.5f32; dim as usize];
            kind.apply(&entries, &[2.0, 0.25], &mut sums);
            for (j, sum) in sums.iter().enumerate() {
                let sign = |i: usize| match entries[i * kind.width() + j / 32] >> (j % 32) & 1 {
                    0 => 1.0,
                    _ => -1.0,
                };
                assert_eq!(*sum, 0.5 + 2.0 * sign(0) + 0.25 * sign(1), "sum {j} of {dim}");
            }
        }
    }
}
