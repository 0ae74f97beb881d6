//! Promise: the right choice of a sample of lm-evaluation-harness is the one that the harness meant.

use crate::common::folder;
use gstore_core::Cancel;
use gstore_evaluate::tasks::{Ask, Layout, TasksSource, read};

#[test]
fn a_target_of_the_harness_that_is_a_number_may_be_the_text_of_a_choice() {
    let line = |target: &str, more: &str| {
        let choices = r#"[["2+2=", " 2"], ["2+2=", " 4"], ["2+2=", " 6"], ["2+2=", " 20"]]"#;
        format!(r#"{{"doc_id": 0, "target": {target}, "arguments": {choices}{more}}}"#)
    };
    let answer = |target: &str, more: &str| {
        let folder = folder(&[("samples_sums.jsonl", &line(target, more))]);
        match read(&TasksSource::new(Layout::Harness, vec![folder.path().to_owned()]), &Cancel::new()) {
            Ok(all) => match &all[0].ask {
                Ask::Choose { answer, .. } => Ok(*answer),
                Ask::Answer { .. } => panic!("no choices"),
            },
            Err(error) => Err(error.to_string()),
        }
    };
    // Its own model chose " 6", or " 2" of two that are as likely, or " 20".
    let chose_6 =
        r#", "filtered_resps": [["-2.5", "False"], ["-3.0", "False"], ["-1.0", "True"], ["-9", "False"]]"#;
    let chose_2 = r#", "filtered_resps": [[-1.0, false], [-3.0, false], [-1.0, true], [-9, false]]"#;
    let chose_20 = r#", "filtered_resps": [[-3.0, false], [-3.0, false], [-3.0, true], [-1, false]]"#;
    let with = |chosen: &str, acc: &str| format!("{chosen}, \"acc\": {acc}");
    for (target, more, expected) in [
        // Only one of the two is there.
        ("\"20\"", String::new(), 3),
        ("\"4\"", String::new(), 1),
        ("\"3\"", String::new(), 3),
        ("2", String::new(), 2),
        // Both are, and the record tells which.
        ("\"2\"", with(chose_6, "1.0"), 2),
        ("\"2\"", with(chose_6, "0.0"), 0),
        ("\"2\"", with(chose_2, "1"), 0),
        ("\"2\"", with(chose_2, "\"0.0\""), 2),
    ] {
        assert_eq!(answer(target, &more), Ok(expected), "{target}{more}");
    }
    for (target, more, words) in [
        ("\"2\"", String::new(), "may be the number of choice \" 6\" or the text of choice \" 2\""),
        ("\"2\"", with(chose_20, "0.0"), "does not say which"),
        ("\"2\"", ", \"acc\": 1.0".to_owned(), "does not say which"),
        ("\"8\"", String::new(), "none of its choices"),
        ("8", String::new(), "none of its choices"),
    ] {
        let error = answer(target, &more).expect_err(words);
        assert!(error.contains("line 1") && error.contains(words), "{error}");
    }
}
