//! `fact_sjlt`: sparse signs on both sides, then sparse signs again. The default of the factored kinds.
//!
//! A token costs one addition per value of either side, and no channel is left out.

use crate::projection::modules::{SideEntry, SideMatrix};
use crate::projection::philox::RandomWords;
use crate::projection::sjlt::{NEGATIVE, Sjlt};
use crate::projection::summed::RandomMatrix;

/// The `sjlt` matrix of `rows x columns` with one sign in each column.
pub(super) fn side(words: RandomWords, rows: u32, columns: usize, bias: bool) -> SideMatrix {
    let entries = (0..)
        .zip(signs(words, rows, columns))
        .map(|(source, packed)| {
            let factor = if packed & NEGATIVE == 0 { 1.0 } else { -1.0 };
            SideEntry { dest: packed & !NEGATIVE, source, factor }
        })
        .collect();
    SideMatrix::sparse(rows as usize, columns, entries, bias)
}

/// Packed row and sign of each column of an `sjlt` matrix with s = 1.
pub(super) fn signs(words: RandomWords, rows: u32, columns: usize) -> Vec<u32> {
    let mut packed = vec![0; columns];
    Sjlt::new(rows, 1).fill(words, 0, &mut packed);
    packed
}

/// Adds `values`, one for each packed column, to their rows in f64 and rounds once.
pub(super) fn scatter<T: Copy + Into<f64>>(packed: &[u32], values: &[T], out: &mut [f32]) {
    let mut totals = vec![0f64; out.len()];
    for (packed, value) in packed.iter().zip(values) {
        let value: f64 = (*value).into();
        let signed = if packed & NEGATIVE == 0 { value } else { -value };
        totals[(packed & !NEGATIVE) as usize] += signed;
    }
    for (out, total) in out.iter_mut().zip(totals) {
        *out = total as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::key::MatrixSide;
    use crate::projection::modules::SideEntries;
    use crate::projection::philox::StreamTag;

    fn words(side: MatrixSide) -> RandomWords {
        RandomWords::of(StreamTag::Sjlt, "layers.0.w", side, 42, None)
    }

    #[test]
    fn golden_rows_and_signs() {
        let drawn = |side_of, rows, columns| {
            let SideEntries::Sparse(entries) = side(words(side_of), rows, columns, false).entries else {
                panic!("sparse")
            };
            assert!(entries.iter().enumerate().all(|(i, e)| e.source == i as u32));
            let signs: String = entries.iter().map(|e| if e.factor < 0.0 { '-' } else { '+' }).collect();
            (entries.iter().map(|e| e.dest).collect::<Vec<_>>(), signs)
        };
        assert_eq!(drawn(MatrixSide::Out, 2, 4), (vec![0, 1, 1, 0], "+-++".to_owned()));
        assert_eq!(drawn(MatrixSide::In, 3, 6), (vec![2, 0, 0, 0, 2, 0], "+-+-+-".to_owned()));
    }

    #[test]
    fn golden_post() {
        let mut out = [0.0; 2];
        let packed = signs(words(MatrixSide::Post), 2, 6);
        scatter(&packed, &[0.0f32, 12.0, 4.0, -2.0, 2.0, -1.0], &mut out);
        assert_eq!(out, [16.0, -5.0]);
        let rows: Vec<_> = packed.iter().map(|p| p & !NEGATIVE).collect();
        let signs: String = packed.iter().map(|p| if p & NEGATIVE != 0 { '-' } else { '+' }).collect();
        assert_eq!((rows, signs.as_str()), (vec![1, 0, 1, 0, 0, 1], "++--++"));
    }
}
