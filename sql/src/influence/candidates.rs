//! Candidates of a ranking: the rows of its pools for which the option `where` is true.

use std::sync::Arc;

use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::RuntimeEnv;
use gstore_core::Cancel;
use gstore_query::influence::{Options, RowFilter};
use gstore_store::DatasetName;

use super::source::{FunctionCall, FunctionSource};
use crate::catalog::Tables;
use crate::dialect::check_condition;
use crate::engine::SqlResources;
use crate::error::{SqlError, SqlErrorKind};
use crate::options::SqlOptions;
use crate::runner::SqlRunner;
use crate::session::SqlSession;

/// A condition over the tables of the pools. It comes before `k`, `each` and rules, where a filter over the
/// relation chooses among the rows that these have left.
pub(super) struct Candidates {
    condition: String,
    source: FunctionSource,
    tables: Arc<Tables>,
    env: Arc<RuntimeEnv>,
}

impl Candidates {
    /// Those of a call that has the option.
    pub(super) fn read(options: &Options, call: &FunctionCall<'_>) -> Result<Option<Self>, SqlError> {
        let Some(condition) = options.text("where").map_err(SqlError::option)? else { return Ok(None) };
        check_condition(&condition).map_err(of_condition)?;
        let tables = call.session.config().get_extension::<Tables>();
        Ok(Some(Self {
            condition,
            source: call.source.clone(),
            tables: tables.ok_or_else(|| SqlError::internal("a session without tables"))?,
            env: Arc::clone(call.session.runtime_env()),
        }))
    }

    /// The live rows of each pool for which the condition is true. What that takes counts in `memory`.
    pub(super) fn rows(
        &self,
        pools: &[String],
        memory: Option<&Arc<dyn MemoryPool>>,
        threads: usize,
        cancel: &Cancel,
    ) -> Result<RowFilter, SqlError> {
        let mut env = RuntimeEnv::clone(&self.env);
        if let Some(memory) = memory {
            env.memory_pool = Arc::clone(memory);
        }
        let options = SqlOptions {
            threads,
            encoder: self.source.encoder.clone(),
            own: self.tables.own.clone(),
            ..SqlOptions::default()
        };
        let (snapshot, live) = (Arc::clone(&self.source.snapshot), self.tables.live.clone());
        let session = SqlSession::with_tables(snapshot, options, &SqlResources::from(env), live)?;
        let runner = SqlRunner::over(session, threads)?;
        let mut candidates = RowFilter::new();
        for (place, pool) in pools.iter().enumerate() {
            let name = DatasetName::try_from(pool.as_str()).map_err(|e| SqlError::invalid(e.to_string()))?;
            let rows = runner.matching(&name, &self.condition, cancel).map_err(of_condition)?;
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
