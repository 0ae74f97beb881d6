//! Parts of the engine's messages.

use gstore_query::hint::{did_you_mean, nearest};

use crate::names::is_taken;

/// Words that a statement begins with.
const VERBS: [&str; 7] = ["SELECT", "FROM", "WITH", "SHOW", "DESCRIBE", "SUMMARIZE", "EXPLAIN"];

/// Drops the engine's prefixes, which say where in the engine it happened.
pub(super) fn tidy(text: &str) -> String {
    const PREFIXES: [&str; 12] = [
        "Error during planning: ",
        "Execution error: ",
        "External error: ",
        "Arrow error: ",
        "SQL error: ",
        "Schema error: ",
        "This feature is not implemented: ",
        "Internal error: ",
        "Invalid or Unsupported Configuration: ",
        "Optimizer rule 'simplify_expressions' failed\ncaused by\n",
        "type_coercion\ncaused by\n",
        "Parquet error: ",
    ];
    let mut rest = text.trim();
    while let Some(shorter) = PREFIXES.iter().find_map(|p| rest.strip_prefix(p)) {
        rest = shorter.trim_start();
    }
    rest.split("\nThis issue was likely caused by a bug in DataFusion's code.")
        .next()
        .unwrap_or(rest)
        .to_string()
}

/// The engine's message up to where it prints the parser's tree.
pub(super) fn without_tree(text: &str) -> &str {
    let tree =
        ["(On(", "(Using(", " { ", "([", "(Ident", "Some("].iter().filter_map(|mark| text.find(mark)).min();
    text.get(..tree.unwrap_or(text.len())).unwrap_or(text).trim_end_matches([' ', ':', ','])
}

/// The parser's `Expected: this, found: that`.
pub(super) fn syntax(message: &str) -> String {
    match message.strip_prefix("Expected: ").and_then(|rest| rest.rsplit_once(", found: ")) {
        Some((expected, found)) => format!("syntax error at {found}: expected {expected}"),
        None => format!("syntax error: {}", lower_first(message)),
    }
}

/// What is written in the place of a form that the parser does not read.
pub(super) fn syntax_hint(message: &str) -> Option<String> {
    let (expected, found) = message.strip_prefix("Expected: ")?.rsplit_once(", found: ")?;
    // The place in the statement stands behind what was found.
    let found = found.split_once(" at Line: ").map_or(found, |(found, _)| found);
    match (expected, found) {
        ("an SQL statement", word) => nearest(word, VERBS).map(did_you_mean),
        ("(", "[") => Some(
            "IN takes values or a subquery in parentheses; whether a list has a value is list_contains(list, x), whether \
             two have one in common list_has_any(a, b)"
                .to_owned(),
        ),
        ("identifier", word) if word.starts_with('$') => {
            Some("a parameter is a value: write out the name of a table".to_owned())
        }
        (expected, word)
            if expected.starts_with("end of statement")
                && ["ORDER", "GROUP"].iter().any(|clause| word.eq_ignore_ascii_case(clause)) =>
        {
            Some(format!(
                "put it in double quotes if it is a name, \"{}\"; the order of clauses is WHERE, GROUP BY, HAVING, \
                 QUALIFY, ORDER BY, LIMIT",
                word.to_lowercase()
            ))
        }
        (expected, word)
            if (expected == ")" || expected.starts_with("end of statement")) && is_taken(word) =>
        {
            Some("put a name that is also a word of SQL in double quotes, or after AS: AS \"view\"".to_owned())
        }
        _ => None,
    }
}

pub(super) fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_string(),
    }
}

pub(super) fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(inside, _)| inside)
}
