//! Promise: no system's answers take the place of another's, or of the right ones, in the files of a report,
//! and no name of one drives a terminal.

use crate::common::folder;
use gstore_core::{Cancel, Silent};
use gstore_evaluate::statistics::Bootstrap;
use gstore_evaluate::{PairSource, PairsRequest, SystemSource, TextOutcome, evaluate_texts, read_pairs};
use serde_json::{Value, json};

/// A report of systems that answer a question with their own names; the right answer is `right`.
fn compared(names: &[&str]) -> TextOutcome {
    let record = |name: &str| json!({ "id": "a", "prompt": "p?", "prediction": name, "expected": "right" });
    let texts: Vec<String> = names.iter().map(|name| format!("{}\n", record(name))).collect();
    let paths: Vec<String> = (0..names.len()).map(|number| format!("{number}.jsonl")).collect();
    let all: Vec<(&str, &str)> =
        paths.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
    let folder = folder(&all);
    let system = |(name, path): (&&str, &String)| SystemSource {
        name: Some((*name).to_owned()),
        source: PairSource::Files(vec![folder.path().join(path)]),
    };
    let request = PairsRequest {
        systems: names.iter().zip(&paths).map(system).collect(),
        references: None,
        predictions: Vec::new(),
        reference: None,
    };
    let pairs = read_pairs(&request, &Cancel::new()).expect("joined");
    let bootstrap = Bootstrap { resamples: 100, seed: 1 };
    evaluate_texts(pairs, 0, bootstrap, &mut Silent, (1, &Cancel::new())).expect("compared")
}

/// Its files, those that are JSON as that.
fn files(found: &TextOutcome) -> Vec<(String, Value)> {
    let files = found.files().expect("files").into_iter();
    files.map(|file| (file.path, serde_json::from_slice(&file.content).unwrap_or_default())).collect()
}

#[test]
fn a_report_of_one_row_says_so() {
    let said = compared(&["base", "tuned"]).report.text();
    assert!(said.contains(" 1 row; differences"), "{said}");
}

#[test]
fn names_of_systems_cannot_drive_a_terminal() {
    let said = compared(&["base", "a\u{1b}[31m\nb"]).report.text();
    assert!(!said.contains('\u{1b}') && said.contains("a\\u{1b}[31m\\nb - base"), "{said}");
}

#[test]
fn differences_of_several_systems_have_their_names() {
    let report = compared(&["base", "tuned", "other"]).report;
    let markdown = report.markdown();
    let header = markdown.lines().find(|line| line.starts_with("| metric |")).expect("a table");
    assert!(header.contains("| system | mean |"), "{header}");
    assert!(header.ends_with("| difference from base | relative | p |"), "{header}");
    for system in ["base", "tuned", "other"] {
        assert!(markdown.contains(&format!("| BLEU1 | 1 | {system} | ")), "{markdown}");
    }
    let of_bleu = |line: &&str| line.starts_with("BLEU1 ");
    assert_eq!(report.text().lines().filter(of_bleu).count(), 3, "{}", report.text());
}

#[test]
fn systems_whose_names_are_alike_have_files_of_their_own() {
    let files = files(&compared(&["base", "a/b", "a_b", "expected"]));
    let mut paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    for path in ["a_b", "a_b_2", "expected"] {
        assert!(paths.contains(&format!("model_comparison_summary_{path}.csv").as_str()), "{paths:?}");
    }
    let of = |name: &str| {
        let found = files.iter().find(|(path, _)| path == name);
        found.unwrap_or_else(|| panic!("{name} of {paths:?}")).1.clone()
    };
    for (path, said) in [("a_b", "a/b"), ("a_b_2", "a_b"), ("expected_2", "expected")] {
        assert_eq!(of(&format!("{path}_generated_answers.json"))[0]["completion"], said);
    }
    let all = json!([{
        "prompt": "p?",
        "expected_completion": "right",
        "base_completion": "base",
        "a/b_completion": "a/b",
        "a_b_completion": "a_b",
        "expected_2_completion": "expected",
    }]);
    assert_eq!(of("generated_answers.json"), all);
    let number = paths.len();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), number);
}
