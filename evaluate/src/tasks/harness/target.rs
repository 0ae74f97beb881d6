//! Right choice of a record: the harness writes `target` as text, be it the number of a choice or its text.
//!
//! "2" can be the number of one choice and the text of another. Then the scores that the harness
//! stored in the record decide. Where they do not, the other records of the task do: their targets are
//! all numbers or all texts.

use std::collections::HashMap;

use serde_json::Value;

use crate::error::EvaluateError;
use crate::records::RecordLocation;
use crate::tasks::{Ask, Question};

pub(super) enum RightChoice {
    /// Its number, and what the target is if it is not both.
    Known(usize, Option<TargetForm>),
    /// One of two choices.
    Open { by_number: usize, by_text: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TargetForm {
    Number,
    Text,
}

impl RightChoice {
    /// As far as the record tells.
    pub(super) fn of(
        at: &RecordLocation<'_>,
        record: &Value,
        options: &[String],
    ) -> Result<RightChoice, EvaluateError> {
        let in_range =
            |number: u64| usize::try_from(number).ok().filter(|number: &usize| *number < options.len());
        let (by_number, by_text) = match record.get("target") {
            Some(Value::Number(number)) => (number.as_u64().and_then(in_range), None),
            Some(Value::String(text)) => {
                let text = text.trim();
                let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                let number = text.parse::<u64>().ok().filter(|_| digits);
                (number.and_then(in_range), options.iter().position(|option| option.trim() == text))
            }
            _ => (None, None),
        };
        match (by_number, by_text) {
            (Some(number), Some(text)) if number == text => Ok(RightChoice::Known(number, None)),
            (Some(by_number), Some(by_text)) => {
                Ok(match judged(record, [by_number, by_text], options.len()) {
                    Some(choice) if choice == by_number => {
                        RightChoice::Known(choice, Some(TargetForm::Number))
                    }
                    Some(choice) => RightChoice::Known(choice, Some(TargetForm::Text)),
                    None => RightChoice::Open { by_number, by_text },
                })
            }
            (Some(number), None) => Ok(RightChoice::Known(number, Some(TargetForm::Number))),
            (None, Some(text)) => Ok(RightChoice::Known(text, Some(TargetForm::Text))),
            (None, None) => Err(at.error("`target` is not one of its choices")),
        }
    }

    /// The choice, or the first of two.
    pub(super) fn choice(&self) -> usize {
        match self {
            RightChoice::Known(choice, _) | RightChoice::Open { by_number: choice, .. } => *choice,
        }
    }
}

/// What the targets of each task are, and the questions whose records do not tell.
#[derive(Default)]
pub(super) struct Targets {
    /// Whether a target of the task is a number for certain, and whether one is a text.
    forms: HashMap<String, (bool, bool)>,
    open: Vec<AmbiguousTarget>,
}

/// A question of which two choices may be right.
struct AmbiguousTarget {
    question: usize,
    by_number: usize,
    by_text: usize,
    /// What is said if nothing decides.
    refusal: EvaluateError,
}

impl Targets {
    /// Takes note of what a target of a task is.
    pub(super) fn note(&mut self, task: &str, target: &RightChoice) {
        if let RightChoice::Known(_, Some(form)) = target {
            let (number, text) = self.forms.entry(task.to_owned()).or_default();
            *number |= *form == TargetForm::Number;
            *text |= *form == TargetForm::Text;
        }
    }

    /// Keeps the question of that number for [`Targets::decide`] if its target is open.
    pub(super) fn postpone(
        &mut self,
        question: usize,
        target: &RightChoice,
        at: &RecordLocation<'_>,
        (task, ask): (&str, &Ask),
    ) {
        let (RightChoice::Open { by_number, by_text }, Ask::Choose { options, .. }) = (target, ask) else {
            return;
        };
        let (by_number, by_text) = (*by_number, *by_text);
        let refusal = at.error(&format!(
            "`target` may be the number of choice {:?} or the text of choice {:?}, and `acc` with `filtered_resps` does not say which, nor do the other records of task {task}",
            options[by_number], options[by_text]
        ));
        self.open.push(AmbiguousTarget { question, by_number, by_text, refusal });
    }

    /// Gives the open questions their right choices, by what the other targets of their tasks are.
    pub(super) fn decide(self, questions: &mut [Question]) -> Result<(), EvaluateError> {
        for open in self.open {
            let Some(question) = questions.get_mut(open.question) else { continue };
            let right = match self.forms.get(&*question.task) {
                Some((true, false)) => open.by_number,
                Some((false, true)) => open.by_text,
                _ => return Err(open.refusal),
            };
            if let Ask::Choose { answer, .. } = &mut question.ask {
                *answer = right;
            }
        }
        Ok(())
    }
}

/// Of two choices the only one that makes `acc` follow from the log-likelihoods of `filtered_resps`.
fn judged(record: &Value, readings: [usize; 2], choices: usize) -> Option<usize> {
    let was_right = number(record.get("acc")?)? > 0.5;
    let answers = record.get("filtered_resps")?.as_array()?;
    let values: Option<Vec<f64>> = answers.iter().map(|answer| number(answer.get(0)?)).collect();
    let values = values.filter(|values| values.len() == choices)?;
    // Of equal ones the first, as numpy's argmax.
    let chosen = (0..choices).reduce(|best, at| if values[at] > values[best] { at } else { best })?;
    let mut fitting = readings.into_iter().filter(|reading| (*reading == chosen) == was_right);
    let first = fitting.next()?;
    fitting.next().is_none().then_some(first)
}

/// A number, which the harness also writes as text.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    }
}
