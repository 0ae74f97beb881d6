//! Partition of a step's samples into the pieces that threads compute.

use std::ops::Range;

/// Pieces come in multiples of this many, so that a few threads have equal shares.
const SHARES: usize = 4;

/// Consecutive samples of about equally many tokens: enough pieces that none has more than about `most`
/// tokens.
///
/// The cut depends on the lengths alone, and sums run piece by piece in their order, so threads change no
/// bit.
pub fn cut(lengths: &[usize], most: usize) -> Vec<Range<usize>> {
    let total: usize = lengths.iter().sum();
    let wanted = total.div_ceil(most.max(1)).next_multiple_of(SHARES);
    let pieces = wanted.clamp(1, lengths.len().max(1));
    let mut cuts = Vec::with_capacity(pieces);
    let (mut start, mut tokens) = (0, 0);
    for (sample, length) in lengths.iter().enumerate() {
        tokens += length;
        let left = lengths.len() - sample - 1;
        let due = tokens * pieces >= total * (cuts.len() + 1);
        // Every piece gets a sample.
        if due && cuts.len() + 1 < pieces || left < pieces - cuts.len() && left + 1 == pieces - cuts.len() {
            cuts.push(start..sample + 1);
            start = sample + 1;
        }
    }
    if start < lengths.len() {
        cuts.push(start..lengths.len());
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_samples_in_order() {
        for (lengths, most) in [
            (vec![10; 16], 50),
            (vec![100, 1, 1, 1, 1], 20),
            (vec![1, 1, 1, 1, 100], 20),
            (vec![5], 1),
            (vec![3, 0, 0, 7], 1000),
            (vec![0, 0], 10),
        ] {
            let cuts = cut(&lengths, most);
            let flat: Vec<usize> = cuts.iter().cloned().flatten().collect();
            assert_eq!(flat, (0..lengths.len()).collect::<Vec<_>>(), "{lengths:?}: {cuts:?}");
            assert!(cuts.iter().all(|piece| !piece.is_empty()), "{cuts:?}");
        }
        assert_eq!(cut(&[10; 16], 50), [0..4, 4..8, 8..12, 12..16]);
        assert!(cut(&[], 50).is_empty());
    }
}
