//! The values that a front end gives for options, by name.

use std::str::FromStr;

use gstore_core::Remedy;
use serde_json::Value;

use super::Each;
use super::options::{Function, OPTIONS, SELF, TARGET};
use crate::error::QueryError;
use crate::hint::{did_you_mean, listing, nearest};

/// Why an option is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OptionError {
    /// The option whose value is wrong; none where there is no option of a name.
    pub option: Option<&'static str>,
    /// What is wrong.
    pub message: String,
    /// Where there is no such option: those that there are, the nearest first.
    pub hint: Option<String>,
}

impl OptionError {
    /// A value that is wrong.
    pub fn new(option: &'static str, message: impl Into<String>) -> Self {
        Self { option: Some(option), message: message.into(), hint: None }
    }

    /// What a value was refused with.
    pub fn of(option: &'static str, error: &QueryError) -> Self {
        Self::new(option, error.to_string())
    }
}

impl From<OptionError> for QueryError {
    fn from(error: OptionError) -> Self {
        let hint = error.hint.map_or_else(String::new, |hint| format!("; {hint}"));
        Self::Spec(format!("{}{hint}", error.message))
    }
}

/// How a method of the literature is asked for, where its name is given as a word.
fn known_method(option: &str, word: &str) -> Option<&'static str> {
    if !matches!(option, "method" | "sim") {
        return None;
    }
    let letters: String = word.chars().filter(char::is_ascii_alphanumeric).collect();
    Some(match letters.to_ascii_lowercase().as_str() {
        "less" => "LESS is what is scored where neither `method` nor `sim` is given",
        "tracin" | "tracincp" => {
            "TracIn is `sim => 'dot'` of `kind => 'grad-sgd'`, summed over checkpoints with their weights"
        }
        "trak" => {
            "TRAK is `sim => 'dot'` of gradients of the margin with `precondition` and `inversion => 'absolute'`: docs/methods.md"
        }
        "logra" => "LoGra is `sim => 'dot'` with `precondition`, which names Gram matrices: docs/methods.md",
        "trackstar" => {
            "TrackStar is `sim => 'cosine'` with `precondition`, which names mixed Gram matrices: docs/methods.md"
        }
        "ekfac" => "EK-FAC is `sim => 'dot'` of rows in the eigenbasis of factors: docs/methods.md",
        _ => return None,
    })
}

/// Options by name, as a front end has read them.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    function: Function,
    values: Vec<(&'static str, Value)>,
}

impl Options {
    /// None yet.
    pub fn new(function: Function) -> Self {
        Self { function, values: Vec::new() }
    }

    /// What they are of.
    pub fn function(&self) -> Function {
        self.function
    }

    /// Takes an option; null counts as not given.
    ///
    /// # Errors
    /// A name that the function does not have, and one that was given before.
    pub fn set(&mut self, name: &str, value: Value) -> Result<(), OptionError> {
        let Some(known) = self.function.options().find(|option| option.name == name) else {
            if name == "solver" && self.function as u8 & (TARGET | SELF) != 0 {
                return Err(no_solver(self.function.name()));
            }
            let names = || self.function.options().map(|option| option.name);
            let all = listing(names());
            return Err(OptionError {
                option: None,
                message: format!("{} has no option `{name}`", self.function.name()),
                hint: Some(match nearest(name, names()) {
                    Some(guess) => format!("{} The options are {all}", did_you_mean(guess)),
                    None => format!("the options are {all}"),
                }),
            });
        };
        if self.values.iter().any(|(other, _)| *other == known.name) {
            return Err(OptionError::new(known.name, format!("option `{name}` is given twice")));
        }
        self.values.push((known.name, value));
        Ok(())
    }

    /// The same with another value of an option; null takes it away.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Value) -> Self {
        self.values.retain(|(other, _)| *other != name);
        self.values.push((name, value));
        self
    }

    /// The value of an option, if it was given.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|(n, _)| *n == name).map(|(_, v)| v).filter(|v| !v.is_null())
    }

    /// Whether an option was given.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Whether another value of an option was given than its default.
    fn differs(&self, name: &str) -> bool {
        let default = OPTIONS.iter().find(|option| option.name == name).map_or("", |option| option.default);
        let is_default = |word: &str| word.trim().eq_ignore_ascii_case(default);
        self.value(name).is_some_and(|value| !value.as_str().is_some_and(is_default))
    }

    /// An option that is one word.
    pub fn text(&self, name: &'static str) -> Result<Option<String>, OptionError> {
        self.value(name).map(|value| text(name, value)).transpose()
    }

    /// An option that is one word or several: a list, or one text with commas.
    pub fn texts(&self, name: &'static str) -> Result<Option<Vec<String>>, OptionError> {
        self.value(name).map(|value| texts(name, value)).transpose()
    }

    /// An option that is one of some words.
    pub fn word<T: FromStr<Err = QueryError>>(&self, name: &'static str) -> Result<Option<T>, OptionError> {
        let Some(word) = self.text(name)? else { return Ok(None) };
        word.parse().map(Some).map_err(|error| match known_method(name, &word) {
            Some(form) => OptionError::new(name, format!("{error}; {form}")),
            None => OptionError::of(name, &error),
        })
    }

    /// The unit that has its own ranking, or takes turns.
    ///
    /// # Errors
    /// Also where terms are given, other than as by default, that rankings for each would not make use of.
    pub fn each(&self, name: &'static str) -> Result<Option<Each>, OptionError> {
        let Some(word) = self.text(name)? else { return Ok(None) };
        let each: Each =
            word.parse().map_err(|_| OptionError::of(name, &QueryError::option(name, &word, Each::WORDS)))?;
        let (unused, how): (&[&'static str], _) = match each {
            Each::Sample => (&["within", "across", "fold"], "how samples combine"),
            Each::Subtask => (&["across"], "how subtasks combine"),
            Each::Target => (&[], ""),
        };
        if let Some(unused) = unused.iter().copied().find(|unused| self.differs(unused)) {
            let other = if unused == "across" { Each::Target } else { Each::Subtask };
            let why = format!(
                "`{unused}` says {how}, and with `{name} => '{each}'` each has a ranking by itself; leave `{unused}` out, or ask with \
                 `{name} => '{other}'`"
            );
            return Err(OptionError::new(unused, why));
        }
        Ok(Some(each))
    }

    /// An option that is a list of numbers.
    pub fn numbers(&self, name: &'static str) -> Result<Option<Vec<f64>>, OptionError> {
        self.value(name).map(|value| numbers(name, value)).transpose()
    }

    /// An option that is one number.
    pub fn number(&self, name: &'static str) -> Result<Option<f64>, OptionError> {
        match self.numbers(name)?.as_deref() {
            None => Ok(None),
            Some([only]) => Ok(Some(*only)),
            Some(_) => Err(OptionError::new(name, format!("`{name}` takes one number"))),
        }
    }

    /// An option that is true or false.
    pub fn flag(&self, name: &'static str) -> Result<Option<bool>, OptionError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(OptionError::new(
                name,
                format!("option `{name}` must be true or false, not {}{}", shown(other), unquoted(other)),
            )),
        }
    }

    /// An option that is a count.
    pub fn count(&self, name: &'static str) -> Result<Option<usize>, OptionError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let count = value.as_i64().and_then(|n| usize::try_from(n).ok());
        count.map(Some).ok_or_else(|| {
            let why = match value.as_u64() {
                Some(_) => format!("at most {}", i64::MAX),
                None => "a whole number of at least 0".to_owned(),
            };
            let (shown, hint) = (shown(value), unquoted(value));
            OptionError::new(name, format!("option `{name}` must be {why}, not {shown}{hint}"))
        })
    }
}

/// Why a function is refused the option `solver`, and what has it.
pub fn no_solver(function: &str) -> OptionError {
    OptionError {
        option: None,
        message: format!(
            "{function} has no option `solver`: an iterative solve computes gradients again, and stored rows are projections or parts of them"
        ),
        hint: Some(format!("{} solves for queries and scores rows with the solutions", Remedy::Solve)),
    }
}

/// One word; numbers are taken as their digits, so that a checkpoint can be named by its step.
fn text(name: &'static str, value: &Value) -> Result<String, OptionError> {
    match value {
        Value::String(text) => Ok(text.trim().to_owned()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(OptionError::new(name, format!("`{name}` must be text, not {}", shown(other)))),
    }
}

/// One word or several: a list, or one text with commas.
fn texts(name: &'static str, value: &Value) -> Result<Vec<String>, OptionError> {
    let words = match value {
        Value::Array(values) => {
            values.iter().map(|value| text(name, value)).collect::<Result<Vec<_>, _>>()?
        }
        one => text(name, one)?.split(',').map(|word| word.trim().to_owned()).collect(),
    };
    if words.is_empty() || words.iter().any(String::is_empty) {
        return Err(OptionError::new(name, format!("`{name}` is empty or has an empty part")));
    }
    Ok(words)
}

fn numbers(name: &'static str, value: &Value) -> Result<Vec<f64>, OptionError> {
    let null = value.as_array().and_then(|values| values.iter().position(Value::is_null));
    if let Some(at) = null {
        let why = format!("option `{name}` must be numbers; number {} of the list is NULL", at + 1);
        return Err(OptionError::new(name, why));
    }
    let number = |text: &String| {
        let why =
            || OptionError::new(name, format!("option `{name}` must be numbers; `{text}` is not a number"));
        text.parse::<f64>().map_err(|_| why())
    };
    texts(name, value)?.iter().map(number).collect()
}

/// What is said of a text that would be the value without its quotes.
fn unquoted(value: &Value) -> &'static str {
    let Value::String(text) = value else { return "" };
    // Numbers that are not whole arrive as texts.
    let is_meant = text.parse::<i64>().is_ok() || text.parse::<bool>().is_ok();
    if is_meant { " as text: write it without quotes" } else { "" }
}

/// A value in a message: text as it was written.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "NULL".to_owned(),
        other => other.to_string(),
    }
}
