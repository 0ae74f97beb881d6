//! Promise: questions, targets and prompts of published benchmarks are those of the scripts that define them,
//! and models are compared over the same questions.

use std::path::Path;

use crate::common::{asking, demo, folder};
use gstore_core::{Cancel, Silent};
use gstore_data::{Content, TextOptions};
use gstore_evaluate::metrics::Metric;
use gstore_evaluate::statistics::Bootstrap;
use gstore_evaluate::tasks::{
    Ask, Choices, Layout, Question, TasksSource, pattern, read, targets, too_few_examples,
};
use gstore_evaluate::{EvaluateError, System, TaskOutcome, TasksRequest, evaluate_tasks};
use gstore_generate::{ComputeOptions, ModelSource};

fn questions(source: &TasksSource) -> Vec<Question> {
    read(source, &Cancel::new()).expect("questions")
}

fn source(layout: Layout, path: &Path) -> TasksSource {
    TasksSource::new(layout, vec![path.to_owned()])
}

/// What the model sees, and what its answer begins with.
fn prompt(question: &Question, shots: usize, chat: bool) -> (String, String) {
    match question.prompt(shots, chat) {
        (Content::Messages(messages), begun) => (messages[0].content.clone(), begun),
        (Content::PromptCompletion { prompt, .. }, begun) => (prompt, begun),
        (Content::Text(text), begun) => (text, begun),
    }
}

const MMLU: [(&str, &str); 4] = [
    ("dev/abstract_algebra_dev.csv", "\"Is 1, or 2, odd?\",one,two,both,none,A\nWhat?,w,x,y,z,C\n"),
    ("test/abstract_algebra_test.csv", "Which?,a,b,c,d,B\n"),
    ("dev/zoo_dev.csv", "Lion?,yes,no,so,la,D\n"),
    ("test/zoo_test.csv", "Bear?,1,2,3,4,A\nCat?,1,2,3,4,B\n"),
];

#[test]
fn mmlu_has_the_prompts_of_its_script() {
    let folder = folder(&MMLU);
    let all = questions(&source(Layout::Mmlu, folder.path()));
    let tasks: Vec<&str> = all.iter().map(|question| &*question.task).collect();
    assert_eq!(tasks, ["abstract_algebra", "zoo", "zoo"]);
    let (text, begun) = prompt(&all[0], 1, true);
    let header = "The following are multiple choice questions (with answers) about  abstract algebra.\n\n";
    let shot = "Is 1, or 2, odd?\nA. one\nB. two\nC. both\nD. none\nAnswer: A\n\n";
    assert_eq!(text, format!("{header}{shot}Which?\nA. a\nB. b\nC. c\nD. d\nAnswer:"));
    assert_eq!(begun, "The answer is:");
    assert_eq!(prompt(&all[0], 0, false).1, "");
    match &all[0].ask {
        Ask::Choose { options, answer } => assert_eq!((options[1].as_str(), *answer), (" B", 1)),
        Ask::Answer { .. } => panic!("no choices"),
    }
    let few = TasksSource { few_shot: Some(0), limit: Some(1), ..source(Layout::Mmlu, folder.path()) };
    let few = questions(&few);
    assert_eq!((few.len(), few[0].shots.len()), (2, 0));

    let targets = targets(Layout::Mmlu, folder.path(), true).expect("targets");
    assert_eq!(targets.len(), 3);
    let expected =
        format!("<|user|>\n{header}What?\nA. w\nB. x\nC. y\nD. z\nAnswer:\n<|assistant|>\nThe answer is:");
    assert_eq!(
        (targets[1]["prompt"].as_str(), targets[1]["completion"].as_str()),
        (Some(&*expected), Some(" C"))
    );
    assert_eq!(targets[1]["subtask"], "abstract_algebra");

    let eleven = "Which?,a,b,c,d,e,f,g,h,i,j,k,B\n";
    fs_err::write(folder.path().join("test/zoo_test.csv"), eleven).expect("written");
    let error = read(&source(Layout::Mmlu, folder.path()), &Cancel::new()).expect_err("eleven").to_string();
    assert!(error.contains("line 1") && error.contains("more than ten choices"), "{error}");
    fs_err::write(folder.path().join("test/zoo_test.csv"), "").expect("written");
    let error = read(&source(Layout::Mmlu, folder.path()), &Cancel::new()).expect_err("none").to_string();
    assert!(error.contains("zoo_test.csv") && error.contains("there is no question"), "{error}");
}

#[test]
fn bbh_has_the_prompts_of_its_script() {
    let three = r#"{"sort": "Sort.\n\nQ: 2 1\nA: So the answer is 1 2.\n\nQ: 4 3\nA: So the answer is 3 4.\n\nQ: 6 5\nA: So the answer is 5 6."}"#;
    let folder = folder(&[
        ("bbh/sort.json", r#"{"canary": "x", "examples": [{"input": "8 7", "target": "(7 8)"}]}"#),
        (
            "cot-prompts/sort.txt",
            "BENCHMARK DATA\n-----\nSort.\n\nQ: 2 1\nA: One is less. So the answer is 1 2.\n",
        ),
        ("bbh-three-shot.json", three),
    ]);
    let all = questions(&source(Layout::Bbh, folder.path()));
    let expected = "Sort.\n\nQ: 2 1\nA: One is less. So the answer is 1 2.\n\nQ: 8 7";
    assert_eq!(prompt(&all[0], 9, true), (expected.to_owned(), "A:".to_owned()));
    assert_eq!(prompt(&all[0], 9, false).0, format!("{expected}\nA:"));
    let Ask::Answer { rule, .. } = &all[0].ask else { panic!("choices") };
    assert_eq!(rule.read(" Look. So the answer is 7 8. And"), "7 8");
    assert_eq!(rule.read(" 7 8 "), "7 8");
    assert_eq!((rule.stop.as_slice(), rule.max_new_tokens), (&["\n\n".to_owned()][..], 512));
    let bare = TasksSource { without_thoughts: true, ..source(Layout::Bbh, folder.path()) };
    assert_eq!(prompt(&questions(&bare)[0], 9, true).0, "Sort.\n\nQ: 2 1\nA: 1 2.\n\nQ: 8 7");

    let bbh = source(Layout::Bbh, folder.path());
    assert_eq!(too_few_examples(&bbh, &all), None);
    fs_err::write(folder.path().join("cot-prompts/sort.txt"), "BENCHMARK DATA\n-----\nSort.\n")
        .expect("written");
    let all = questions(&bbh);
    assert_eq!(too_few_examples(&bbh, &all).as_deref(), Some("there is no example for sort (0)"));
    assert_eq!(too_few_examples(&TasksSource { few_shot: Some(0), ..bbh }, &all), None);

    let targets = targets(Layout::Bbh, folder.path(), true).expect("targets");
    assert_eq!(targets.len(), 3);
    let expected = "<|user|>\nSort.\n\nQ: 2 1\nA: So the answer is 1 2.\n\nQ: 6 5\nA: So the answer is 5 6.\n\nQ: 4 3\n<|assistant|>\nA:";
    assert_eq!(targets[1]["prompt"], expected);
    assert_eq!(targets[1]["completion"], " So the answer is 3 4.");
}

#[test]
fn tydiqa_has_the_prompts_of_its_script() {
    let dev = r#"{"data": [{"paragraphs": [{"context": "C.", "qas": [
        {"id": "finnish-1", "question": "Q?", "answers": [{"text": "A"}, {"text": "B"}]}]}]}]}"#;
    let one = r#"{"finnish": [{"context": "c.", "question": "q?", "answers": [{"text": "a"}]}]}"#;
    let folder = folder(&[("dev/tydiqa-goldp-v1.1-dev.json", dev), ("tydiqa-one-shot.json", one)]);
    let all = questions(&source(Layout::Tydiqa, folder.path()));
    let header = "Vastaa seuraavaan kysymykseen annetun kappaleen tiedon perusteella.";
    let expected = format!("{header}\n\nKappale: c.\nKysymys: q?\nVastaus: a\n\nKappale: C.\nKysymys: Q?\n");
    assert_eq!(prompt(&all[0], 1, true), (expected.clone(), "Vastaus:".to_owned()));
    assert_eq!(prompt(&all[0], 1, false).0, format!("{expected}Vastaus:"));
    let targets = targets(Layout::Tydiqa, folder.path(), true).expect("targets");
    let expected = format!("<|user|>\n{header}Kappale: c.\nKysymys: q?\n<|assistant|>\nVastaus:");
    assert_eq!((&targets[0]["prompt"], &targets[0]["completion"]), (&expected.into(), &" a".into()));
}

#[test]
fn samples_of_the_harness_keep_their_prompts() {
    let choose = r#"{"doc_id": 0, "doc": {}, "target": "1", "arguments": [["Q:", " x"], ["Q:", " y"]]}
{"doc_id": 1, "target": 0, "arguments": {"gen_args_0": {"arg_0": "R:", "arg_1": " x"}, "gen_args_1": {"arg_0": "R:", "arg_1": " y"}}}
"#;
    let answer = r#"{"doc_id": 0, "target": "7", "arguments": [["S:", {"until": ["\n"], "max_gen_toks": 9}]]}
"#;
    let folder =
        folder(&[("samples_one_2024-07-02T10-11-12.1.jsonl", choose), ("samples_two.jsonl", answer)]);
    let all = questions(&source(Layout::Harness, folder.path()));
    let tasks: Vec<&str> = all.iter().map(|question| &*question.task).collect();
    assert_eq!(tasks, ["one", "one", "two"]);
    assert_eq!(prompt(&all[1], 0, true), ("R:".to_owned(), String::new()));
    // No template writes a text as a message.
    assert!(all.iter().all(|question| matches!(question.prompt(0, true).0, Content::Text(_))));
    assert!(matches!(&all[0].ask, Ask::Choose { answer: 1, .. }));
    assert!(matches!(&all[2].ask, Ask::Answer { rule, .. } if rule.max_new_tokens == 9));
}

#[test]
fn a_question_of_the_harness_counts_once_and_its_conclusion_is_its_answer() {
    let record = |filter: &str, context: &str| {
        format!(
            r###"{{"doc_id": 0, "target": "2 and 2 make 4.\n#### 1,004", "filter": "{filter}", "arguments": [["{context}", {{"until": ["Q:"]}}]]}}"###
        )
    };
    let twice = format!("{}\n{}\n", record("strict", "S:"), record("flexible", "S:"));
    let other = format!("{}\n{}\n", record("strict", "S:"), record("strict", "T:"));
    let folder = folder(&[("samples_gsm8k.jsonl", &twice), ("samples_other.jsonl", &other)]);
    let of = |name: &str| source(Layout::Harness, &folder.path().join(name));
    let all = questions(&of("samples_gsm8k.jsonl"));
    let [Question { ask: Ask::Answer { expected, rule }, .. }] = all.as_slice() else {
        panic!("one question: {all:?}");
    };
    assert_eq!(expected, &["1,004"]);
    let right: Vec<&str> = expected.iter().map(String::as_str).collect();
    let matches = |answer: &str| rule.normal.exact_match(&rule.read(answer), &right);
    assert_eq!((matches("So 1000 + 4.\n#### 1004\nMore"), matches("#### 4")), (1.0, 0.0));
    let error = read(&of("samples_other.jsonl"), &Cancel::new()).expect_err("two prompts").to_string();
    assert!(error.contains("line 2") && error.contains("other `arguments`"), "{error}");
}

#[test]
fn examples_are_of_the_same_task() {
    let line = |task: &str| format!("{{{task}\"question\": \"q\", \"answers\": [\"a\"]}}\n");
    let folder = folder(&[
        ("questions.jsonl", OWN),
        ("sums.jsonl", &line("\"task\": \"sums\", ")),
        ("any.jsonl", &line("")),
        ("all.jsonl", &line("\"task\": \"all\", ")),
    ]);
    let with = |shots: &str| TasksSource {
        shots: vec![folder.path().join(shots)],
        ..source(Layout::Own, &folder.path().join("questions.jsonl"))
    };
    let error = read(&with("sums.jsonl"), &Cancel::new()).expect_err("another task").to_string();
    assert!(error.contains("line 3: there are no examples of its task, words"), "{error}");
    let any = with("any.jsonl");
    let all = questions(&any);
    assert!(all.iter().all(|question| question.shots.len() == 1));
    let note = too_few_examples(&any, &all).expect("fewer than five");
    assert!(note.contains("fewer than 5 examples for sums (1), words (1)"), "{note}");
    assert_eq!(too_few_examples(&TasksSource { few_shot: Some(1), ..any }, &all), None);
    let total = source(Layout::Own, &folder.path().join("all.jsonl"));
    let error = read(&total, &Cancel::new()).expect_err("a total").to_string();
    assert!(error.contains("a task cannot be called all"), "{error}");
}

const OWN: &str = r#"{"id": "a", "task": "sums", "question": "1+1?", "choices": ["2", "3"], "answer": "A"}
{"id": "b", "task": "sums", "question": "2+2?", "choices": {"text": ["5", "4"], "label": ["1", "2"]}, "answerKey": "2"}
{"id": "c", "task": "words", "question": "Say yes", "answers": ["yes"]}
"#;

#[test]
fn our_own_layout_takes_examples_from_another_file() {
    let folder = folder(&[
        ("questions.jsonl", &OWN.lines().take(2).collect::<Vec<_>>().join("\n")),
        (
            "shots.jsonl",
            "{\"task\": \"sums\", \"question\": \"0+1?\", \"choices\": [\"0\", \"1\"], \"answer\": 1}\n",
        ),
    ]);
    let own = TasksSource {
        shots: vec![folder.path().join("shots.jsonl")],
        ..source(Layout::Own, &folder.path().join("questions.jsonl"))
    };
    let all = questions(&own);
    let expected = "Question: 0+1?\nAnswer: 1\n\nQuestion: 2+2?\nAnswer:";
    assert_eq!(prompt(&all[1], 5, true).0, expected);
    assert!(matches!(&all[1].ask, Ask::Choose { options, answer: 1 } if options[0] == " 5"));
    let letters = questions(&TasksSource { choices: Choices::Letters, ..own });
    let expected = "0+1?\nA. 0\nB. 1\nAnswer: B\n\n1+1?\nA. 2\nB. 3\nAnswer:";
    assert_eq!(prompt(&letters[0], 5, true), (expected.to_owned(), "The answer is:".to_owned()));

    for (line, words) in [
        ("{\"question\": \"x\"}", "line 1: there are neither `choices` nor `answers`"),
        (
            "{\"question\": \"x\", \"choices\": [\"a\", \"b\"], \"answer\": 2}",
            "`answer` 2 is not one of its choices",
        ),
        ("{\"question\": \"x\", \"choices\": [\"a\"], \"answer\": 0}", "at least two"),
        ("{\"choices\": [\"a\", \"b\"], \"answer\": 0}", "no text under `question`"),
    ] {
        let folder = crate::common::folder(&[("bad.jsonl", line)]);
        let error = read(&source(Layout::Own, folder.path()), &Cancel::new()).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    }
}

fn run(folder: &Path, threads: usize, journal: bool) -> TaskOutcome {
    attempt(folder, threads, journal, |_| ()).expect("evaluated")
}

/// The same with changed questions.
fn attempt(
    folder: &Path,
    threads: usize,
    journal: bool,
    change: impl FnOnce(&mut [Question]),
) -> Result<TaskOutcome, EvaluateError> {
    let source = TasksSource {
        rule: gstore_evaluate::tasks::AnswerRule {
            max_new_tokens: Some(6),
            pattern: Some(pattern("([a-z]+)").expect("a pattern")),
            ..Default::default()
        },
        ..source(Layout::Own, &folder.join("questions.jsonl"))
    };
    let weights = ModelSource::new(demo());
    let tuned = demo().join("../warmup/checkpoint-104");
    let mut questions = questions(&source);
    change(&mut questions);
    let systems = vec![
        System { name: "base".to_owned(), weights: weights.clone() },
        System { name: "tuned".to_owned(), weights: ModelSource { adapter: Some(tuned), ..weights } },
    ];
    let request = TasksRequest {
        bootstrap: Bootstrap { resamples: 200, seed: 3 },
        compute: ComputeOptions { threads, ..ComputeOptions::default() },
        journal: journal.then(|| folder.join("work")),
        ..asking(questions, systems)
    };
    evaluate_tasks(request, &mut Silent, &Cancel::new())
}

#[test]
fn models_are_compared_over_the_same_questions() {
    let folder = folder(&[("questions.jsonl", OWN)]);
    let found = run(folder.path(), 1, true);
    assert_eq!(found.report.systems.len(), 2);
    assert!(found.report.systems[0].model != found.report.systems[1].model);
    let overall: Vec<(Metric, usize)> =
        found.report.overall().map(|measure| (measure.metric, measure.rows)).collect();
    assert_eq!(overall, [(Metric::Acc, 2), (Metric::AccNorm, 2), (Metric::ExactMatch, 1), (Metric::F1, 1)]);
    assert_eq!(found.report.findings.len(), 1);
    // Each task has a metric of its own, and both are named.
    let groups: Vec<&str> = found.report.measures.iter().map(|measure| measure.group.as_str()).collect();
    assert_eq!(groups, ["sums", "all", "sums", "all", "words", "all", "words", "all"]);
    let labels = &found.report.charts[0].panels[0].labels;
    let expected = ["sums: Accuracy", "sums: Accuracy (normalised)", "words: Exact match", "words: F1"]
        .map(str::to_owned);
    assert_eq!(labels, &expected);

    let again = run(folder.path(), 3, true);
    assert_eq!((&again.answers, &again.report), (&found.answers, &found.report));
    let error = attempt(folder.path(), 1, true, |questions| questions[0].text.push('?')).err();
    let error = error.expect("another request in the same folder").to_string();
    assert!(error.contains("another request"), "{error}");
    let alone = run(folder.path(), 2, false);
    assert_eq!(alone.answers, found.answers);

    let files = found.files().expect("files");
    let names: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    for name in [
        "evaluation_report.md",
        "deepeval/small/base_model_overall_score.json",
        "deepeval/small/finetuned_model_task_scores.csv",
        "deepeval/small/finetuned_model_predictions.csv",
        "deepeval/benchmark_summary.json",
        "deepeval_results/run_1/task_model_scores.json",
    ] {
        assert!(names.contains(&name), "{name} of {names:?}");
    }
    let scores = files.iter().find(|file| file.path.ends_with("task_model_scores.json")).expect("scores");
    let scores: serde_json::Value = serde_json::from_slice(&scores.content).expect("JSON");
    assert_eq!((&scores[0]["task_name"], &scores[0]["model_id"]), (&"sums".into(), &"base_model".into()));
}

#[test]
fn a_task_of_two_kinds_is_refused() {
    let mixed = OWN.replace("\"task\": \"words\"", "\"task\": \"sums\"");
    let folder = folder(&[("questions.jsonl", &mixed)]);
    let base = System { name: "base".to_owned(), weights: ModelSource::new(demo()) };
    let request = asking(questions(&source(Layout::Own, folder.path())), vec![base]);
    let error = evaluate_tasks(request, &mut Silent, &Cancel::new()).err().expect("refused").to_string();
    assert!(error.contains("task sums has questions with choices and others without"), "{error}");
}

/// Whether a system message is refused.
fn is_told(data: &Path, layout: Layout, template: &str) -> bool {
    let text = TextOptions {
        system: Some("Be brief.".to_owned()),
        template: template.parse().expect("a template"),
        ..TextOptions::default()
    };
    let weights = ModelSource { text, ..ModelSource::new(demo()) };
    let base = System { name: "base".to_owned(), weights };
    match evaluate_tasks(asking(questions(&source(layout, data)), vec![base]), &mut Silent, &Cancel::new()) {
        Ok(_) => true,
        Err(error) => {
            assert!(error.is_usage() && error.to_string().contains("has no effect"), "{error}");
            false
        }
    }
}

#[test]
fn a_system_message_that_no_prompt_gets_is_refused() {
    let choices = OWN.lines().filter(|line| line.contains("\"choices\"")).collect::<Vec<_>>().join("\n");
    let folder = folder(&[("questions.jsonl", &choices)]);
    let own = folder.path().join("questions.jsonl");
    assert!(is_told(&own, Layout::Own, "tulu"));
    assert!(!is_told(&own, Layout::Own, "plain"));
}
