//! `sjlt`: the sparse sign matrix in block form, `s` non-zeros in each column.
//!
//! The k rows are `s` blocks of `m = k/s`; non-zero `t` of column `i` lies in block `t`. Its word
//! is number `i*s + t` of the stream: bit 0 is the sign, the rest picks the row. Kane and Nelson
//! 2012 (arXiv 1012.1577).

use super::philox::RandomWords;
use super::summed::RandomMatrix;

/// Sign bit of a packed entry; the rest is the row.
pub(super) const NEGATIVE: u32 = 1 << 31;

#[derive(Clone, Copy, Debug)]
pub(super) struct Sjlt {
    s: u32,
    m: u32,
}

impl Sjlt {
    /// `dim` must be a multiple of `s` and below 2^31, which [`super::ProjectionSpec`] checks.
    pub(super) fn new(dim: u32, s: u32) -> Self {
        Self { s, m: dim / s }
    }

    #[inline]
    fn entry(self, t: u32, word: u32) -> u32 {
        let row = (u64::from(word >> 1) * u64::from(self.m)) >> 31;
        (t * self.m + row as u32) | (word << 31)
    }
}

impl RandomMatrix for Sjlt {
    fn width(&self) -> usize {
        self.s as usize
    }

    fn fill(&self, words: RandomWords, first: u64, entries: &mut [u32]) {
        let mut n = first * u64::from(self.s);
        let mut t = 0;
        let mut rest = entries;
        while !rest.is_empty() {
            let drawn = words.at(n / 4, 0);
            let from = (n % 4) as usize;
            let count = (4 - from).min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            for (entry, word) in now.iter_mut().zip(&drawn[from..]) {
                *entry = self.entry(t, *word);
                t += 1;
                if t == self.s {
                    t = 0;
                }
            }
            n += count as u64;
            rest = later;
        }
    }

    fn apply(&self, entries: &[u32], values: &[f32], sums: &mut [f32]) {
        match self.s {
            1 => apply_fixed::<1>(entries, values, sums),
            2 => apply_fixed::<2>(entries, values, sums),
            4 => apply_fixed::<4>(entries, values, sums),
            8 => apply_fixed::<8>(entries, values, sums),
            s => {
                for (column, value) in entries.chunks_exact(s as usize).zip(values) {
                    if *value != 0.0 {
                        column.iter().for_each(|entry| add(*entry, *value, sums));
                    }
                }
            }
        }
    }

    fn scale(&self) -> f64 {
        1.0 / f64::from(self.s).sqrt()
    }

    fn is_sparse(&self) -> bool {
        true
    }
}

#[inline]
fn add(entry: u32, value: f32, sums: &mut [f32]) {
    sums[(entry & !NEGATIVE) as usize] += f32::from_bits(value.to_bits() ^ (entry & NEGATIVE));
}

fn apply_fixed<const S: usize>(entries: &[u32], values: &[f32], sums: &mut [f32]) {
    let (columns, _) = entries.as_chunks::<S>();
    for (column, value) in columns.iter().zip(values) {
        if *value != 0.0 {
            for entry in column {
                add(*entry, *value, sums);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::key::MatrixSide;
    use crate::projection::philox::StreamTag;

    fn words() -> RandomWords {
        RandomWords::of(StreamTag::Sjlt, "layers.0.w", MatrixSide::Whole, 42, None)
    }

    fn entries(dim: u32, s: u32) -> Vec<(u32, bool)> {
        let mut entries = vec![0; 8 * s as usize];
        Sjlt::new(dim, s).fill(words(), 0, &mut entries);
        entries.iter().map(|e| (e & !NEGATIVE, e & NEGATIVE != 0)).collect()
    }

    #[test]
    fn golden_words_rows_and_signs() {
        assert_eq!(words().at(0, 0), [0x69edff8b, 0xd0d7a066, 0xd1a84b44, 0x1ab8a86d]);
        let rows = [0, 3, 1, 2, 1, 3, 1, 2, 0, 2, 0, 3, 1, 2, 1, 3];
        let signs = "-++-++-+-------+";
        assert_eq!(entries(4, 2), rows.into_iter().zip(signs.chars().map(|c| c == '-')).collect::<Vec<_>>());
        let rows = [1, 3, 3, 0, 3, 3, 3, 1];
        let signs = "-++-++-+";
        assert_eq!(entries(4, 1), rows.into_iter().zip(signs.chars().map(|c| c == '-')).collect::<Vec<_>>());
    }

    #[test]
    fn columns_are_addressable() {
        for s in [1u32, 2, 3, 4, 5, 8] {
            let kind = Sjlt::new(16 * s, s);
            let width = s as usize;
            let mut whole = vec![0; 40 * width];
            kind.fill(words(), 0, &mut whole);
            for first in 0..40 {
                let mut column = vec![0; width];
                kind.fill(words(), first as u64, &mut column);
                assert_eq!(column, whole[first * width..(first + 1) * width]);
                for (t, entry) in column.iter().enumerate() {
                    assert_eq!((entry & !NEGATIVE) / 16, t as u32, "one non-zero per row block");
                }
            }
        }
    }
}
