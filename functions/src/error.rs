//! Why a function gives no value: a message, a suggestion, and the place in the statement where it is known.

use std::fmt;

use datafusion::common::Span;
use datafusion::error::DataFusionError;

/// What sort of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionErrorKind {
    /// Values or types that the function does not take.
    Invalid,
    /// More than is allowed.
    Refused,
    /// Something that cannot happen did.
    Internal,
}

/// The ends of the messages about texts that were to be read as a time, and as a date.
pub const NO_TIMES: [&str; 2] = ["' is not a time", "' is not a date"];

/// How times are written.
pub const TIMES: &str = "write a date as 2024-05-29, a time as 2024-05-29 10:46:00";

/// How the message ends about a time before or after all that a TIMESTAMP holds in nanoseconds.
pub const BEYOND: &str = " is beyond what a TIMESTAMP reaches, from 1677 to 2262";

/// Why a function gives no value. Through the engine it travels as an external error.
#[derive(Debug, Clone)]
pub struct FunctionError {
    /// What sort of failure it is.
    pub kind: FunctionErrorKind,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
    /// The place in the statement.
    pub span: Option<Span>,
}

impl FunctionError {
    fn new(kind: FunctionErrorKind, message: String) -> Self {
        Self { kind, message, hint: None, span: None }
    }

    pub(crate) fn invalid(message: String) -> Self {
        Self::new(FunctionErrorKind::Invalid, message)
    }

    pub(crate) fn refused(message: String) -> Self {
        Self::new(FunctionErrorKind::Refused, message)
    }

    pub(crate) fn internal(what: &str) -> Self {
        Self::new(FunctionErrorKind::Internal, format!("internal error: {what}"))
    }

    /// A text that was to be read as a time, or as a date.
    pub fn no_time(text: &str, is_date: bool) -> Self {
        let [time, date] = NO_TIMES;
        Self::invalid(format!("'{text}{}", if is_date { date } else { time })).hint(TIMES)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn at_span(mut self, span: Option<Span>) -> Self {
        self.span = span;
        self
    }
}

impl fmt::Display for FunctionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FunctionError {}

impl From<FunctionError> for DataFusionError {
    fn from(error: FunctionError) -> Self {
        Self::External(Box::new(error))
    }
}
