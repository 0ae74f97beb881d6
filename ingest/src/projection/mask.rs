//! `mask`: one coordinate from each of k strata, scaled by the root of the stratum's length.
//!
//! Costs k reads, but its variance grows with the kurtosis of the coordinates: on heavy-tailed gradients it
//! is far worse than any of the other kinds. Opt-in only.

use super::philox::RandomWords;

/// One output coordinate: which input it reads and the factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SampledCoordinate {
    /// Index in the tensor.
    pub(super) index: u64,
    /// Length of the stratum; the factor is its square root.
    pub(super) length: u64,
}

/// The `k` samples of a tensor of `p >= k` coordinates, in index order, distinct.
pub(super) fn sample(words: RandomWords, p: u64, k: u64) -> Vec<SampledCoordinate> {
    let bound = |j: u64| (u128::from(j) * u128::from(p) / u128::from(k)) as u64;
    (0..k)
        .map(|j| {
            let (start, end) = (bound(j), bound(j + 1));
            let length = end - start;
            let word = words.at(j / 4, 0)[(j % 4) as usize];
            let within = (u128::from(word) * u128::from(length)) >> 32;
            SampledCoordinate { index: start + within as u64, length }
        })
        .collect()
}

/// Splits `dim` outputs over tensors in proportion to their sizes, by largest remainder, at least one each.
///
/// Needs `sizes.len() <= dim <= sum(sizes)` and no empty tensor; then no tensor gets more
/// outputs than coordinates.
pub(super) fn split(dim: usize, sizes: &[usize]) -> Vec<usize> {
    let total: u128 = sizes.iter().map(|s| *s as u128).sum();
    let share = |size: usize| (dim as u128 * size as u128) / total;
    let remainder = |size: usize| (dim as u128 * size as u128) % total;
    let mut parts: Vec<usize> = sizes.iter().map(|s| (share(*s) as usize).max(1)).collect();
    let mut given: usize = parts.iter().sum();
    let mut order: Vec<usize> = (0..sizes.len()).filter(|i| share(sizes[*i]) > 0).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(remainder(sizes[*i])), *i));
    for i in order {
        if given >= dim {
            break;
        }
        if parts[i] < sizes[i] {
            parts[i] += 1;
            given += 1;
        }
    }
    while given > dim {
        let Some(largest) = (0..parts.len()).max_by_key(|i| (parts[*i], std::cmp::Reverse(*i))) else {
            break;
        };
        parts[largest] -= 1;
        given -= 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::key::MatrixSide;
    use crate::projection::philox::StreamTag;
    use proptest::prelude::*;

    #[test]
    fn golden_words_and_indices() {
        let words = RandomWords::of(StreamTag::Mask, "layers.0.w", MatrixSide::Whole, 42, None);
        assert_eq!(words.at(0, 0)[..3], [0xdb52f3ce, 0x06c1873d, 0x18ebfa85]);
        let got: Vec<_> = sample(words, 8, 3).iter().map(|s| (s.index, s.length)).collect();
        assert_eq!(got, [(1, 2), (2, 3), (5, 3)]);
    }

    #[test]
    fn split_is_proportional() {
        assert_eq!(split(8, &[100, 300]), [2, 6]);
        assert_eq!(split(3, &[1, 1, 1000]), [1, 1, 1]);
        assert_eq!(split(10, &[5, 5]), [5, 5]);
        assert_eq!(split(7, &[10, 10, 10]), [3, 2, 2]);
        assert_eq!(split(4, &[1000, 1, 1]), [2, 1, 1]);
    }

    proptest! {
        #[test]
        fn split_holds_its_promise(sizes in prop::collection::vec(1usize..2000, 1..20), fraction in 0f64..=1.0) {
            let total: usize = sizes.iter().sum();
            let dim = sizes.len() + ((total - sizes.len()) as f64 * fraction) as usize;
            let parts = split(dim, &sizes);
            prop_assert_eq!(parts.iter().sum::<usize>(), dim);
            prop_assert!(parts.iter().zip(&sizes).all(|(part, size)| *part >= 1 && part <= size));
        }

        #[test]
        fn indices_are_sorted_distinct_and_inside(key: u64, p in 1u64..5000, fraction in 0f64..=1.0) {
            let k = 1 + ((p - 1) as f64 * fraction) as u64;
            let got = sample(RandomWords::new(key, StreamTag::Mask), p, k);
            prop_assert_eq!(got.len() as u64, k);
            prop_assert!(got.windows(2).all(|w| w[0].index < w[1].index));
            prop_assert!(got.iter().all(|s| s.index < p));
            prop_assert_eq!(got.iter().map(|s| s.length).sum::<u64>(), p);
        }
    }
}
