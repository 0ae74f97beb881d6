//! Candidates of a ranking: the rows of its pools for which the option `where` is true.

use std::sync::Arc;

use gstore_query::influence::{Options, RowFilter};
use gstore_store::DatasetName;

use super::source::FunctionCall;
use crate::dialect::check_condition;
use crate::error::{SqlError, SqlErrorKind};
use crate::find_rows::{FindWork, RowFinder};

/// A condition over the tables of the pools. It comes before `k`, `each` and rules, where a filter over the
/// relation chooses among the rows that these have left.
pub(super) struct Candidates {
    condition: String,
    finder: Arc<RowFinder>,
}

impl Candidates {
    /// Those of a call that has the option.
    pub(super) fn read(options: &Options, call: &FunctionCall<'_>) -> Result<Option<Self>, SqlError> {
        let Some(condition) = options.text("where").map_err(SqlError::option)? else { return Ok(None) };
        check_condition(&condition).map_err(of_condition)?;
        let finder = call.session.config().get_extension();
        let finder = finder.ok_or_else(|| SqlError::internal("a session that finds no rows"))?;
        Ok(Some(Self { condition, finder }))
    }

    /// The live rows of each pool for which the condition is true.
    pub(super) fn rows(&self, pools: &[String], work: &FindWork<'_>) -> Result<RowFilter, SqlError> {
        let mut candidates = RowFilter::new();
        for (place, pool) in pools.iter().enumerate() {
            let name = DatasetName::try_from(pool.as_str()).map_err(|e| SqlError::invalid(e.to_string()))?;
            let rows = self.finder.0.find(&name, &self.condition, work).map_err(of_condition)?;
            candidates = candidates.with(place, rows.iter().collect());
        }
        Ok(candidates)
    }

    /// What EXPLAIN says of them.
    pub(super) fn shown(candidates: Option<&Self>) -> String {
        candidates.map_or_else(String::new, |own| format!(", where=[{}]", own.condition.replace('\n', " ")))
    }
}

/// What is wrong with the condition. Its lines are not those of the statement.
fn of_condition(error: SqlError) -> SqlError {
    use SqlErrorKind::{Invalid, Refused, Syntax, Unknown};
    if ![Syntax, Refused, Unknown, Invalid].contains(&error.kind()) {
        return error;
    }
    let place = error.position().map(|(line, column)| format!(", in its line {line}, column {column}"));
    let message = format!("where: {}{}", error.message(), place.unwrap_or_default());
    error.nowhere().worded(message).about("where")
}
