//! ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004), as Google's rouge-score computes them with stemming.
//!
//! Letters are small ones, all but `a` to `z` and digits separates words, words of more than three letters
//! are stemmed.

use std::collections::HashMap;

use super::bleu::ngrams;
use super::stem::stem;

/// How much two texts have in common.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Overlap {
    /// Share of the text that the reference has.
    pub precision: f64,
    /// Share of the reference that the text has.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

impl Overlap {
    fn new(common: u64, text: u64, reference: u64) -> Overlap {
        let precision = common as f64 / text.max(1) as f64;
        let recall = common as f64 / reference.max(1) as f64;
        let f1 = match precision + recall {
            0.0 => 0.0,
            sum => 2.0 * precision * recall / sum,
        };
        Overlap { precision, recall, f1 }
    }
}

/// A text's words, stemmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RougeWords(Vec<String>);

impl RougeWords {
    /// Those of a text.
    pub fn of(text: &str) -> RougeWords {
        let text = text.to_lowercase();
        let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let words = text.split(|c: char| !is_letter(c)).filter(|word| !word.is_empty());
        let stemmed = words.map(|word| if word.len() > 3 { stem(word) } else { word.to_owned() });
        RougeWords(stemmed.filter(|word| !word.is_empty()).collect())
    }

    /// ROUGE-N of a text and a reference.
    pub fn rouge_n(&self, reference: &RougeWords, n: usize) -> Overlap {
        let (own, others) = (ngrams(&self.0, n), ngrams(&reference.0, n));
        let sum = |counts: &HashMap<&[String], u64>| counts.values().sum::<u64>();
        let common = others.iter().map(|(gram, count)| *count.min(own.get(gram).unwrap_or(&0))).sum();
        Overlap::new(common, sum(&own), sum(&others))
    }

    /// ROUGE-L of a text and a reference: their longest common subsequence, each taken as one sentence.
    pub fn rouge_l(&self, reference: &RougeWords) -> Overlap {
        let common = common_subsequence(&self.0, &reference.0);
        Overlap::new(common, self.0.len() as u64, reference.0.len() as u64)
    }
}

/// The length of the longest common subsequence.
fn common_subsequence(a: &[String], b: &[String]) -> u64 {
    let mut lengths = vec![0u64; b.len() + 1];
    for word in a {
        // What the row before had one column to the left.
        let mut diagonal = 0;
        for (column, other) in b.iter().enumerate() {
            let above = lengths[column + 1];
            lengths[column + 1] = if word == other { diagonal + 1 } else { above.max(lengths[column]) };
            diagonal = above;
        }
    }
    lengths.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f1(text: &str, reference: &str) -> [f64; 3] {
        let (text, reference) = (RougeWords::of(text), RougeWords::of(reference));
        [text.rouge_n(&reference, 1).f1, text.rouge_n(&reference, 2).f1, text.rouge_l(&reference).f1]
    }

    #[test]
    fn values_computed_by_hand() {
        for (text, reference, expected) in [
            ("the cat is on mat", "the cat sat on the mat", [8.0 / 11.0, 2.0 / 9.0, 8.0 / 11.0]),
            ("Paintings, painting!", "a painted PAINTING", [0.8, 2.0 / 3.0, 0.8]),
        ] {
            for (found, expected) in f1(text, reference).iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
            }
        }
        assert_eq!(f1("", "a b"), [0.0; 3]);
        assert_eq!(f1("你好", "你好"), [0.0; 3]);
        // One word has no pair.
        assert_eq!(f1("yes", "yes"), [1.0, 0.0, 1.0]);
    }

    #[test]
    fn subsequences_need_not_be_adjacent() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(common_subsequence(&words("a b c d"), &words("b x d a")), 2);
        assert_eq!(common_subsequence(&words("a a b"), &words("a b a")), 2);
        assert_eq!(common_subsequence(&[], &words("a")), 0);
    }
}
