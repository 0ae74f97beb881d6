//! BLEU: clipped n-gram precisions with a brevity penalty (Papineni et al. 2002), as nltk computes it.
//!
//! Words are what white space separates. A precision of zero becomes 0.1 over its total (smoothing method 1
//! of Chen and Cherry 2014); without a common word the value is 0.

use std::collections::HashMap;

/// What is put in place of a count of zero.
const EPSILON: f64 = 0.1;

/// Sizes of n-grams that are counted.
const ORDERS: usize = 2;

/// Counts that a value is computed from; those of several texts are added for the value of a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BleuCounts {
    /// N-grams that a reference has too, of one and of two words.
    matches: [u64; ORDERS],
    /// N-grams, at least one for each text.
    totals: [u64; ORDERS],
    words: u64,
    /// Words of the references whose lengths are nearest.
    reference_words: u64,
}

impl BleuCounts {
    /// Of a text and its references.
    pub fn of(text: &str, references: &[&str]) -> BleuCounts {
        let words = words(text);
        let references: Vec<Vec<&str>> = references.iter().map(|reference| self::words(reference)).collect();
        let nearest = references.iter().map(Vec::len).min_by_key(|len| (len.abs_diff(words.len()), *len));
        let mut counts = BleuCounts {
            words: words.len() as u64,
            reference_words: nearest.unwrap_or(0) as u64,
            ..BleuCounts::default()
        };
        for order in 1..=ORDERS {
            let mut most: HashMap<&[&str], u64> = HashMap::new();
            for reference in &references {
                for (gram, count) in ngrams(reference, order) {
                    let most = most.entry(gram).or_default();
                    *most = (*most).max(count);
                }
            }
            let own = ngrams(&words, order);
            let common = own.iter().map(|(gram, count)| *count.min(most.get(gram).unwrap_or(&0)));
            counts.matches[order - 1] = common.sum();
            counts.totals[order - 1] = own.values().sum::<u64>().max(1);
        }
        counts
    }

    /// Takes in those of another text.
    pub fn add(&mut self, other: &BleuCounts) {
        for order in 0..ORDERS {
            self.matches[order] += other.matches[order];
            self.totals[order] += other.totals[order];
        }
        self.words += other.words;
        self.reference_words += other.reference_words;
    }

    /// BLEU of n-grams up to `order` words (1 or 2), all with the same weight.
    pub fn score(&self, order: usize) -> f64 {
        let order = order.clamp(1, ORDERS);
        if self.matches[0] == 0 {
            return 0.0;
        }
        let precisions = self.matches.iter().zip(&self.totals).take(order);
        let logarithm = |(matches, total): (&u64, &u64)| {
            let matches = if *matches == 0 { EPSILON } else { *matches as f64 };
            (matches / *total as f64).ln()
        };
        let mean = precisions.map(logarithm).sum::<f64>() / order as f64;
        self.brevity() * mean.exp()
    }

    fn brevity(&self) -> f64 {
        match self.words {
            0 => 0.0,
            words if words > self.reference_words => 1.0,
            words => (1.0 - self.reference_words as f64 / words as f64).exp(),
        }
    }
}

/// What Python's `str.split` gives.
pub(super) fn words(text: &str) -> Vec<&str> {
    let is_space = |c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
    text.split(is_space).filter(|word| !word.is_empty()).collect()
}

/// Sequences of words and how often they come.
pub(super) fn ngrams<W: Eq + std::hash::Hash>(words: &[W], order: usize) -> HashMap<&[W], u64> {
    let mut counts = HashMap::new();
    for gram in words.windows(order) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bleu(text: &str, references: &[&str]) -> [f64; 2] {
        let counts = BleuCounts::of(text, references);
        [counts.score(1), counts.score(2)]
    }

    fn assert_near(got: [f64; 2], expected: [f64; 2]) {
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-6, "{got} is not {expected}");
        }
    }

    #[test]
    fn values_computed_by_hand() {
        // Four of five words, two of four pairs; one word short.
        let penalty = (1.0f64 - 6.0 / 5.0).exp();
        assert_near(
            bleu("the cat is on mat", &["the cat sat on the mat"]),
            [penalty * 0.8, penalty * (0.8f64 * 0.25).sqrt()],
        );
        assert_near(bleu("the cat is on mat", &["the cat sat on the mat"]), [0.654985, 0.366148]);
        assert_near(bleu("a b", &["a b"]), [1.0, 1.0]);
        // A word counts as often as a reference has it.
        assert_near(bleu("a a a a", &["a b a c"]), [0.5, (0.5f64 * 0.1 / 3.0).sqrt()]);
        // The nearest length of two references, the shorter one of equally near ones.
        assert_near(bleu("a b c", &["a b c d", "x y"]), [1.0, 1.0]);
    }

    #[test]
    fn texts_with_nothing_in_common_have_no_value() {
        for (text, reference) in [("", "a"), ("a", ""), ("", ""), ("a b", "c d"), (" \n", "a")] {
            assert_eq!(bleu(text, &[reference]), [0.0, 0.0]);
        }
        assert_eq!(bleu("a", &[]), [0.0, 0.0]);
        // No pair at all is a pair of which none is found.
        assert_near(bleu("a", &["a"]), [1.0, 0.1f64.sqrt()]);
    }

    #[test]
    fn white_space_is_that_of_python() {
        assert_eq!(words(" a\u{a0}b\u{1d}c\u{2028}d\u{200b}e\n"), ["a", "b", "c", "d\u{200b}e"]);
    }

    #[test]
    fn counts_of_a_corpus_are_added() {
        let mut sum = BleuCounts::of("a b", &["a b"]);
        sum.add(&BleuCounts::of("c d", &["x y z"]));
        assert_near([sum.score(1), sum.score(2)], {
            let penalty = (1.0f64 - 5.0 / 4.0).exp();
            [penalty * 0.5, penalty * (0.5f64 * 0.5).sqrt()]
        });
    }
}
