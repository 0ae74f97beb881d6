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
        ("\"8\"", String::new(), "not one of its choices"),
        ("8", String::new(), "not one of its choices"),
    ] {
        let error = answer(target, &more).expect_err(words);
        assert!(error.contains("line 1") && error.contains(words), "{error}");
    }
}

#[test]
fn a_target_that_its_record_leaves_open_is_what_the_others_of_its_task_are() {
    let line = |id: u32, target: &str, choices: [u32; 3]| {
        let choices = choices.map(|choice| format!("[\"2+2=\", \" {choice}\"]")).join(", ");
        format!("{{\"doc_id\": {id}, \"target\": \"{target}\", \"arguments\": [{choices}]}}\n")
    };
    let answers = |files: &[(&str, &str)]| -> Result<Vec<usize>, String> {
        let folder = folder(files);
        let source = TasksSource::new(Layout::Harness, vec![folder.path().to_owned()]);
        let all = read(&source, &Cancel::new()).map_err(|error| error.to_string())?;
        let answer = |ask: &Ask| match ask {
            Ask::Choose { answer, .. } => *answer,
            Ask::Answer { .. } => panic!("no choices"),
        };
        Ok(all.iter().map(|question| answer(&question.ask)).collect())
    };
    // Of the first "2" may be both; the second can be a number alone, or a text alone; "1" of the third is
    // both.
    let open = line(0, "2", [2, 4, 6]);
    let (number, text) = (line(1, "1", [4, 6, 8]), line(1, "6", [4, 6, 8]));
    let same = line(2, "1", [0, 1, 2]);
    let of = |lines: &[&String]| lines.iter().map(|line| line.as_str()).collect::<String>();
    assert_eq!(answers(&[("samples_sums.jsonl", &of(&[&open, &number, &same]))]), Ok(vec![2, 1, 1]));
    assert_eq!(answers(&[("samples_sums.jsonl", &of(&[&open, &text, &same]))]), Ok(vec![0, 1, 1]));
    // Nothing decides: no other record does, two say different things, or it is another task that says it.
    let both = of(&[&open, &number, &line(3, "6", [4, 6, 8])]);
    for files in [
        &[("samples_sums.jsonl", of(&[&open, &same]))][..],
        &[("samples_sums.jsonl", both)],
        &[("samples_other.jsonl", number.clone()), ("samples_sums.jsonl", open.clone())],
    ] {
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let error = answers(&files).expect_err("nothing decides");
        let words = "does not say which, nor do the other records of task sums";
        assert!(error.contains("line 1") && error.contains(words), "{error}");
    }
}
