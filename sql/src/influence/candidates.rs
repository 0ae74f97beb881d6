//! Candidates of a ranking: the rows of its pools for which the option `where` is true.

use std::sync::Arc;

use futures::future::{BoxFuture, ready};
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

    /// The live rows of each pool for which the condition is true; all without candidates.
    pub(super) fn rows(
        candidates: Option<&Self>,
        pools: &[String],
        work: FindWork,
    ) -> BoxFuture<'static, Result<RowFilter, SqlError>> {
        let Some(Self { condition, finder }) = candidates else {
            return Box::pin(ready(Ok(RowFilter::new())));
        };
        let (condition, finder, pools) = (condition.clone(), Arc::clone(finder), pools.to_vec());
        Box::pin(async move {
            let mut found = RowFilter::new();
            for (place, pool) in pools.iter().enumerate() {
                let name =
                    DatasetName::try_from(pool.as_str()).map_err(|e| SqlError::invalid(e.to_string()))?;
                let rows = finder.0.find(name, condition.clone(), &work).await.map_err(of_condition)?;
                found = found.with(place, rows.iter().collect());
            }
            Ok(found)
        })
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
    // Of a condition within this one.
    if error.message().starts_with("where: ") {
        return error.nowhere().about("where");
    }
    let place = error.position().map(|(line, column)| format!(", in its line {line}, column {column}"));
    let message = format!("where: {}{}", error.message(), place.unwrap_or_default());
    error.nowhere().worded(message).about("where")
}
