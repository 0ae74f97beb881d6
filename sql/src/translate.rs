//! Translation of the engine's errors into the words of gstore.
//!
//! Its own messages name plan nodes and settings that no user knows.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

use super::dialect;
use super::error::{SqlError, SqlErrorKind};
use super::own::OwnTable;
use super::quotes::{NO_ELEMENTS, NO_FIELDS, TYPES};
use super::wording;
use gstore_core::Remedy;
use gstore_query::hint::{listing, nearest};

/// What is said of a name that two columns of one SELECT have.
pub(super) const OCCURS: &str = " occurs twice: give one of them another name with AS";

pub(super) fn translate(error: DataFusionError, tables: &[String]) -> SqlError {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => {
            translate(*inner, tables)
        }
        DataFusionError::Collection(errors) => match errors.into_iter().next() {
            Some(first) => SqlError::from_datafusion(first, tables),
            None => SqlError::new(SqlErrorKind::Failed, "the query failed".into()),
        },
        DataFusionError::Shared(inner) => match Arc::try_unwrap(inner) {
            Ok(inner) => SqlError::from_datafusion(inner, tables),
            Err(inner) => shared(&inner, tables),
        },
        DataFusionError::External(inner) => match inner.downcast::<SqlError>() {
            Ok(own) => *own,
            Err(other) => match other.downcast::<DataFusionError>() {
                Ok(nested) => SqlError::from_datafusion(*nested, tables),
                Err(other) => SqlError::new(SqlErrorKind::Failed, other.to_string()),
            },
        },
        DataFusionError::ArrowError(inner, _) => match *inner {
            ArrowError::ExternalError(e) => translate(DataFusionError::External(e), tables),
            other => {
                let text = tidy(&other.to_string());
                let known = misused(&text).or_else(|| wording::worded(&text, tables));
                let kind = if is_of_values(&other) { SqlErrorKind::Invalid } else { SqlErrorKind::Failed };
                known.unwrap_or_else(|| SqlError::new(kind, text))
            }
        },
        DataFusionError::SchemaError(inner, _) => schema_error(*inner),
        DataFusionError::ExecutionJoin(join) if join.is_cancelled() => {
            SqlError::new(SqlErrorKind::Cancelled, "the query was cancelled".into())
        }
        other => by_text(&other, tables),
    }
}

/// Whether the values of a statement are to blame, and neither a file nor the columns of a batch.
fn is_of_values(error: &ArrowError) -> bool {
    match error {
        ArrowError::InvalidArgumentError(text) => !text.to_lowercase().contains("column"),
        ArrowError::CastError(_)
        | ArrowError::ParseError(_)
        | ArrowError::ComputeError(_)
        | ArrowError::DivideByZero
        | ArrowError::ArithmeticOverflow(_) => true,
        _ => false,
    }
}

/// An error several readers of one stream share: it cannot be taken apart, so it is read.
fn shared(error: &DataFusionError, tables: &[String]) -> SqlError {
    match error.find_root() {
        DataFusionError::External(inner) => match inner.downcast_ref::<SqlError>() {
            Some(own) => own.clone(),
            None => SqlError::new(SqlErrorKind::Failed, inner.to_string()),
        },
        root => by_text(root, tables),
    }
}

fn schema_error(error: SchemaError) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let mut seen = HashSet::new();
            let names = valid_fields.iter().map(|c| c.name.as_str());
            let names: Vec<&str> = names.filter(|name| seen.insert(*name)).collect();
            let unknown = SqlError::unknown(format!("there is no column `{}`", field.name));
            if let Some(exact) = names.iter().find(|n| n.to_lowercase() == field.name.to_lowercase()) {
                if *exact != field.name {
                    return unknown
                        .hint(format!("names are read in lower case unless quoted: write \"{exact}\""));
                }
                if let Some(relation) =
                    valid_fields.iter().find(|c| c.name == field.name).and_then(|c| c.relation.as_ref())
                {
                    return unknown.hint(format!(
                        "it is a column of {relation}, which has no other name here: write `{}` alone",
                        field.name
                    ));
                }
            }
            let guess = nearest(&field.name, names.iter().copied());
            if let Some(hint) = computed(&field.name) {
                return unknown.hint(hint);
            }
            if names.is_empty() {
                let text = &field.name;
                return unknown
                    .hint(format!("there is no table here: write FROM, or '{text}' if it is a text"));
            }
            unknown.hint(match guess {
                Some(name) if is_plain(name) => format!("did you mean `{name}`?"),
                Some(name) => format!("did you mean \"{name}\"? Such a name stands in double quotes"),
                None => format!("there are {}", listing(names.iter().copied().take(40))),
            })
        }
        // A column of a table and one that is computed; of several tables none is named.
        SchemaError::AmbiguousReference { field } if field.relation.is_some() => twice(&field.name),
        SchemaError::AmbiguousReference { field } => SqlError::invalid(format!(
            "column `{}` exists in several tables here: write the table's name before it",
            field.name
        )),
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => twice(&name),
    }
}

fn twice(name: &str) -> SqlError {
    SqlError::invalid(format!("column `{name}`{OCCURS}"))
}

fn by_text(error: &DataFusionError, tables: &[String]) -> SqlError {
    let text = tidy(&error.strip_backtrace()).replace("found: EOF", "found: the end");
    if text.contains("RecursionLimitExceeded") {
        return SqlError::refused("the statement is nested too deeply: 50 levels are allowed".into());
    }
    if let Some(name) = between(&text, "Placeholder '", "' was not provided a value") {
        return SqlError::invalid(format!("the parameter {name} has no value"));
    }
    if let Some(error) = misused(&text).or_else(|| wording::worded(&text, tables)) {
        return error;
    }
    match error {
        DataFusionError::SQL(..) => {
            let text = text
                .strip_prefix("sql parser error: ")
                .or_else(|| text.strip_prefix("ParserError(\"").map(|t| t.trim_end_matches("\")")))
                .unwrap_or(&text);
            match text.rsplit_once(" at Line: ") {
                Some((message, place)) => {
                    let mut numbers = place.split(", Column: ").map(|n| n.trim().parse::<u64>().unwrap_or(0));
                    let (line, column) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
                    let error = SqlError::new(SqlErrorKind::Syntax, syntax(message)).at(line, column);
                    match message.ends_with("an SQL statement, found: .") {
                        true => error.hint(
                            "commands that begin with a dot are those of the shell: SHOW TABLES lists tables",
                        ),
                        false => error,
                    }
                }
                None => SqlError::new(SqlErrorKind::Syntax, syntax(text)),
            }
        }
        DataFusionError::ResourcesExhausted(_) => {
            SqlError::new(SqlErrorKind::Memory, "the query needs more memory than it may use".into()).hint(
                "raise the memory limit, or select fewer rows or columns before sorting, joining or grouping",
            )
        }
        DataFusionError::Plan(_) => plan_error(&text, tables),
        DataFusionError::NotImplemented(_) => {
            if let Some(misplaced) = misplaced(&text) {
                return misplaced;
            }
            let text = without_tree(&text);
            let count = text.starts_with("FETCH") || text.starts_with("TOP");
            SqlError::invalid(format!("not supported: {}", lower_first(text)))
                .maybe_hint(count.then(|| "write LIMIT n".to_owned()))
        }
        DataFusionError::ExecutionJoin(_) | DataFusionError::Internal(_) => {
            SqlError::new(SqlErrorKind::Failed, format!("the query engine failed: {text}"))
        }
        // What functions say of the values that they are given.
        DataFusionError::Execution(_) => SqlError::invalid(text),
        DataFusionError::IoError(_) => SqlError::new(SqlErrorKind::Failed, text),
        _ => SqlError::invalid(text),
    }
}

/// What is to be done about a file that a statement names.
const NO_FILES: &str = "no statement can name a file; one that is given with the statement, as NAME=FILE, is a table of that name";

/// Functions that have a value only in a window.
const WINDOWS: [&str; 8] =
    ["cume_dist", "dense_rank", "lag", "lead", "ntile", "percent_rank", "rank", "row_number"];

fn plan_error(text: &str, tables: &[String]) -> SqlError {
    if let Some(name) = between(text, "table '", "' not found") {
        let short = name.strip_prefix("store.data.").or_else(|| name.strip_prefix("store.")).unwrap_or(name);
        let guess = nearest(short, tables.iter().map(String::as_str));
        return SqlError::unknown(format!("there is no table `{short}`")).hint(match guess {
            _ if OwnTable::takes(Path::new(short)) => NO_FILES.to_owned(),
            Some(table) => format!("did you mean `{table}`?"),
            None => format!("there are {}", listing(tables.iter().map(String::as_str).take(40))),
        });
    }
    if let Some(name) = between(text, "table function '", "' not found") {
        let functions = super::function::NAMES;
        let guess = nearest(name, functions);
        return SqlError::unknown(format!("there is no table function `{name}`")).hint(match guess {
            _ if name.starts_with("read_") => NO_FILES.to_owned(),
            Some(function) => format!("did you mean `{function}`?"),
            None => format!("there are {}", listing(functions)),
        });
    }
    if let Some(rest) = text.strip_prefix("Invalid function '") {
        let (name, help) = rest.split_once("'.").unwrap_or((rest, ""));
        let unknown = SqlError::unknown(format!("there is no function `{name}`"));
        if let Some(table) = super::function::NAMES.into_iter().find(|table| *table == name) {
            return unknown.hint(format!("it makes a table: write FROM {table}(..)"));
        }
        if WINDOWS.contains(&name.to_lowercase().as_str()) {
            return unknown
                .worded(format!("{name}() needs a window"))
                .hint(format!("write {name}(..) OVER (ORDER BY row)"));
        }
        let guess = between(help, "Did you mean '", "'?").filter(|guess| is_slip(name, guess));
        let how = dialect::written_otherwise(name)
            .or_else(|| guess.map(|guess| format!("did you mean `{guess}`?")))
            .or_else(|| dialect::nearly_written_otherwise(name));
        return unknown.maybe_hint(how);
    }
    if text.starts_with("Plan: [") {
        let why = "the engine cannot put the rows of this statement in order";
        return SqlError::new(SqlErrorKind::Failed, why.into())
            .hint("order by an expression of each column, such as coalesce(name, '')");
    }
    SqlError::invalid(text.to_string())
}

/// Columns outside of a grouping, and values of types that a function does not take.
fn misused(text: &str) -> Option<SqlError> {
    if let Some(column) = between(text, "column \"", "\" must appear in the GROUP BY clause") {
        if column.contains(['(', '[']) {
            let why = "a column of the result is neither in GROUP BY nor in an aggregate function";
            return Some(
                SqlError::invalid(why.into()).hint("add it to GROUP BY, or order by a name given with AS"),
            );
        }
        let column = column.rsplit_once('.').map_or(column, |(_, name)| name);
        let misused = SqlError::invalid(format!(
            "column `{column}` is neither in GROUP BY nor in an aggregate function"
        ));
        return Some(misused.hint(format!("add it to GROUP BY, write any_value({column}), or GROUP BY ALL")));
    }
    if let Some(name) = between(text, "Function '", "' failed to match any signature") {
        let call = between(text, "given name and argument types '", "'").map(str::to_owned);
        let given = || balanced(between(text, "(DataType: ", ").").unwrap_or(".."));
        return Some(wrong_types(name, &call.unwrap_or_else(|| format!("{name}({})", given()))));
    }
    if let Some((value, to)) =
        text.split_once("Cannot cast string '").and_then(|(_, rest)| rest.split_once("' to value of "))
        && ["Int", "UInt", "Float", "Decimal"].iter().any(|number| to.starts_with(number))
    {
        // A fraction, or more digits than the type has.
        if value.trim().parse::<f64>().is_ok_and(f64::is_finite) {
            let ty = to.split(' ').next().unwrap_or(to);
            let error = SqlError::invalid(format!("'{value}' is not a value of {ty}"));
            return Some(error.hint("CAST(x AS DOUBLE) reads it"));
        }
        return Some(SqlError::no_number(value));
    }
    let time = between(text, "Error parsing timestamp from '", "': ");
    let date = between(text, "Cannot cast string '", "' to value of Date");
    if let Some(value) = time.or(date) {
        return Some(SqlError::no_time(value, time.is_none()));
    }
    let is_of_text = between(text, ": type ", " is not Struct").is_some_and(|ty| ty.contains("Utf8"));
    if is_of_text && text.contains("Cannot access field at argument") {
        return Some(
            SqlError::invalid(NO_FIELDS.into()).hint("a key of JSON is read with ->>, as record->>'id'"),
        );
    }
    // What a function of gstore says of its arguments.
    if let Some((_, said)) = text.split_once("user-defined coercion failed with: External error: ") {
        let said = said.lines().next().and_then(|line| line.split("No function matches").next());
        return Some(SqlError::invalid(said.unwrap_or_default().trim_end_matches(['.', ' ']).to_owned()));
    }
    if let Some(call) = between(text, "given name and argument types '", "'") {
        return Some(wrong_types(call.split('(').next().unwrap_or(call), call));
    }
    None
}

/// A text without the parentheses at its end that nothing in it opens, and with those that it leaves open closed.
fn balanced(mut text: &str) -> String {
    let count = |text: &str, sign: char| text.matches(sign).count();
    while let Some(shorter) = text.strip_suffix(')')
        && count(text, ')') > count(text, '(')
    {
        text = shorter;
    }
    let open = count(text, '(').saturating_sub(count(text, ')'));
    format!("{text}{}", ")".repeat(open))
}

/// A call with values of types that the function does not take.
fn wrong_types(name: &str, call: &str) -> SqlError {
    let several = call.contains(", ");
    let is_time = call.contains("Timestamp(") || call.contains("(Date");
    let of_text = call.split_once('(').is_some_and(|(_, types)| types.starts_with("Utf8"));
    if matches!(name, "array_element" | "array_slice") && of_text {
        let hint =
            "a part of a text is substr(x, from, length); an element of a JSON list is x->0, the first";
        return SqlError::invalid(NO_ELEMENTS.to_owned()).hint(hint);
    }
    let how = match name {
        "max" if several => {
            Some("the largest of several values is greatest(a, b); ORDER BY x DESC LIMIT n gives n rows")
        }
        "min" if several => {
            Some("the smallest of several values is least(a, b); ORDER BY x LIMIT n gives n rows")
        }
        "max_by" | "min_by" if call.matches(", ").count() > 1 => Some(
            "it gives the value of one row; ORDER BY .. LIMIT n gives n rows, with QUALIFY for each group",
        ),
        "percentile_cont" | "approx_percentile_cont" if call.contains("List(") => {
            Some("it takes one share: write a call for each, quantile_cont(x, 0.1), quantile_cont(x, 0.9)")
        }
        "avg" if is_time => Some("the mean of times is to_timestamp(avg(epoch(x)))"),
        _ if is_time && ["median", "quantile", "percentile"].iter().any(|kind| name.contains(kind)) => {
            Some("median(x) and quantile_cont(x, 0.5) are of times too")
        }
        _ if call.contains("Utf8") => {
            Some("CAST(x AS DOUBLE) makes a number of text, CAST(x AS VARCHAR) text of a number")
        }
        _ => None,
    };
    SqlError::invalid(format!("{name}{TYPES}{call}")).maybe_hint(how.map(str::to_owned))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(inside, _)| inside)
}

/// The parser's `Expected: this, found: that`.
fn syntax(message: &str) -> String {
    match message.strip_prefix("Expected: ").and_then(|rest| rest.rsplit_once(", found: ")) {
        Some((expected, found)) => format!("syntax error at {found}: expected {expected}"),
        None => format!("syntax error: {}", lower_first(message)),
    }
}

/// How a column that is computed comes to be there.
fn computed(column: &str) -> Option<String> {
    let kind = match column {
        "loss" => "loss",
        "norm" => "grad-sgd",
        _ => return None,
    };
    Some(format!(
        "`{column}` is there once {} has computed it",
        Remedy::IngestKind { kind, per_token: false }
    ))
}

/// Whether a name needs no quotes.
fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Whether a name is another one mistyped: at most two slips, and at most one in a short name.
fn is_slip(name: &str, meant: &str) -> bool {
    let (name, meant) = (name.to_lowercase(), meant.to_lowercase());
    let begins = name.chars().next() == meant.chars().next();
    let lengths = name.chars().count().abs_diff(meant.chars().count());
    begins && lengths <= 2 && (name.len() > 4 || lengths == 0) && nearest(&name, [meant.as_str()]).is_some()
}

/// The engine's message up to where it prints the parser's tree.
fn without_tree(text: &str) -> &str {
    let tree =
        ["(On(", "(Using(", " { ", "([", "(Ident", "Some("].iter().filter_map(|mark| text.find(mark)).min();
    text.get(..tree.unwrap_or(text.len())).unwrap_or(text).trim_end_matches([' ', ':', ','])
}

/// Expressions that are known, but not where they stand.
fn misplaced(text: &str) -> Option<SqlError> {
    let rest = text.split_once("does not support logical expression ")?.1;
    let (why, hint) = match rest.split('(').next()? {
        "Exists" => (
            "EXISTS is not known as a value",
            "as one write (SELECT count(*) FROM ..) > 0; it stands in WHERE",
        ),
        "InSubquery" => (
            "IN (SELECT ..) is not known as a value",
            "as one write a LEFT JOIN, and b.id IS NOT NULL; it stands in WHERE",
        ),
        "WindowFunction" => (
            "window functions are not known in WHERE and GROUP BY",
            "write QUALIFY, or a subquery around the statement that has it",
        ),
        _ => return None,
    };
    Some(SqlError::invalid(why.to_owned()).hint(hint))
}

/// Drops the engine's prefixes, which say where in the engine it happened.
fn tidy(text: &str) -> String {
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

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_string(),
    }
}
