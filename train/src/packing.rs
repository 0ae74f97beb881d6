//! Sequence packing: short samples put together into sequences of about equally many tokens.
//!
//! A sequence only says which samples count as one in a micro-batch: each keeps its own positions, and
//! attention does not cross from one to the next.

use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Samples in sequences of at most `most` tokens: the longest first, each into the fullest sequence that has
/// room for it. Sequences stand in the order of their first samples, samples in theirs.
pub(crate) fn sequences(lengths: &[usize], most: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|sample| (Reverse(lengths[*sample]), *sample));
    let mut sequences: Vec<Vec<usize>> = Vec::new();
    // Room that is left, and the sequence that has it.
    let mut rooms: BTreeSet<(usize, usize)> = BTreeSet::new();
    for sample in order {
        let length = lengths[sample];
        match rooms.range((length, 0)..).next().copied() {
            Some((room, sequence)) => {
                rooms.remove(&(room, sequence));
                rooms.insert((room - length, sequence));
                sequences[sequence].push(sample);
            }
            None => {
                rooms.insert((most.saturating_sub(length), sequences.len()));
                sequences.push(vec![sample]);
            }
        }
    }
    sequences.iter_mut().for_each(|sequence| sequence.sort_unstable());
    sequences.sort_unstable();
    sequences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_have_every_sample_once_and_are_full() {
        let lengths = [5, 9, 1, 4, 4, 6, 10, 2];
        let packed = sequences(&lengths, 10);
        let mut all: Vec<usize> = packed.iter().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
        let tokens = |sequence: &Vec<usize>| sequence.iter().map(|s| lengths[*s]).sum::<usize>();
        assert!(packed.iter().all(|sequence| tokens(sequence) <= 10), "{packed:?}");
        // 41 tokens need five sequences.
        assert_eq!(packed.len(), 5, "{packed:?}");
        assert!(packed.is_sorted());
        assert_eq!(sequences(&[20], 10), [[0]]);
        assert!(sequences(&[], 10).is_empty());
    }
}
