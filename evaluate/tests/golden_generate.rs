//! Promise: BLEU is nltk's, ROUGE and stems are those of rouge-score, to 1e-6.
//!
//! Pairs and words come from `golden/generate/metrics.json`.

use crate::common::support;
use gstore_evaluate::metrics::{BleuCounts, RougeWords, stem, text_scores};
use serde_json::Value;

/// Tolerance of every value, where the file states none.
const TOLERANCE: f64 = 1e-6;

fn golden() -> Value {
    support::json(&support::shared().join("golden/generate/metrics.json"))
}

#[track_caller]
fn assert_near(found: f64, expected: &Value, tolerance: f64, of: &str) {
    let expected = expected.as_f64().unwrap_or_else(|| panic!("{of} is not a number"));
    assert!((found - expected).abs() <= tolerance, "{of}: {found} is not {expected}");
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_generate_bleu_and_rouge_of_pairs() {
    let golden = golden();
    let tolerance = support::tolerance(&golden, "metrics", TOLERANCE);
    let pairs = golden["pairs"].as_array().expect("pairs");
    assert!(!pairs.is_empty());
    for pair in pairs {
        let text = |key: &str| pair[key].as_str().unwrap_or_else(|| panic!("{key} of {pair}"));
        let (text, reference) = (text("hypothesis"), text("reference"));
        let bleu = BleuCounts::of(text, &[reference]);
        let scores = text_scores(text, &[reference]);
        assert_near(bleu.score(1), &pair["bleu1"], tolerance, text);
        assert_near(bleu.score(2), &pair["bleu2"], tolerance, text);
        assert_eq!(scores.values[..2], [bleu.score(1), bleu.score(2)]);
        let (words, others) = (RougeWords::of(text), RougeWords::of(reference));
        for (kind, name) in ["rouge1", "rouge2", "rougeL"].into_iter().enumerate() {
            let found = match kind {
                2 => words.rouge_l(&others),
                n => words.rouge_n(&others, n + 1),
            };
            assert_near(found.precision, &pair[name]["precision"], tolerance, text);
            assert_near(found.recall, &pair[name]["recall"], tolerance, text);
            assert_near(found.f1, &pair[name]["f1"], tolerance, text);
            assert_near(scores.values[2 + kind], &pair[name]["f1"], tolerance, text);
        }
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_generate_stems_of_words() {
    let golden = golden();
    let stems = golden["stems"].as_object().expect("stems by word");
    assert!(!stems.is_empty());
    for (word, expected) in stems {
        assert_eq!(Some(stem(word).as_str()), expected.as_str(), "{word}");
    }
}
