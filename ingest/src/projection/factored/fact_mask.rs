//! `fact_mask`: one coordinate of each stratum of each side, then sparse signs.
//!
//! The shape is that of FactGraSS, arXiv 2505.18976.
//!
//! Reads the fewest values of all, and loses quality silently where a few channels carry the gradient: opt-in
//! only ([`super::kurtosis()`]).

use crate::projection::mask;
use crate::projection::modules::{SideEntry, SideMatrix};
use crate::projection::philox::RandomWords;

/// The `mask` of `rows` of `columns` coordinates, times the root of each stratum's length.
pub(super) fn side(words: RandomWords, rows: u32, columns: usize, bias: bool) -> SideMatrix {
    let entries = (0..)
        .zip(mask::sample(words, columns as u64, u64::from(rows)))
        .map(|(dest, sampled)| SideEntry {
            dest,
            source: sampled.index as u32,
            factor: (sampled.length as f64).sqrt() as f32,
        })
        .collect();
    SideMatrix::sparse(rows as usize, columns, entries, bias)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::key::MatrixSide;
    use crate::projection::modules::SideEntries;
    use crate::projection::philox::StreamTag;

    #[test]
    fn golden_samples() {
        let kept = |side_of, rows, columns| {
            let words = RandomWords::of(StreamTag::Mask, "layers.0.w", side_of, 42, None);
            let SideEntries::Sparse(entries) = side(words, rows, columns, false).entries else {
                panic!("sparse")
            };
            assert!(entries.iter().all(|e| e.factor == 2f32.sqrt()));
            entries.iter().map(|e| (e.dest, e.source)).collect::<Vec<_>>()
        };
        assert_eq!(kept(MatrixSide::Out, 2, 4), [(0, 1), (1, 2)]);
        assert_eq!(kept(MatrixSide::In, 3, 6), [(0, 0), (1, 3), (2, 5)]);
    }
}
