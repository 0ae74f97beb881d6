//! SQL errors: a message, the place in the text, and a suggestion.

use std::error::Error;
use std::fmt;

use datafusion::common::Span;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{Ident, Spanned};
use gstore_core::{Cancelled, is_of_cancel};
use gstore_functions::{FunctionError, FunctionErrorKind, NO_TIMES};
use gstore_query::QueryError;
use gstore_store::{LookupError, ReadError};

use super::positions::{TextPosition, place, start};

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
    /// The statement makes no sense for this store: wrong types, wrong values, features
    /// that cannot be compared.
    Invalid,
    /// The memory limit was reached.
    Memory,
    /// No space is left for what does not fit into memory.
    SpillFull,
    /// The folder for what does not fit into memory cannot be used.
    Spill,
    /// The query was cancelled.
    Cancelled,
    /// A file of the store is damaged.
    Damaged,
    /// Anything else that went wrong while running.
    Failed,
}

/// The end of the message about a text that was to be read as a number.
const NO_NUMBER: &str = "' is not a number";

/// Why a statement gave no result.
#[derive(Debug, Clone)]
pub struct SqlError {
    kind: SqlErrorKind,
    message: String,
    position: Option<TextPosition>,
    hint: Option<String>,
    /// The argument of a table function that is to blame, for callers that know its place.
    argument: Option<&'static str>,
    /// The only column whose name differs from the one that is not found in nothing but the case of letters.
    exact_name: Option<String>,
    /// What only the log of a server may say.
    for_log: Option<String>,
}

impl SqlError {
    /// An error with a plain message.
    pub fn new(kind: SqlErrorKind, message: String) -> Self {
        Self { kind, message, position: None, hint: None, argument: None, exact_name: None, for_log: None }
    }

    /// The error that another process has shown.
    pub fn shown(kind: SqlErrorKind, text: &str) -> Self {
        let (first, hint) = text.split_once("\n  ").map_or((text, None), |(first, hint)| (first, Some(hint)));
        let placed = || -> Option<(&str, TextPosition)> {
            let (message, place) = first.strip_suffix(')')?.rsplit_once(" (line ")?;
            let (line, column) = place.split_once(", column ")?;
            Some((message, (line.parse().ok()?, column.parse().ok()?)))
        };
        let (message, place) = placed().map_or((first, None), |(message, place)| (message, Some(place)));
        Self::new(kind, message.to_owned()).at(place).maybe_hint(hint.map(str::to_owned))
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

    /// A text that was to be read as a number.
    pub(crate) fn no_number(text: &str) -> Self {
        Self::invalid(format!("'{text}{NO_NUMBER}")).hint("TRY_CAST(x AS DOUBLE) is null for such a text")
    }

    pub(crate) fn text_of_number(&self) -> Option<&str> {
        self.message.strip_prefix('\'')?.strip_suffix(NO_NUMBER)
    }

    /// The text of an error about one that was to be read as a time, or as a date.
    pub(crate) fn text_of_time(&self) -> Option<&str> {
        let text = self.message.strip_prefix('\'')?;
        NO_TIMES.iter().find_map(|end| text.strip_suffix(end))
    }

    /// The rows are not wanted any more.
    pub(crate) fn cancelled() -> Self {
        Self::new(SqlErrorKind::Cancelled, "the query was cancelled".into())
    }

    /// Something that cannot happen did.
    pub(crate) fn internal(what: &str) -> Self {
        Self::new(SqlErrorKind::Failed, format!("internal error: {what}"))
    }

    pub(crate) fn option(error: gstore_query::influence::OptionError) -> Self {
        let found = match error.option {
            Some(name) => Self::invalid(error.message).about(name),
            None => Self::unknown(error.message),
        };
        found.maybe_hint(error.hint)
    }

    /// A name that the snapshot does not have, or has more than once.
    pub(crate) fn lookup(error: LookupError) -> Self {
        match error {
            LookupError::Ambiguous { .. } => Self::invalid(error.to_string()),
            _ => Self::unknown(error.to_string()),
        }
    }

    /// A manifest could not be read.
    pub(crate) fn open(error: gstore_store::OpenError) -> Self {
        let kind = if error.is_damage() { SqlErrorKind::Damaged } else { SqlErrorKind::Failed };
        Self::new(kind, error.to_string())
    }

    pub(crate) fn worded(self, message: String) -> Self {
        Self { message, ..self }
    }

    /// The same without a place, for those who have not written the statement.
    pub fn nowhere(self) -> Self {
        Self { position: None, ..self }
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

    /// Adds the way out where none is known yet.
    pub(crate) fn or_hint(mut self, hint: Option<String>) -> Self {
        self.hint = self.hint.or(hint);
        self
    }

    /// Adds what only the log of a server may say, as where its folders are.
    pub(crate) fn detail(self, text: String) -> Self {
        Self { for_log: Some(text), ..self }
    }

    /// What only the log of a server may say.
    pub fn for_log(&self) -> Option<&str> {
        self.for_log.as_deref()
    }

    /// Adds the place in the SQL text, where there is one; lines and columns count from 1.
    pub(crate) fn at(mut self, place: impl Into<Option<TextPosition>>) -> Self {
        self.position = self.position.or(place.into().filter(|(line, _)| *line > 0));
        self
    }

    /// The same for a text that has fewer lines before it than the statement that ran.
    pub(crate) fn further_up(mut self, lines: u64) -> Self {
        if let Some((line, _)) = &mut self.position {
            *line = line.saturating_sub(lines).max(1);
        }
        self
    }

    /// The same for a text that begins this many lines further down in what it was read from.
    pub fn further_down(mut self, lines: u64) -> Self {
        if let Some((line, _)) = &mut self.position {
            *line = line.saturating_add(lines);
        }
        self
    }

    pub(super) fn at_span(self, span: Option<Span>) -> Self {
        self.at(span.map(|span| (span.start.line, span.start.column)))
    }

    /// Adds the place where a part of the statement begins.
    pub(crate) fn at_start_of(self, part: &impl Spanned) -> Self {
        self.at(start(part))
    }

    pub(crate) fn at_name(self, name: &Ident) -> Self {
        self.at(place(name))
    }

    /// Names the argument of a table function that is to blame.
    pub(crate) fn about(mut self, argument: impl Into<Option<&'static str>>) -> Self {
        self.argument = self.argument.or(argument.into());
        self
    }

    /// The argument to blame, of an error on its way through the engine.
    pub(crate) fn argument(error: &DataFusionError) -> Option<&'static str> {
        match error {
            DataFusionError::External(inner) => inner.downcast_ref::<Self>()?.argument,
            _ => None,
        }
    }

    /// Names the column that differs from the one that is not found in the case of letters.
    pub(crate) fn exactly(self, name: String) -> Self {
        Self { exact_name: Some(name), ..self }
    }

    pub(crate) fn exact_name(&self) -> Option<&str> {
        self.exact_name.as_deref()
    }

    pub(crate) fn missing_column(&self) -> Option<&str> {
        self.message.strip_prefix("there is no column `")?.strip_suffix('`')
    }

    /// The field that the error says a struct does not have.
    pub(crate) fn missing_field(&self) -> Option<&str> {
        Some(self.message.strip_suffix('`')?.split_once("` has no field `")?.1)
    }

    /// The message, without its place and its hint.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn has_hint(&self, hint: &str) -> bool {
        self.hint.as_deref() == Some(hint)
    }

    /// The hint that names what was probably meant.
    pub(crate) fn guess(&self) -> Option<&str> {
        self.hint.as_deref().filter(|hint| hint.starts_with("did you mean"))
    }

    pub(crate) fn listing(&self) -> Option<&str> {
        self.hint.as_deref().filter(|hint| hint.starts_with("there are "))
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

impl Error for SqlError {
    /// All that it has of its cause, besides the words, is whether that was a stop.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self.kind {
            SqlErrorKind::Cancelled => Some(&Cancelled),
            _ => None,
        }
    }
}

/// A file of the store could not be read.
impl From<ReadError> for SqlError {
    fn from(error: ReadError) -> Self {
        let kind = if error.is_damage() { SqlErrorKind::Damaged } else { SqlErrorKind::Failed };
        Self::new(kind, error.to_string())
    }
}

/// A question that cannot be answered.
impl From<QueryError> for SqlError {
    fn from(error: QueryError) -> Self {
        let kind = match &error {
            _ if is_of_cancel(&error) => SqlErrorKind::Cancelled,
            QueryError::Lookup(LookupError::Ambiguous { .. }) => SqlErrorKind::Invalid,
            QueryError::Lookup(_) | QueryError::NoFeature { .. } => SqlErrorKind::Unknown,
            QueryError::Device(_) => SqlErrorKind::Failed,
            _ if error.is_damage() => SqlErrorKind::Damaged,
            _ => SqlErrorKind::Invalid,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<FunctionError> for SqlError {
    fn from(FunctionError { kind, message, hint, span }: FunctionError) -> Self {
        let kind = match kind {
            FunctionErrorKind::Invalid => SqlErrorKind::Invalid,
            FunctionErrorKind::Refused => SqlErrorKind::Refused,
            FunctionErrorKind::Internal => SqlErrorKind::Failed,
        };
        Self::new(kind, message).maybe_hint(hint).at_span(span)
    }
}

/// It travels through the engine unchanged.
impl From<SqlError> for DataFusionError {
    fn from(error: SqlError) -> Self {
        Self::External(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::error::ArrowError;
    use gstore_functions::TIMES;

    use super::*;

    #[test]
    fn an_error_of_a_function_keeps_its_words_on_every_way_through_the_engine() {
        let own = || DataFusionError::from(FunctionError::no_time("soon", true));
        let kept = Arc::new(own());
        let shared = DataFusionError::Shared(Arc::clone(&kept));
        for error in [own(), shared, ArrowError::ExternalError(Box::new(own())).into()] {
            let found = SqlError::from(error);
            assert_eq!(found.kind(), SqlErrorKind::Invalid);
            assert_eq!(found.to_string(), format!("'soon' is not a date\n  {TIMES}"));
        }
    }

    #[test]
    fn a_shown_error_has_its_place() {
        for (text, place) in [
            ("there is no column `a (b)` (line 2, column 15)\n  did you mean `a`?\n  or `b`", Some((2, 15))),
            ("there is no column `a`\n  `b` (line 1, column 2)", None),
            ("the view `v` cannot be read: no `a` (line 1, column 6 of its text)", None),
            ("no (line x, column 6)", None),
            ("(line 1, column 6", None),
            ("", None),
        ] {
            let error = SqlError::shown(SqlErrorKind::Invalid, text);
            assert_eq!((error.position(), error.to_string()), (place, text.to_owned()));
        }
    }

    #[test]
    fn a_device_that_fails_is_no_mistake_of_the_statement() {
        let kind = |error: QueryError| SqlError::from(error).kind();
        assert_eq!(kind(QueryError::Device("the GPU was lost".into())), SqlErrorKind::Failed);
        assert_eq!(kind(QueryError::Spec("no target".to_owned())), SqlErrorKind::Invalid);
    }
}
