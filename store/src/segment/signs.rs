//! Signs of vectors: one bit a coordinate, and a scale for each module group.
//!
//! Invariants
//! - coordinate i of a module group is bit i mod 64 of word i / 64 of the group; 1 is negative, and zero
//!   counts as positive
//! - each group begins with a word, and bits beyond its end are 0: a word is of one group
//! - the scale is the mean magnitude of the group. With s the signs of x, |x - a s|^2 is |x|^2 - 2 a sum
//!   |x_i| + n a^2, which is least there: |x|^2 - n a^2. A group of zeros has scale 0
//! - a group is never longer than before rounding: sqrt(n) a = sum |x_i| / sqrt(n) <= |x|
//! - all of this is of the rotated group where the feature has a rotation, which keeps lengths and products

use super::lanes::sum;
use gstore_core::{SIGNS, SignRotation};
use std::ops::Range;

/// The signs of some vectors of a feature, one vector after the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signs<'a> {
    words: &'a [u64],
    each: usize,
    rotation: SignRotation,
}

impl<'a> Signs<'a> {
    /// Those in `words`, `each` of them a vector, of vectors as they are.
    pub fn new(words: &'a [u64], each: usize) -> Self {
        Signs { words, each, rotation: SignRotation::None }
    }

    /// The same, of vectors whose module groups were rotated.
    #[must_use]
    pub(super) fn of_rotated(self, rotation: SignRotation) -> Self {
        Signs { rotation, ..self }
    }

    /// How the vectors were rotated.
    pub fn rotation(self) -> SignRotation {
        self.rotation
    }

    /// The words.
    pub fn words(self) -> &'a [u64] {
        self.words
    }

    /// Words of a vector.
    pub fn each(self) -> usize {
        self.each
    }

    /// Number of vectors.
    pub fn vectors(self) -> usize {
        self.words.len().checked_div(self.each).unwrap_or_default()
    }

    /// Those of some of the vectors; none where there are not so many.
    pub fn rows(self, range: Range<usize>) -> Self {
        let words = self.words.get(range.start * self.each..range.end * self.each);
        Signs { words: words.unwrap_or_default(), ..self }
    }

    /// The values of the first vector, 1 and -1, at the coordinates of its module groups; rotated back, up to
    /// rounding, where they were rotated.
    pub(super) fn widen(self, groups: &[Range<usize>], out: &mut [f32]) {
        let mut words = self.words.iter();
        for group in groups {
            let values = out.get_mut(group.clone()).unwrap_or_default();
            for (values, word) in values.chunks_mut(SIGNS).zip(words.by_ref()) {
                for (i, value) in values.iter_mut().enumerate() {
                    *value = if word >> i & 1 == 1 { -1.0 } else { 1.0 };
                }
            }
            self.rotation.rotate_back(out.get_mut(group.clone()).unwrap_or_default());
        }
    }
}

/// Appends the signs of a module group of finite values; returns its scale.
pub(super) fn store_signs(group: &[f32], out: &mut Vec<u64>) -> f32 {
    let word = |values: &[f32]| {
        values.iter().enumerate().fold(0u64, |word, (i, value)| word | u64::from(*value < 0.0) << i)
    };
    out.extend(group.chunks(SIGNS).map(word));
    (sum(group, f64::abs) / group.len().max(1) as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bits_lie_as_they_are_said_to() {
        let mut words = Vec::new();
        // A word and a bit, a bit, and a group of zeros, one of them negative.
        let group: Vec<f32> = (0..65).map(|i| if i % 3 == 0 { -2.0 } else { 2.0 }).collect();
        assert_eq!(store_signs(&group, &mut words), 2.0);
        assert_eq!(store_signs(&[-3.0], &mut words), 3.0);
        assert_eq!(store_signs(&[0.0, -0.0], &mut words), 0.0);
        let thirds = (0..64).step_by(3).fold(0u64, |word, i| word | 1 << i);
        assert_eq!(words, [thirds, 0, 1, 0]);
        let mut out = [0.0f32; 68];
        Signs::new(&words, 4).widen(&[0..65, 65..66, 66..68], &mut out);
        for (i, value) in out.iter().enumerate() {
            let negative = i < 65 && i % 3 == 0 || i == 65;
            assert_eq!(*value, if negative { -1.0 } else { 1.0 }, "{i}");
        }
    }

    #[test]
    fn rows_are_those_that_are_there() {
        let words = [1u64, 2, 3, 4, 5, 6];
        let all = Signs::new(&words, 2);
        assert_eq!((all.vectors(), all.rows(1..3).words()), (3, &words[2..]));
        assert_eq!(all.rows(2..4).vectors(), 0);
        assert_eq!(Signs::new(&words, 0).vectors(), 0);
    }

    proptest! {
        /// No other scale is closer, and what is left is what the closed form says, both in f64.
        #[test]
        fn the_scale_leaves_the_least_error(group in proptest::collection::vec(-1e3f32..1e3, 1..200), other in 0.5f64..1.5) {
            let mut words = Vec::new();
            let scale = f64::from(store_signs(&group, &mut words));
            let mut signs = vec![0.0f32; group.len()];
            Signs::new(&words, words.len()).widen(std::slice::from_ref(&(0..group.len())), &mut signs);
            let error = |scale: f64| -> f64 {
                group.iter().zip(&signs).map(|(x, s)| (f64::from(*x) - scale * f64::from(*s)).powi(2)).sum()
            };
            let square: f64 = group.iter().map(|x| f64::from(*x).powi(2)).sum();
            let left = square - group.len() as f64 * scale * scale;
            prop_assert!((error(scale) - left).abs() <= 1e-6 * square);
            prop_assert!(error(scale) <= error(scale * other) + 1e-6 * square);
        }
    }
}
