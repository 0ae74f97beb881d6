//! Exact match and F1 of short answers, as the SQuAD scripts compare them (Rajpurkar et al. 2016, 2018).

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What is left out of answers before they are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normal {
    /// Case, ASCII punctuation, the articles `a`, `an` and `the`, and the amount of white space.
    Squad,
    /// The same with the articles kept: where `(A)` is an answer.
    WithArticles,
}

impl Normal {
    fn words(self, text: &str) -> Vec<String> {
        let lower = text.to_lowercase();
        let kept: String = lower.chars().filter(|c| !c.is_ascii_punctuation()).collect();
        let kept = match self {
            Normal::Squad => without_articles(&kept),
            Normal::WithArticles => kept,
        };
        super::bleu::words(&kept).into_iter().map(str::to_owned).collect()
    }

    /// 1 if an answer is one of those that are right, else 0.
    pub fn exact_match(self, answer: &str, right: &[&str]) -> f64 {
        let words = self.words(answer);
        f64::from(u8::from(right.iter().any(|right| self.words(right) == words)))
    }
}

/// F1 of the words that an answer has in common with the right one that is nearest to it. Where one of the
/// two has no words, it is 1 if neither has. Articles are left out, as in SQuAD; where they are kept
/// otherwise, only if the right answer has more than them: no answer at all is not as good as `(A)`.
pub(crate) fn f1(normal: Normal, answer: &str, right: &[&str]) -> f64 {
    let of = |right: &&str| {
        let by = if Normal::Squad.words(right).is_empty() { normal } else { Normal::Squad };
        f1_of(&by.words(answer), &by.words(right))
    };
    right.iter().map(of).fold(0.0, f64::max)
}

fn f1_of(words: &[String], right: &[String]) -> f64 {
    if words.is_empty() || right.is_empty() {
        return f64::from(u8::from(words.is_empty() && right.is_empty()));
    }
    let mut left: HashMap<&str, u64> = HashMap::new();
    for word in right {
        *left.entry(word).or_default() += 1;
    }
    let common = words.iter().filter(|word| match left.get_mut(word.as_str()) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    });
    let common = common.count() as f64;
    if common == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (common / words.len() as f64, common / right.len() as f64);
    2.0 * precision * recall / (precision + recall)
}

/// Words as Python's `\b` ends them: letters and numbers, without the marks that Rust counts as alphabetic.
static WORDS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[\p{L}\p{N}_]+").ok());

/// The text with a space in the place of each article that stands alone.
fn without_articles(text: &str) -> String {
    let Some(words) = WORDS.as_ref() else { return text.to_owned() };
    let without = |word: &Captures<'_>| match &word[0] {
        "a" | "an" | "the" => " ".to_owned(),
        word => word.to_owned(),
    };
    words.replace_all(text, without).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_without_what_does_not_matter() {
        let squad = |a, b: &str| Normal::Squad.exact_match(a, &[b]);
        assert_eq!(squad("The  Eiffel Tower!", "eiffel tower"), 1.0);
        assert_eq!(squad("another", "other"), 0.0);
        assert_eq!(squad("A-b", "ab"), 1.0);
        assert_eq!(squad("(A)", "(B)"), 0.0);
        assert_eq!(Normal::WithArticles.exact_match("(A)", &["a"]), 1.0);
        assert_eq!(Normal::WithArticles.exact_match("the cat", &["cat"]), 0.0);
        assert_eq!(Normal::Squad.exact_match("x", &["y", "X."]), 1.0);
        assert_eq!(Normal::Squad.exact_match("x", &[]), 0.0);
    }

    #[test]
    fn f1_by_hand() {
        for (answer, right, expected) in [
            ("the cat sat", &["cat sat down"][..], 0.8),
            ("a b", &["c"], 0.0),
            ("the", &["a"], 1.0),
            ("", &["x"], 0.0),
            ("x x y", &["x"], 0.5),
            ("x", &["z", "x y"], 2.0 / 3.0),
        ] {
            let found = f1(Normal::Squad, answer, right);
            assert!((found - expected).abs() < 1e-12, "{answer}: {found}");
        }
        for (answer, right, expected) in
            [("", "(A)", 0.0), ("(a).", "(A)", 1.0), ("the cat", "cat", 1.0), ("", "...", 1.0)]
        {
            assert_eq!(f1(Normal::WithArticles, answer, &[right]), expected, "{answer}");
        }
        assert_eq!(without_articles("the theatre an a-b"), "  theatre    -b");
        // A vowel sign is no letter.
        assert_eq!(without_articles("a\u{93e} \u{915}a \u{2160}a"), " \u{93e} \u{915}a \u{2160}a");
    }
}
