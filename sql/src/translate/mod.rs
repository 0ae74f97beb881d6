//! Translation of the engine's errors into the words of gstore.
//!
//! Its own messages name plan nodes and settings that no user knows.

mod lists;
mod misused;
mod plan;
mod schema;
mod text;

use std::sync::Arc;

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use gstore_functions::FunctionError;

use self::misused::{misplaced, misused};
use self::plan::plan_error;
use self::schema::schema_error;
pub(crate) use self::schema::{no_column, with_fields};
use self::text::{between, lower_first, syntax, syntax_hint, tidy, without_tree};
use super::error::{SqlError, SqlErrorKind};
use super::types;
use super::wording;

impl SqlError {
    /// Says what the engine's error means to a user; `tables` are the names that could have been meant.
    pub(crate) fn from_datafusion(error: DataFusionError, tables: &[String]) -> Self {
        let span = error.diagnostic().and_then(|d| d.span);
        let error = translate(error, tables).at_span(span);
        let message = types::in_sql(error.message());
        error.worded(message)
    }
}

/// Of an error that no name in a statement is to blame for; where one may be, `Planner::translate` has the names
/// that it could be meant for.
impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        Self::from_datafusion(error, &[])
    }
}

/// An error of the engine's kernels.
impl From<ArrowError> for SqlError {
    fn from(error: ArrowError) -> Self {
        DataFusionError::from(error).into()
    }
}

/// One of gstore's own on its way through the engine. Those of spilled files come as errors of writing.
fn own_error(error: &DataFusionError) -> Option<SqlError> {
    let inner = match error {
        DataFusionError::External(inner) => &**inner,
        DataFusionError::IoError(inner) => inner.get_ref()?,
        DataFusionError::ArrowError(inner, _) => match &**inner {
            ArrowError::IoError(_, inner) => inner.get_ref()?,
            _ => return None,
        },
        _ => return None,
    };
    let of_function = || inner.downcast_ref::<FunctionError>().cloned().map(SqlError::from);
    inner.downcast_ref::<SqlError>().cloned().or_else(of_function)
}

fn translate(error: DataFusionError, tables: &[String]) -> SqlError {
    if let Some(own) = own_error(&error) {
        return own;
    }
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
        DataFusionError::External(inner) => match inner.downcast::<DataFusionError>() {
            Ok(nested) => SqlError::from_datafusion(*nested, tables),
            Err(other) => SqlError::new(SqlErrorKind::Failed, other.to_string()),
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
        DataFusionError::ExecutionJoin(join) if join.is_cancelled() => SqlError::cancelled(),
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
    let root = error.find_root();
    own_error(root).unwrap_or_else(|| match root {
        DataFusionError::External(inner) => SqlError::new(SqlErrorKind::Failed, inner.to_string()),
        root => by_text(root, tables),
    })
}

/// The refusal of what has more levels than the parser of statements goes down.
pub(crate) fn nested_too_deeply() -> SqlError {
    SqlError::refused("the statement is nested too deeply: 50 levels are allowed".into())
}

fn by_text(error: &DataFusionError, tables: &[String]) -> SqlError {
    let text = tidy(&error.strip_backtrace()).replace("found: EOF", "found: the end");
    if text.contains("RecursionLimitExceeded") {
        return nested_too_deeply();
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
                    let error = SqlError::new(SqlErrorKind::Syntax, syntax(message)).at((line, column));
                    match message.ends_with("an SQL statement, found: .") {
                        true => error.hint(
                            "commands that begin with a dot are those of the shell: SHOW TABLES lists tables",
                        ),
                        false => error.maybe_hint(syntax_hint(message)),
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
            let count = text.starts_with("FETCH");
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
