//! MMLU's published files (Hendrycks et al. 2021): for each subject a CSV without a header, of question,
//! choices and the right letter.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::{Ask, Question, TasksSource, files_by_name, folder, place, target};
use crate::error::EvaluateError;

pub(super) const LETTERS: [&str; 10] = ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"];

/// What an answer begins with in a conversation.
pub(super) const BEGUN: &str = "The answer is:";

/// Examples before a question, and target samples of a subject.
pub(super) const SHOTS: usize = 5;

/// A line of a file.
struct Row {
    question: String,
    choices: Vec<String>,
    answer: usize,
}

impl Row {
    /// The question with its choices behind letters.
    fn text(&self) -> String {
        lettered(&self.question, &self.choices)
    }
}

/// A question with its choices behind letters, up to where the letter of the answer is to stand.
pub(super) fn lettered(question: &str, choices: &[String]) -> String {
    let mut text = question.to_owned();
    for (letter, choice) in LETTERS.iter().zip(choices) {
        text.push_str(&format!("\n{letter}. {choice}"));
    }
    text.push_str("\nAnswer:");
    text
}

/// The questions of all subjects.
pub(super) fn read(source: &TasksSource) -> Result<Vec<Question>, EvaluateError> {
    let mut questions = Vec::new();
    let few_shot = source.few_shot.unwrap_or(SHOTS);
    for (subject, test, dev) in subjects(folder(source)?)? {
        let examples = if few_shot > 0 { rows(&dev)? } else { Vec::new() };
        let of_example = |row: &Row| format!("{} {}\n\n", row.text(), LETTERS[row.answer]);
        let shots: Arc<[String]> = examples.iter().take(few_shot).map(of_example).collect();
        let (task, header): (Arc<str>, Arc<str>) = (Arc::from(subject.as_str()), Arc::from(header(&subject)));
        let asked = rows(&test)?;
        if asked.is_empty() {
            return Err(EvaluateError::File { path: test, what: "there is no question in it".to_owned() });
        }
        for (number, row) in asked.into_iter().enumerate() {
            let options = LETTERS.iter().take(row.choices.len()).map(|letter| format!(" {letter}"));
            questions.push(Question {
                id: format!("{subject}-{number}"),
                task: Arc::clone(&task),
                header: Arc::clone(&header),
                shots: Arc::clone(&shots),
                text: row.text(),
                begun: Arc::from(BEGUN),
                plain_end: Arc::from(""),
                verbatim: false,
                ask: Ask::Choose { options: options.collect(), answer: row.answer },
            });
        }
    }
    Ok(questions)
}

/// LESS's target samples: the examples of every subject, each a question without others.
pub(super) fn targets(folder: &Path, chat: bool) -> Result<Vec<Value>, EvaluateError> {
    let mut found = Vec::new();
    for (subject, _, dev) in subjects(folder)? {
        for (number, row) in rows(&dev)?.iter().take(SHOTS).enumerate() {
            let text = format!("{}{}", header(&subject), row.text());
            let answer = format!(" {}", LETTERS[row.answer]);
            found.push(target(("mmlu", &subject, number), &text, (BEGUN, ""), &answer, chat));
        }
    }
    Ok(found)
}

/// The published script puts a space before each word of the subject, the first too.
fn header(subject: &str) -> String {
    let words: String = subject.split('_').map(|word| format!(" {word}")).collect();
    format!("The following are multiple choice questions (with answers) about {words}.\n\n")
}

/// Subjects by name, with their files of questions and of examples.
fn subjects(folder: &Path) -> Result<Vec<(String, PathBuf, PathBuf)>, EvaluateError> {
    let places = ["test", "data/test", "mmlu/test", "eval/mmlu/test"];
    let tests = place(folder, &places, "folder of tests of MMLU")?;
    let examples = tests.with_file_name("dev");
    let found = files_by_name(&tests, "_test.csv")?;
    if found.is_empty() {
        return Err(EvaluateError::File { path: tests, what: "there is no *_test.csv here".to_owned() });
    }
    let with_examples = |(subject, test): (String, PathBuf)| {
        let dev = examples.join(format!("{subject}_dev.csv"));
        (subject, test, dev)
    };
    Ok(found.into_iter().map(with_examples).collect())
}

/// Whether a folder has the files of the layout.
pub(super) fn is_at(folder: &Path) -> bool {
    subjects(folder).is_ok()
}

fn rows(path: &Path) -> Result<Vec<Row>, EvaluateError> {
    let bad = |what: String| EvaluateError::File { path: path.to_owned(), what };
    let file = fs_err::File::open(path)?;
    let mut lines = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(file);
    let mut found = Vec::new();
    for record in lines.records() {
        let record = record.map_err(|error| bad(error.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let cells: Vec<String> = record.iter().map(str::to_owned).collect();
        let [question, choices @ .., answer] = cells.as_slice() else {
            return Err(bad(format!("line {line}: expected a question, its choices and a letter")));
        };
        if choices.len() > LETTERS.len() {
            return Err(bad(format!("line {line}: there are more than ten choices")));
        }
        let answer = LETTERS.iter().take(choices.len()).position(|letter| *letter == answer.trim());
        let Some(answer) = answer else {
            return Err(bad(format!(
                "line {line}: the last field is not the letter of one of its {} choices",
                choices.len()
            )));
        };
        found.push(Row { question: question.clone(), choices: choices.to_vec(), answer });
    }
    Ok(found)
}
