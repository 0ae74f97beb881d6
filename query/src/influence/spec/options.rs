//! Options of a question: one table of names, types, defaults and purposes for SQL, flags and JSON.
//!
//! A front end hands values over as JSON, by name: [`Options::set`] knows the names, the readers of
//! [`Options`] know the types. [`InfluenceSpec::from_options`](super::InfluenceSpec::from_options)
//! makes the question of them.

use std::str::FromStr;

use gstore_curvature::Inversion;
use serde_json::Value;

use self::Takes::{Count, Flag, Number, Numbers, Text, Texts, Word};
use super::{Across, Each, Fold, Method, Order, Sim, SubtaskBy, Within};
use crate::daunce::{Center, Score};
use crate::error::QueryError;
use crate::hint::{listing, nearest};

/// An option: how it is called everywhere, what it takes, and what it is for.
#[derive(Debug, Clone, Copy)]
pub struct OptionInfo {
    /// Its name; flags have hyphens for underscores.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What is meant where it is not given, in words; empty where it says nothing then.
    pub default: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The functions that have it.
    functions: u8,
}

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// One text.
    Text,
    /// A list of texts, or one with commas.
    Texts,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A number.
    Number,
    /// A list of numbers, or one text with commas.
    Numbers,
    /// True or false.
    Flag,
    /// A whole number of at least 0.
    Count,
}

/// A table function, or a question as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Scores and rankings.
    Influence = 1,
    /// Rows without a score.
    Excluded = 2,
    /// The influence of rows on themselves.
    SelfInfluence = 4,
    /// Neighbours of a vector.
    Nearest = 8,
    /// A question as JSON.
    Question = 16,
    /// Covariances of losses.
    Daunce = 32,
}

impl Function {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Influence, Self::Excluded, Self::SelfInfluence, Self::Nearest, Self::Question, Self::Daunce];

    /// Its name in SQL, as messages show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Influence => "influence()",
            Self::Excluded => "excluded()",
            Self::SelfInfluence => "self_influence()",
            Self::Nearest => "nearest()",
            Self::Question => "a question",
            Self::Daunce => "daunce()",
        }
    }

    /// Its options, in the order of the table.
    pub fn options(self) -> impl Iterator<Item = &'static OptionInfo> {
        OPTIONS.iter().filter(move |option| option.functions & self as u8 != 0)
    }
}

/// Functions that ask about a target.
const TARGET: u8 = Function::Influence as u8 | Function::Excluded as u8 | Function::Question as u8;
const SELF: u8 = Function::SelfInfluence as u8;
const NEAREST: u8 = Function::Nearest as u8;
/// What is shown, and how many: no part of the question itself.
const SHOWN: u8 = Function::Influence as u8;
const JSON: u8 = Function::Question as u8;
const DAUNCE: u8 = Function::Daunce as u8;

/// What a row may be told to do that lacks something, whatever the method.
const MISSING: &[&str] = &["error", "exclude", "renormalise", "pairwise", "drop_model"];

const fn option(
    name: &'static str,
    takes: Takes,
    functions: u8,
    default: &'static str,
    about: &'static str,
) -> OptionInfo {
    OptionInfo { name, takes, default, about, functions }
}

/// All options.
#[rustfmt::skip]
pub const OPTIONS: &[OptionInfo] = &[
    option("pool", Texts, TARGET | SELF | NEAREST | DAUNCE, "", "Datasets whose rows are scored; their order breaks ties"),
    option("target", Texts, TARGET | DAUNCE, "", "What they are scored for: datasets, or `dataset:subtask` for one subtask"),
    option("given", Texts, JSON, "", "Instead of a target: samples as records, JSON objects as in a data file"),
    option("checkpoints", Texts, TARGET | SELF, "all that both sides have", "Checkpoints to use, by name or step"),
    option("weights", Numbers, TARGET | SELF, "those of the run", "Weights of the checkpoints"),
    option("run", Text, TARGET | SELF | NEAREST, "", "The training run whose checkpoints are meant, if there are several"),
    option("within", Word(Within::WORDS), TARGET | DAUNCE, "mean", "How the samples of a subtask combine: mean, max, min or sum"),
    option("across", Word(Across::WORDS), TARGET | DAUNCE, "max", "How subtasks combine: max, mean, sum or min"),
    option("fold", Word(Fold::WORDS), TARGET, "none", "Whether a subtask is first replaced by one vector: none, mean or unit_mean"),
    option("sim", Word(Sim::WORDS), TARGET | SELF | NEAREST, "cosine", "Similarity of two vectors: cosine or dot"),
    option("kind", Text, TARGET | SELF | NEAREST, "grad-adam, else grad-sgd",
        "Feature of the pool, such as embed-mean; the target takes the same embedding, or grad-sgd"),
    option("pool_kind", Text, TARGET | SELF, "", "The same as kind"),
    option("target_kind", Text, TARGET | SELF, "", "Feature of the target, if it is to be another"),
    option("features", Texts, TARGET | SELF | NEAREST, "",
        "Labels or numbers of the features to use where several fit, such as those of one projection"),
    option("missing", Word(MISSING), TARGET | SELF | DAUNCE, "error; with partial exclude",
        "Rows that lack a checkpoint: error, exclude or renormalise; with the method daunce, the losses of some models: error, pairwise or drop_model"),
    option("partial", Flag, TARGET | SELF | NEAREST, "", "Accept features that are still building"),
    option("by", Word(SubtaskBy::WORDS), TARGET | DAUNCE, "column",
        "What a subtask is: the column `subtask` of the target, or each dataset as a whole"),
    option("modules", Texts, TARGET | SELF, "all, equally",
        "Modules that count, as globs with weights: '*.mlp.*', '*.mlp.*=1,*.self_attn.*=0.5'"),
    option("precondition", Text, TARGET | SELF, "",
        "The Gram matrices, by name, whose damped inverse the target's vectors go through: TRAK, LoGra and TrackStar; of rows in the eigenbasis of factors also these"),
    option("damping", Number, TARGET | SELF, "auto",
        "With precondition: what is added to eigenvalues, as a part of their mean in each module; auto: 0.1. Of rows in the eigenbasis of factors: the number itself; auto: as they are"),
    option("inversion", Word(&Inversion::NAMES), TARGET | SELF, "damped",
        "With precondition: how eigenvalues are inverted: damped, absolute (damping is no part of the mean), tikhonov or pseudoinverse"),
    option("stale", Flag, TARGET | SELF, "",
        "With precondition: accept matrices of other datasets, or of another checkpoint"),
    option("per_token", Flag, TARGET, "", "Score every token of the pools by itself"),
    option("prompt", Texts, TARGET | NEAREST, "", "Instead of a target: prompts of samples that are given"),
    option("completion", Texts, TARGET | NEAREST, "", "The completion of each prompt"),
    option("messages", Texts, TARGET | NEAREST, "", "Instead of a target: conversations, as JSON lists"),
    option("text", Texts, TARGET | NEAREST, "", "Instead of a target: plain texts"),
    option("raw", Flag, TARGET | NEAREST, "",
        "Ask a given prompt with its completion as text without roles, also where the pool's samples are conversations"),
    option("exclude_target", Flag, TARGET | DAUNCE, "", "Leave out rows whose text is that of a target sample"),
    option("mode", Word(&["exact", "sketch"]), TARGET, "exact",
        "Whether every row is read, or sketches of the rows first: exact or sketch. What the answer promises is printed"),
    option("miss", Number, TARGET, "1e-6", "With the mode sketch: the probability that any of the rows wanted is missing"),
    option("tolerance", Number, TARGET, "0",
        "With the mode sketch: accept that rows are missing that score at most this much better than the last one shown"),
    option("certified", Flag, TARGET, "",
        "With the mode sketch: read only codes whose bounds are certain, so that the answer is the exact one; not with miss"),
    option("planes", Texts, JSON, "", "With the mode sketch: the codes to read, in this order"),
    option("method", Word(Method::WORDS), TARGET, "influence",
        "What scores: influence (products of vectors) or daunce (covariances of losses over an ensemble)"),
    option("ensemble", Text, TARGET | DAUNCE, "the only one",
        "With the method daunce: the ensemble whose losses are compared"),
    option("signal", Text, TARGET | DAUNCE, "the only one",
        "With the method daunce: what was recorded of the models, such as loss or neg_margin"),
    option("score", Word(Score::WORDS), TARGET | DAUNCE, "cov",
        "With the method daunce: the covariance (cov) or the correlation (corr)"),
    option("center", Word(Center::WORDS), TARGET | DAUNCE, "row",
        "With the method daunce: what is subtracted first: row (its mean over the models), model (its mean over the pool), both, or base"),
    option("ddof", Count, TARGET | DAUNCE, "1", "With the method daunce: a covariance is divided by the models less this: 0 or 1"),
    option("groups", Texts, TARGET | DAUNCE, "all",
        "With the method daunce: ids of the base models whose copies count; those of each are centred by themselves"),
    option("min_models", Count, TARGET | DAUNCE, "3", "With the method daunce: the fewest models that a score is taken over"),
    option("in_target", Flag, SHOWN | DAUNCE, "", "Show whether a row occurs in the target"),
    option("explain", Flag, SHOWN | DAUNCE, "", "Show what stands behind each score"),
    option("quota", Texts, SHOWN, "", "How many rows each value of a metadata column may have"),
    option("quota_by", Text, SHOWN, "source", "The metadata column that quotas count by"),
    option("distinct", Number, SHOWN, "", "Pass over rows whose cosine with a row taken before is above this"),
    option("round_robin", Word(Each::WORDS), SHOWN, "", "What takes rows in turn: subtask, target or sample"),
    option("each", Word(Each::WORDS), SHOWN | DAUNCE, "", "What has a ranking of its own: subtask, target or sample"),
    option("order", Word(Order::WORDS), SHOWN | DAUNCE, "best", "Which end of the rankings, with each, a quota, distinct or round_robin"),
    option("id", Text, NEAREST, "", "The sample of the pool whose neighbours are wanted"),
    option("vector", Numbers, NEAREST, "", "The vector whose neighbours are wanted"),
    option("checkpoint", Text, NEAREST, "", "The checkpoint whose vectors are compared, by name or step"),
    option("exact", Flag, NEAREST, "", "Whether graphs are not searched, or all of them"),
    option("ef", Count, NEAREST, "", "Candidates that a search of a graph keeps"),
    option("k", Count, SHOWN | SELF | NEAREST | DAUNCE, "", "The relation is the first k rows"),
];

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
                    Some(guess) => format!("did you mean `{guess}`? The options are {all}"),
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

    /// The value of an option, if it was given.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|(n, _)| *n == name).map(|(_, v)| v).filter(|v| !v.is_null())
    }

    /// Whether an option was given.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
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
        let word = self.text(name)?;
        word.map(|word| word.parse().map_err(|error| OptionError::of(name, &error))).transpose()
    }

    /// The unit that has its own ranking, or takes turns.
    ///
    /// # Errors
    /// Also where terms are given that rankings for each would not make use of.
    pub fn each(&self, name: &'static str) -> Result<Option<Each>, OptionError> {
        let Some(word) = self.text(name)? else { return Ok(None) };
        let each: Each =
            word.parse().map_err(|_| OptionError::of(name, &QueryError::option(name, &word, Each::WORDS)))?;
        let (unused, how): (&[&'static str], _) = match each {
            Each::Sample => (&["within", "across", "fold"], "how samples combine"),
            Each::Subtask => (&["across"], "how subtasks combine"),
            Each::Target => (&[], ""),
        };
        if let Some(unused) = unused.iter().copied().find(|unused| self.has(unused)) {
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
        hint: Some(
            "scores by recomputation, with the solver cg, solve for queries and score a pool with the solutions".to_owned(),
        ),
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
        let why = || OptionError::new(name, format!("option `{name}` must be numbers; `{text}` is none"));
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
