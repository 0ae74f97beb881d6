//! Promise: metrics of texts have the values of the packages that define them, and hold what they must for
//! any text.

use crate::common::{fixture, numbers, texts};
use gstore_evaluate::metrics::{BleuCounts, Metric, RougeWords, TextScores, stem, text_scores};
use proptest::prelude::*;

fn scores(text: &str, references: &[String]) -> TextScores {
    let references: Vec<&str> = references.iter().map(String::as_str).collect();
    text_scores(text, &references)
}

#[test]
fn values_are_those_of_nltk_rouge_score_and_squad() {
    let fixture = fixture("metrics.json");
    let mut corpus = BleuCounts::default();
    for row in fixture["rows"].as_array().expect("rows") {
        let text = row["prediction"].as_str().expect("a text");
        let found = scores(text, &texts(row, "references"));
        corpus.add(&found.bleu);
        for ((metric, found), expected) in
            Metric::OF_TEXTS.iter().zip(found.values).zip(numbers(row, "values"))
        {
            assert!(
                (found - expected).abs() <= 1e-6,
                "{} of {text:?}: {found}, not {expected}",
                metric.name()
            );
        }
    }
    for (order, expected) in numbers(&fixture, "corpus").into_iter().enumerate() {
        let found = corpus.score(order + 1);
        assert!((found - expected).abs() <= 1e-6, "BLEU-{} of all: {found}, not {expected}", order + 1);
    }
}

/// Words of few letters, so that texts have some in common.
fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec("[a-c]{1,2}|the|running|[.,!]", 0..12).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn values_are_shares(text in text(), references in proptest::collection::vec(text(), 1..4)) {
        for (metric, value) in Metric::OF_TEXTS.iter().zip(scores(&text, &references).values) {
            prop_assert!((0.0..=1.0 + 1e-12).contains(&value), "{} is {value}", metric.name());
        }
    }

    #[test]
    fn a_text_is_like_itself(text in "[a-z]{4,9}( [a-z]{4,9}){1,8}") {
        let found = scores(&text, std::slice::from_ref(&text)).values;
        for (metric, value) in Metric::OF_TEXTS.iter().zip(found) {
            prop_assert!((value - 1.0).abs() < 1e-12, "{} is {value}", metric.name());
        }
    }

    #[test]
    fn another_reference_takes_nothing_away(text in text(), first in text(), second in text()) {
        let one = scores(&text, std::slice::from_ref(&first)).values;
        let both = scores(&text, &[first, second]).values;
        // A second reference may be nearer in length, which changes BLEU's penalty.
        for at in 2..7 {
            prop_assert!(both[at] >= one[at]);
        }
    }

    #[test]
    fn precision_and_recall_change_places(a in text(), b in text()) {
        let (a, b) = (RougeWords::of(&a), RougeWords::of(&b));
        for (there, back) in [
            (a.rouge_n(&b, 1), b.rouge_n(&a, 1)),
            (a.rouge_n(&b, 2), b.rouge_n(&a, 2)),
            (a.rouge_l(&b), b.rouge_l(&a)),
        ] {
            prop_assert_eq!((there.precision, there.recall), (back.recall, back.precision));
            prop_assert!(a.rouge_l(&b).f1 <= a.rouge_n(&b, 1).f1 + 1e-12);
        }
    }

    #[test]
    fn any_text_has_values(text in any::<String>(), reference in any::<String>()) {
        prop_assert!(scores(&text, std::slice::from_ref(&reference)).values.iter().all(|value| value.is_finite()));
        let _ = stem(&text);
    }
}
