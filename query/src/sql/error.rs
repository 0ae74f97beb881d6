//! The one error of the SQL half: what went wrong in a sentence, where in the text, and what was probably meant.
//!
//! The engine's own messages name plan nodes and options that no user of gstore knows; they are rewritten here.

use std::fmt;

use datafusion::common::SchemaError;
use datafusion::common::Span;
use datafusion::error::DataFusionError;

use super::hint::{listing, nearest};

/// What sort of failure it is; callers choose exit codes and status codes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqlErrorKind {
    /// The text is not SQL.
    Syntax,
    /// The statement would change something, or is too big.
    Refused,
    /// A table, column, function, option, dataset or the like that does not exist.
    Unknown,
    /// The statement makes no sense for this store: wrong types, wrong values, features that cannot be compared.
    Invalid,
    /// The memory limit was reached.
    Memory,
    /// The query was cancelled.
    Cancelled,
    /// A file of the store is damaged.
    Damaged,
    /// Anything else that went wrong while running.
    Failed,
}

/// Why a statement gave no result.
#[derive(Debug)]
pub struct SqlError {
    kind: SqlErrorKind,
    message: String,
    position: Option<(u64, u64)>,
    hint: Option<String>,
    io: Option<std::io::ErrorKind>,
}

impl SqlError {
    /// An error with a plain message.
    pub fn new(kind: SqlErrorKind, message: String) -> Self {
        Self { kind, message, position: None, hint: None, io: None }
    }

    pub(crate) fn refused(message: String) -> Self {
        Self::new(SqlErrorKind::Refused, message)
    }

    pub(crate) fn unknown(message: String) -> Self {
        Self::new(SqlErrorKind::Unknown, message)
    }

    pub(crate) fn invalid(message: String) -> Self {
        Self::new(SqlErrorKind::Invalid, message)
    }

    /// Something that cannot happen did.
    pub(crate) fn internal(what: &str) -> Self {
        Self::new(SqlErrorKind::Failed, format!("internal error: {what}"))
    }

    /// A file of the store could not be read.
    pub(crate) fn read(error: gstore_store::ReadError) -> Self {
        let kind = if error.is_damage() { SqlErrorKind::Damaged } else { SqlErrorKind::Failed };
        Self::new(kind, error.to_string())
    }

    /// A question that cannot be answered.
    pub(crate) fn query(error: crate::QueryError) -> Self {
        use crate::QueryError as Q;
        let kind = match &error {
            Q::Cancelled => SqlErrorKind::Cancelled,
            Q::Lookup(_) | Q::NoFeature { .. } => SqlErrorKind::Unknown,
            _ if error.is_damage() => SqlErrorKind::Damaged,
            _ => SqlErrorKind::Invalid,
        };
        Self::new(kind, error.to_string())
    }

    /// A name that the snapshot does not have.
    pub(crate) fn lookup(error: gstore_store::LookupError) -> Self {
        Self::unknown(error.to_string())
    }

    /// A manifest could not be read.
    pub(crate) fn open(error: gstore_store::OpenError) -> Self {
        let kind = if error.is_damage() { SqlErrorKind::Damaged } else { SqlErrorKind::Failed };
        Self::new(kind, error.to_string())
    }

    /// Adds the way out.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// Adds the place in the SQL text; lines and columns count from 1.
    pub(crate) fn at(mut self, line: u64, column: u64) -> Self {
        if line > 0 && self.position.is_none() {
            self.position = Some((line, column));
        }
        self
    }

    fn at_span(self, span: Option<Span>) -> Self {
        match span {
            Some(s) => self.at(s.start.line, s.start.column),
            None => self,
        }
    }

    pub(crate) fn with_io(mut self, io: Option<std::io::ErrorKind>) -> Self {
        self.io = io;
        self
    }

    /// What the operating system said, where it was asked.
    pub fn io_kind(&self) -> Option<std::io::ErrorKind> {
        self.io
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> SqlErrorKind {
        self.kind
    }

    /// Whether a file of the store is damaged, as opposed to a bad statement.
    pub fn is_damage(&self) -> bool {
        self.kind == SqlErrorKind::Damaged
    }

    /// Line and column in the statement, from 1, where known.
    pub fn position(&self) -> Option<(u64, u64)> {
        self.position
    }

    /// Makes the error travel through the engine unchanged.
    pub(crate) fn into_datafusion(self) -> DataFusionError {
        DataFusionError::External(Box::new(self))
    }

    /// Says what the engine's error means to a user; `tables` are the names that could have been meant.
    pub(crate) fn from_datafusion(error: DataFusionError, tables: &[String]) -> Self {
        let span = error.diagnostic().and_then(|d| d.span);
        translate(error, tables).at_span(span)
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some((line, column)) = self.position {
            write!(f, " (line {line}, column {column})")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SqlError {}

impl From<SqlError> for DataFusionError {
    fn from(error: SqlError) -> Self {
        error.into_datafusion()
    }
}

fn translate(error: DataFusionError, tables: &[String]) -> SqlError {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => translate(*inner, tables),
        DataFusionError::Collection(errors) => match errors.into_iter().next() {
            Some(first) => SqlError::from_datafusion(first, tables),
            None => SqlError::new(SqlErrorKind::Failed, "the query failed".into()),
        },
        DataFusionError::Shared(inner) => match std::sync::Arc::try_unwrap(inner) {
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
            datafusion::arrow::error::ArrowError::ExternalError(e) => {
                translate(DataFusionError::External(e), tables)
            }
            other => SqlError::new(SqlErrorKind::Failed, tidy(&other.to_string())),
        },
        DataFusionError::SchemaError(inner, _) => schema_error(*inner),
        DataFusionError::ExecutionJoin(join) if join.is_cancelled() => {
            SqlError::new(SqlErrorKind::Cancelled, "the query was cancelled".into())
        }
        other => by_text(&other, tables),
    }
}

/// An error several readers of one stream share: it cannot be taken apart, so it is read.
fn shared(error: &DataFusionError, tables: &[String]) -> SqlError {
    match error.find_root() {
        DataFusionError::External(inner) => match inner.downcast_ref::<SqlError>() {
            Some(own) => SqlError {
                kind: own.kind,
                message: own.message.clone(),
                position: own.position,
                hint: own.hint.clone(),
                io: own.io,
            },
            None => SqlError::new(SqlErrorKind::Failed, inner.to_string()),
        },
        root => by_text(root, tables),
    }
}

fn schema_error(error: SchemaError) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names: Vec<&str> = valid_fields.iter().map(|c| c.name.as_str()).collect();
            let unknown = SqlError::unknown(format!("there is no column `{}`", field.name));
            if let Some(exact) = names.iter().find(|n| n.to_lowercase() == field.name.to_lowercase()) {
                if *exact != field.name {
                    return unknown.hint(format!(
                        "names are read in lower case unless quoted: write \"{exact}\""
                    ));
                }
                if let Some(relation) = valid_fields.iter().find(|c| c.name == field.name).and_then(|c| c.relation.as_ref()) {
                    return unknown.hint(format!("it is a column of {relation}, which has no other name here: write `{}` alone", field.name));
                }
            }
            let guess = nearest(&field.name, names.iter().copied());
            unknown.hint(match guess {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("there are {}", listing(names.iter().copied().take(40))),
            })
        }
        SchemaError::AmbiguousReference { field } => SqlError::invalid(format!(
            "column `{}` exists in several tables here: write the table's name before it",
            field.name
        )),
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            SqlError::invalid(format!("column `{name}` occurs twice: give one of them another name with AS"))
        }
    }
}

fn by_text(error: &DataFusionError, tables: &[String]) -> SqlError {
    let text = tidy(&error.strip_backtrace()).replace("found: EOF", "found: the end");
    if text.contains("RecursionLimitExceeded") {
        return SqlError::refused("the statement is nested too deeply: 50 levels are allowed".into());
    }
    if let Some(name) = between(&text, "Placeholder '", "' was not provided a value") {
        return SqlError::invalid(format!("the parameter {name} has no value"));
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
                    SqlError::new(SqlErrorKind::Syntax, format!("not understood: {}", lower_first(message)))
                        .at(line, column)
                }
                None => SqlError::new(SqlErrorKind::Syntax, format!("not understood: {}", lower_first(text))),
            }
        }
        DataFusionError::ResourcesExhausted(_) => SqlError::new(
            SqlErrorKind::Memory,
            "the query needs more memory than it may use".into(),
        )
        .hint("raise the memory limit, or select fewer rows or columns before sorting, joining or grouping"),
        DataFusionError::Plan(_) => plan_error(&text, tables),
        DataFusionError::NotImplemented(_) => SqlError::invalid(format!("not supported: {}", lower_first(&text))),
        DataFusionError::ExecutionJoin(_) | DataFusionError::Internal(_) => {
            SqlError::new(SqlErrorKind::Failed, format!("the query engine failed: {text}"))
        }
        DataFusionError::Execution(_) | DataFusionError::IoError(_) => SqlError::new(SqlErrorKind::Failed, text),
        _ => SqlError::invalid(text),
    }
}

fn plan_error(text: &str, tables: &[String]) -> SqlError {
    if let Some(name) = between(text, "table '", "' not found") {
        let short = name.strip_prefix("store.data.").or_else(|| name.strip_prefix("store.")).unwrap_or(name);
        let guess = nearest(short, tables.iter().map(String::as_str));
        return SqlError::unknown(format!("there is no table `{short}`")).hint(match guess {
            Some(table) => format!("did you mean `{table}`?"),
            None => format!("there are {}", listing(tables.iter().map(String::as_str).take(40))),
        });
    }
    if let Some(name) = between(text, "table function '", "' not found") {
        let functions = super::function::NAMES;
        let guess = nearest(name, functions);
        return SqlError::unknown(format!("there is no table function `{name}`")).hint(match guess {
            Some(function) => format!("did you mean `{function}`?"),
            None => format!("there are {}", listing(functions)),
        });
    }
    if let Some(rest) = text.strip_prefix("Invalid function '") {
        let (name, help) = rest.split_once("'.").unwrap_or((rest, ""));
        let guess = between(help, "Did you mean '", "'?");
        return SqlError::unknown(format!("there is no function `{name}`"))
            .maybe_hint(guess.map(|g| format!("did you mean `{g}`?")));
    }
    SqlError::invalid(text.to_string())
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(inside, _)| inside)
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
    rest.trim_end_matches("\nThis issue was likely caused by a bug in DataFusion's code. Please help us to resolve this by filing a bug report in our issue tracker: https://github.com/apache/datafusion/issues").to_string()
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
