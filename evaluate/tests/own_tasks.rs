//! Promise: what records of our own layout say is what is asked: no question is shown its own answer, and
//! which answer is right is never guessed.

use std::path::Path;

use crate::common::folder;
use gstore_core::Cancel;
use gstore_evaluate::tasks::{Ask, Layout, Question, TasksSource, read, too_few_examples};

fn questions(source: &TasksSource) -> Vec<Question> {
    read(source, &Cancel::new()).expect("questions")
}

fn with_shots(folder: &Path, shots: &str, few_shot: usize) -> TasksSource {
    TasksSource {
        shots: vec![folder.join(shots)],
        few_shot: Some(few_shot),
        ..TasksSource::new(Layout::Own, vec![folder.join("questions.jsonl")])
    }
}

#[test]
fn no_question_is_among_its_own_examples() {
    let questions_file = r#"{"id": "a", "task": null, "subject": "t", "question": null, "input": "1+1?", "answers": ["2"]}
{"id": "b", "task": "t", "question": "2+2?", "answers": ["4"]}
{"id": "c", "task": "t", "question": "Which?", "choices": ["x", "y"], "answer": 0}
{"id": "d", "task": "t", "question": "3+3?", "answers": ["6"]}
"#;
    // The same questions elsewhere in the file, under other ids, one twice and one with its
    // choices turned round.
    let shots = r#"{"id": "z", "task": "t", "question": "Which?", "choices": ["y", "x"], "answer": 1}
{"id": "b", "task": "t", "question": " 1+1? ", "answers": ["two", "2"]}
{"id": "a", "task": "t", "question": "1+1?", "answers": ["2"]}
{"id": "d", "task": "t", "question": "Which?", "choices": ["v", "w"], "answer": 1}
{"id": "e", "task": "t", "question": "2+2?", "answers": ["4"]}
"#;
    let folder = folder(&[("questions.jsonl", questions_file), ("shots.jsonl", shots)]);
    let shown = |source: &TasksSource| -> Vec<Vec<String>> {
        questions(source).iter().map(|question| question.shots.to_vec()).collect()
    };
    let which = |answer: &str| format!("Question: Which?\nAnswer: {answer}\n\n");
    let sum = |question: &str, answer: &str| format!("Question: {question}\nAnswer: {answer}\n\n");
    let two = shown(&with_shots(folder.path(), "shots.jsonl", 2));
    assert_eq!(two[0], [which("x"), which("w")]);
    assert_eq!(two[1], [which("x"), sum(" 1+1? ", "two")]);
    assert_eq!(two[2], [sum(" 1+1? ", "two"), sum("1+1?", "2")]);
    assert_eq!(two[3], two[1]);

    // A file of questions that gives the examples too.
    let own = with_shots(folder.path(), "questions.jsonl", 3);
    let all = questions(&own);
    assert!(all.iter().all(|question| question.shots.len() == 3));
    for question in &all {
        let asked = format!("{} ", question.text);
        assert!(!question.shots.iter().any(|shot| shot.starts_with(&asked)), "{question:?}");
    }
    assert_eq!(too_few_examples(&own, &all), None);
    let four = with_shots(folder.path(), "shots.jsonl", 4);
    let note = too_few_examples(&four, &questions(&four)).expect("one has three");
    assert!(note.contains("fewer than 4 examples for t (3)"), "{note}");
}

#[test]
fn lists_in_csv_are_json_text() {
    let read_all = |text: &str| {
        let folder = folder(&[("q.csv", text)]);
        read(&TasksSource::new(Layout::Own, vec![folder.path().join("q.csv")]), &Cancel::new())
    };
    let all = read_all(
        "id,question,choices,answer\na,Odd?,\"[\"\"yes\"\", \"\"no\"\"]\",1\nb,Even?,\"[\"\"no\"\", \"\"yes\"\"]\",0\n",
    );
    for question in all.expect("questions") {
        let Ask::Choose { options, answer } = question.ask else { panic!("no choices") };
        assert_eq!(options[answer], " no");
    }
    let all = read_all("question,answers\nOne?,\"[\"\"1\"\", \"\"one\"\"]\"\nTwo?,two\n").expect("questions");
    let expected = all.into_iter().map(|question| match question.ask {
        Ask::Answer { expected, .. } => expected,
        Ask::Choose { .. } => panic!("choices"),
    });
    assert_eq!(expected.collect::<Vec<_>>(), [vec!["1", "one"], vec!["two"]]);
    let refused = read_all("question,choices,answer\nOdd?,yes|no,yes\n").expect_err("no list").to_string();
    assert!(refused.contains("not a list in JSON such as"), "{refused}");
}

#[test]
fn an_id_that_comes_twice_in_a_task_is_refused() {
    let question = |id: &str, task: &str| {
        format!("{{\"id\": \"{id}\", \"task\": \"{task}\", \"question\": \"q\", \"answers\": [\"x\"]}}\n")
    };
    let read = |text: String| {
        let folder = folder(&[("questions.jsonl", &text)]);
        let source = TasksSource::new(Layout::Own, vec![folder.path().join("questions.jsonl")]);
        read(&source, &Cancel::new()).map(|all| all.len()).map_err(|error| error.to_string())
    };
    assert_eq!(read([question("a", "t"), question("a", "u"), question("b", "t")].concat()), Ok(3));
    let refused = read([question("a", "t"), question("b", "t"), question("a", "t")].concat());
    let refused = refused.expect_err("twice");
    assert!(refused.contains("\"a\" comes twice in ") && refused.contains("questions.jsonl"), "{refused}");
}

#[test]
fn which_choice_is_right_is_never_guessed() {
    let right = |choices: &str, answer: &str| {
        let line = format!("\n{{\"question\": \"q\", \"choices\": {choices}, {answer}}}\n");
        let folder = folder(&[("questions.jsonl", &line)]);
        let all = read(&TasksSource::new(Layout::Own, vec![folder.path().to_owned()]), &Cancel::new());
        all.map_err(|error| error.to_string()).map(|all| match &all[0].ask {
            Ask::Choose { answer, .. } => *answer,
            Ask::Answer { .. } => panic!("no choices"),
        })
    };
    let labels = r#"{"text": ["2", "1"], "label": ["1", "2"]}"#;
    for (choices, answer, expected) in [
        (r#"["x", "y"]"#, r#""answer": "B""#, 1),
        (r#"["x", "y"]"#, r#""answerKey": " y ""#, 1),
        (r#"["A", "B"]"#, r#""answer": "B""#, 1),
        (r#"["B", "A"]"#, r#""answer": 0"#, 0),
        (r#"["x", "C"]"#, r#""answer": "C""#, 1),
        (r#"["x", "y"]"#, r#""answer": 1.0"#, 1),
        // Labels go first.
        (labels, r#""answerKey": "1""#, 0),
    ] {
        assert_eq!(right(choices, answer), Ok(expected), "{choices} {answer}");
    }
    for (choices, answer, words) in [
        (r#"["B", "A"]"#, r#""answer": "A""#, "is the text of choice 1 and the letter of choice 0"),
        (r#"["x", "y", " x"]"#, r#""answer": 1"#, "choices 0 and 2 (from 0) are the same: \"x\""),
        (r#"["x", " "]"#, r#""answer": 0"#, "choice 1 (from 0) is empty"),
        (r#"{"text": ["x", "y"], "label": ["1"]}"#, r#""answer": "1""#, "as many labels as texts"),
        (r#"["x", "y"]"#, r#""target": "A""#, "there is no `answer`"),
        (r#"["x", "y"]"#, r#""answer": "C""#, "`answer` \"C\" is not one of its choices"),
        (r#"["x", "y"]"#, r#""answer": 0.5"#, "`answer` 0.5 is not one of its choices"),
        (r#"["x", "y"]"#, r#""answer": -1"#, "`answer` -1 is not one of its choices"),
    ] {
        let error = right(choices, answer).expect_err(words);
        assert!(error.contains("line 2") && error.contains(words), "{error}");
    }
}
