//! The examples of each task, from files of records in the same layout as the questions.
//!
//! Invariant: no example of a question asks the same with the same choices, whatever its id, its place and
//! the order of its choices.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use gstore_core::Cancel;

use super::{Entry, ExpectedAnswer, answered, entry, text};
use crate::error::EvaluateError;
use crate::records::{PairSource, each_record};
use crate::tasks::TasksSource;

/// The examples of each task.
pub(super) struct Shots {
    by_task: HashMap<String, Examples>,
    /// Name of the task whose examples serve tasks without their own.
    any: Option<String>,
    /// Examples before a question.
    few_shot: usize,
}

/// The examples of a task: one more question than is shown, in place of the one that is asked.
#[derive(Default)]
struct Examples {
    all: Vec<(ShotQuestion, String)>,
    /// Those before a question that is none of them.
    first: Arc<[String]>,
}

/// What a record asks: its question, and its choices in an order of their own.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ShotQuestion {
    question: String,
    choices: Vec<String>,
}

impl ShotQuestion {
    fn of(entry: &Entry) -> ShotQuestion {
        let mut choices: Vec<String> = match &entry.right {
            ExpectedAnswer::Choice { choices, .. } => {
                choices.iter().map(|choice| choice.trim().to_owned()).collect()
            }
            ExpectedAnswer::Texts(_) => Vec::new(),
        };
        choices.sort_unstable();
        ShotQuestion { question: entry.question.trim().to_owned(), choices }
    }
}

impl Shots {
    pub(super) fn read(
        source: &TasksSource,
        few_shot: usize,
        letters: bool,
        cancel: &Cancel,
    ) -> Result<Shots, EvaluateError> {
        let mut shots = Shots { by_task: HashMap::new(), any: None, few_shot };
        if few_shot == 0 {
            return Ok(shots);
        }
        let mut seen: HashMap<String, HashSet<ShotQuestion>> = HashMap::new();
        let mut named = false;
        each_record(&PairSource::Files(source.shots.clone()), cancel, &mut |at, record| {
            let entry = entry(&at, &record)?;
            named |= entry.names_task;
            let seen = seen.entry(entry.task.clone()).or_default();
            let examples = shots.by_task.entry(entry.task.clone()).or_default();
            // With so many different ones a question that is one of them has enough others.
            if seen.len() <= few_shot {
                let asked = ShotQuestion::of(&entry);
                let text = format!("{}{}\n\n", text(&entry, letters), answered(&entry, letters));
                seen.insert(asked.clone());
                examples.all.push((asked, text));
            }
            Ok(())
        })?;
        for examples in shots.by_task.values_mut() {
            examples.first = examples.all.iter().map(|(_, text)| text.clone()).take(few_shot).collect();
        }
        // A single file of examples without tasks need not have the name of the file of questions.
        let single = shots.by_task.len() == 1 && !named;
        shots.any = shots.by_task.keys().next().filter(|_| single).cloned();
        Ok(shots)
    }

    /// The examples before a question; none if its task has no examples.
    pub(super) fn of(&self, entry: &Entry) -> Option<Arc<[String]>> {
        if self.few_shot == 0 {
            return Some(Arc::from(Vec::new()));
        }
        let of_any = || self.by_task.get(self.any.as_ref()?);
        let examples = self.by_task.get(&entry.task).or_else(of_any)?;
        let asked = ShotQuestion::of(entry);
        if examples.all.iter().all(|(other, _)| *other != asked) {
            return Some(Arc::clone(&examples.first));
        }
        let others = examples.all.iter().filter(|(other, _)| *other != asked);
        Some(others.map(|(_, text)| text.clone()).take(self.few_shot).collect())
    }
}
