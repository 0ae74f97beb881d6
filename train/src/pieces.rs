//! Partition of a step's samples into the pieces that threads compute.

use std::ops::Range;

use gstore_model::{ForwardOptions, LastRows, SavedActivations};

/// A forward pass of a piece that gives the scored rows and keeps nothing for a backward one.
pub(crate) const SCORING: ForwardOptions = ForwardOptions {
    last_rows: LastRows::Scored,
    keep_from: None,
    keep: SavedActivations::Inputs,
    tap: None,
};

/// Pieces come in multiples of this many, so that a few threads have equal shares.
pub(crate) const SHARES: usize = 4;

/// Tokens that no piece of a step has more of: `units` are the lengths of all samples, or of the sequences
/// that they are packed into, of which a step has at most `count`, and `longest` is the length of the longest
/// sample.
///
/// A piece ends with the sample that completes its share.
pub(crate) fn largest(mut units: Vec<usize>, count: usize, longest: usize, most: usize) -> usize {
    units.sort_unstable_by(|a, b| b.cmp(a));
    let step: usize = units.iter().take(count).sum();
    step.min(most.min(step.div_ceil(SHARES)) + longest)
}

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
    fn no_piece_is_larger_than_the_largest() {
        let mut state = 7_u64;
        let mut number = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % below) as usize
        };
        for _ in 0..2_000 {
            let (count, most) = (1 + number(40), 1 + number(2_000));
            let lengths: Vec<usize> = (0..count).map(|_| number(600)).collect();
            let longest = lengths.iter().copied().max().unwrap_or(0);
            let bound = largest(lengths.clone(), count, longest, most);
            for piece in cut(&lengths, most) {
                let tokens: usize = lengths[piece].iter().sum();
                assert!(tokens <= bound, "{tokens} of {lengths:?}, at most {most}: {bound}");
                assert!(count > SHARES || tokens <= longest, "{tokens} of {lengths:?}, at most {most}");
            }
        }
    }

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
