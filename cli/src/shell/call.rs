//! Calls of table functions: the one around the cursor, its options, and the values that they may have.

use gstore_core::Kind as FeatureKind;
use gstore_query::influence::{Function, Takes};
use gstore_sql::TableFunctionInfo;

use super::lexer::{Token, TokenKind};
use super::relations::relations;
use super::words::{CompletionNames, table_function};

/// A call of a table function around the cursor.
pub(super) struct FunctionCall<'a> {
    /// Its name.
    pub(super) function: &'a str,
    /// How many of its first arguments are datasets.
    datasets: usize,
    /// Commas before the argument.
    pub(super) position: usize,
    /// The option whose value it is.
    pub(super) option: Option<&'a str>,
    /// The first argument, where it is a text.
    first: Option<&'a str>,
}

/// The call that is open where the pieces end.
pub(super) fn call<'a>(line: &'a str, head: &[Token]) -> Option<FunctionCall<'a>> {
    let (mut depth, mut position, mut option) = (0usize, 0, None);
    for (i, piece) in head.iter().enumerate().rev() {
        match piece.of(line) {
            ")" | "]" => depth += 1,
            // A list that is still open is part of its argument.
            "[" if depth == 0 => position = 0,
            "[" => depth -= 1,
            "(" if depth > 0 => depth -= 1,
            "(" => {
                let function = head[..i].last()?.of(line);
                let TableFunctionInfo { name: function, datasets, .. } = table_function(function)?;
                let first = head.get(i + 1).filter(|piece| piece.kind == TokenKind::Text && piece.closed);
                let first = first.map(|piece| piece.of(line).trim_matches('\''));
                return Some(FunctionCall { function, datasets, position, option, first });
            }
            "," if depth == 0 => position += 1,
            "=>" if depth == 0 && position == 0 => option = head[..i].last().map(|name| name.of(line)),
            _ => {}
        }
    }
    None
}

/// The options that an argument may be, without those of the arguments before it.
pub(super) fn options(call: &FunctionCall<'_>) -> impl Iterator<Item = &'static str> {
    let (function, position) = (call.function, call.position);
    let asked = Function::ALL.into_iter().find(|known| known.name().strip_suffix("()") == Some(function));
    let own = asked.into_iter().flat_map(Function::options).map(|option| option.name);
    own.filter(move |name| match *name {
        "pool" => position == 0,
        "target" => position <= 1,
        _ => true,
    })
}

fn option_values(option: &str) -> Option<Takes> {
    let mut all = Function::ALL.into_iter().flat_map(Function::options);
    all.find(|known| known.name == option).map(|known| known.takes)
}

pub(super) fn values(words: &CompletionNames, line: &str, call: &FunctionCall<'_>) -> Vec<String> {
    let datasets = || words.datasets().map(str::to_owned).collect::<Vec<_>>();
    match (call.option, call.function, call.position) {
        (None, _, position) if position < call.datasets => datasets(),
        (None, "vectors", 1) => {
            let own =
                words.features.iter().filter(|(dataset, _)| call.first.is_none_or(|first| first == dataset));
            own.map(|(_, label)| label.clone()).collect()
        }
        (None, ..) => Vec::new(),
        (Some("pool" | "target"), ..) => datasets(),
        (Some("checkpoints" | "checkpoint"), ..) => words.checkpoints.clone(),
        (Some("run"), ..) => words.runs.clone(),
        (Some("features"), ..) => words.features.iter().map(|(_, label)| label.clone()).collect(),
        (Some("kind" | "pool_kind" | "target_kind"), ..) => {
            FeatureKind::ALL.iter().map(|kind| kind.name().to_owned()).collect()
        }
        (Some("quota_by"), ..) => {
            relations(words, line).into_iter().flat_map(|relation| relation.columns).collect()
        }
        (Some(option), ..) => match option_values(option) {
            Some(Takes::Word(known)) => known.iter().map(|word| (*word).to_owned()).collect(),
            Some(Takes::Flag) => vec!["true".to_owned(), "false".to_owned()],
            _ => Vec::new(),
        },
    }
}

/// A value as it is written outside of a text.
pub(super) fn as_value(value: &str, call: &FunctionCall<'_>) -> String {
    match call.option.and_then(option_values) {
        Some(Takes::Flag) => value.to_owned(),
        _ => format!("'{value}'"),
    }
}
