//! Names that a plan does not find: tables, functions that make tables, functions.

use std::path::Path;

use gstore_core::Remedy;
use gstore_query::hint::{did_you_mean, listing, nearest};

use super::text::between;
use crate::error::{SqlError, SqlErrorKind};
use crate::formats::Format;
use crate::names;

/// What is to be done about a file that a statement names.
fn no_files() -> String {
    format!("a statement cannot name a file: {} makes it a table of that name", Remedy::OwnTable)
}

/// Functions that have a value only in a window.
const WINDOWS: [&str; 8] =
    ["cume_dist", "dense_rank", "lag", "lead", "ntile", "percent_rank", "rank", "row_number"];

pub(super) fn plan_error(text: &str, tables: &[String]) -> SqlError {
    if let Some(name) = between(text, "table '", "' not found") {
        let short = name.strip_prefix("store.data.").or_else(|| name.strip_prefix("store.")).unwrap_or(name);
        let unknown = SqlError::unknown(format!("there is no table `{short}`"));
        if let Some(form) = names::catalog_otherwise(short) {
            return unknown.hint(form);
        }
        return unknown.hint(match nearest(short, tables.iter().map(String::as_str)) {
            _ if Format::of(Path::new(short)).is_some() => no_files(),
            Some(table) => did_you_mean(table),
            None => format!("there are {}", listing(tables.iter().map(String::as_str).take(40))),
        });
    }
    if let Some(name) = between(text, "table function '", "' not found") {
        let guess = nearest(name, names::table_functions());
        return SqlError::unknown(format!("there is no table function `{name}`")).hint(match guess {
            _ if name.starts_with("read_") => no_files(),
            Some(function) => did_you_mean(function),
            None => names::written_otherwise(name)
                .or_else(|| names::catalog_otherwise(name))
                .unwrap_or_else(|| format!("there are {}", listing(names::table_functions()))),
        });
    }
    if let Some(rest) = text.strip_prefix("Invalid function '") {
        let (name, help) = rest.split_once("'.").unwrap_or((rest, ""));
        let unknown = SqlError::unknown(format!("there is no function `{name}`"));
        if let Some(table) = names::table_functions().find(|table| *table == name) {
            return unknown.hint(format!("it makes a table: write FROM {table}(..)"));
        }
        if WINDOWS.contains(&name.to_lowercase().as_str()) {
            return unknown
                .worded(format!("{name}() needs a window"))
                .hint(format!("write {name}(..) OVER (ORDER BY row)"));
        }
        if let Some(call) = names::call_of(name) {
            return SqlError::invalid(format!("{name}() does not take these arguments"))
                .hint(format!("write {call}"));
        }
        let guess = between(help, "Did you mean '", "'?").filter(|guess| is_slip(name, guess));
        let guess = meant(name).or(guess);
        let how = names::written_otherwise(name)
            .or_else(|| guess.map(did_you_mean))
            .or_else(|| names::nearly_written_otherwise(name));
        return unknown.maybe_hint(how);
    }
    if text.starts_with("Plan: [") {
        let why = "the engine cannot put the rows of this statement in order";
        return SqlError::new(SqlErrorKind::Failed, why.into())
            .hint("give what it orders by a name in a subquery: FROM (SELECT *, .. AS k FROM t) ORDER BY k");
    }
    SqlError::invalid(text.to_string())
}

/// The function of those that are written most that has the letters of a name in another order, or that a
/// name of its first letter, its last and some between is short for.
fn meant(name: &str) -> Option<&'static str> {
    let letters = |name: &str| {
        let mut letters: Vec<char> = name.to_lowercase().chars().collect();
        letters.sort_unstable();
        letters
    };
    let often = ["avg", "count", "length", "lower", "max", "median", "min", "round", "sum", "upper"];
    let name = name.to_lowercase();
    let begins = |known: &str| known.chars().next() == name.chars().next();
    let is_short = |known: &str| {
        let mut rest = known.chars();
        name.len() > 2
            && known.chars().next_back() == name.chars().next_back()
            && name.chars().all(|letter| rest.any(|other| other == letter))
    };
    often.into_iter().find(|known| begins(known) && (letters(known) == letters(&name) || is_short(known)))
}

/// Whether a name is another one mistyped: at most two slips, and at most one in a short name.
fn is_slip(name: &str, meant: &str) -> bool {
    let (name, meant) = (name.to_lowercase(), meant.to_lowercase());
    let begins = name.chars().next() == meant.chars().next();
    let lengths = name.chars().count().abs_diff(meant.chars().count());
    begins && lengths <= 2 && (name.len() > 4 || lengths == 0) && nearest(&name, [meant.as_str()]).is_some()
}
