//! Candidates of a ranking: the rows of its pools for which the option `where` is true. A session finds them,
//! and sessions are made above the leaves of plans.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::execution::memory_pool::MemoryPool;
use futures::future::{BoxFuture, ready};
use gstore_core::Cancel;
use gstore_query::influence::{Options, RowFilter, RowMask};
use gstore_store::DatasetName;

use super::error::{SqlError, SqlErrorKind};
use super::notes::RunNotes;

/// Conditions in one another, at most: each has a session of its own.
pub(crate) const MOST_NESTED: usize = 4;

/// Finds rows of a dataset by a condition over its columns. Dropping a future ends its work.
pub(crate) trait FindRows: Send + Sync {
    /// Plans the condition, and reads nothing but what planning needs: the values of a PIVOT. Raising `cancel`
    /// ends that.
    fn check(
        &self,
        dataset: DatasetName,
        condition: String,
        work: &FindWork,
        cancel: &Arc<Cancel>,
    ) -> BoxFuture<'static, Result<(), SqlError>>;

    /// The live rows for which it is true, without a thread that waits for them.
    fn find(
        &self,
        dataset: DatasetName,
        condition: String,
        work: &FindWork,
    ) -> BoxFuture<'static, Result<RowMask, SqlError>>;
}

/// What finding rows may take.
#[derive(Clone)]
pub(crate) struct FindWork {
    /// The memory of operators.
    pub(crate) memory: Arc<dyn MemoryPool>,
    pub(crate) threads: usize,
    /// Receiver of the notes of rankings within the condition.
    pub(crate) notes: Option<Arc<RunNotes>>,
}

/// Who finds rows, in the configuration of a session.
pub(crate) struct RowFinder(pub(crate) Arc<dyn FindRows>);

/// A condition over the tables of the pools. It comes before `k`, `each` and rules, where a filter over the
/// relation chooses among the rows that these have left.
#[derive(Clone)]
pub(crate) struct Candidates {
    pools: Vec<DatasetName>,
    condition: String,
    finder: Arc<RowFinder>,
}

impl Candidates {
    pub(crate) fn read(
        options: &Options,
        pools: &[String],
        session: &dyn Session,
    ) -> Result<Option<Self>, SqlError> {
        let Some(condition) = options.text("where").map_err(SqlError::option)? else { return Ok(None) };
        let finder = session.config().get_extension();
        let finder = finder.ok_or_else(|| SqlError::internal("a session that finds no rows"))?;
        let named = |pool: &String| DatasetName::try_from(pool.as_str());
        let pools = pools.iter().map(named).collect::<Result<_, _>>();
        Ok(Some(Self { pools: pools.map_err(|e| SqlError::invalid(e.to_string()))?, condition, finder }))
    }

    pub(crate) fn condition(&self) -> &str {
        &self.condition
    }

    /// Whether these are the same rows.
    pub(crate) fn are(&self, other: &Self) -> bool {
        self.pools == other.pools && self.condition == other.condition
    }

    /// Plans the condition over each pool, until the statement is over.
    ///
    /// # Errors
    /// A condition that cannot be planned, and a raised flag.
    pub(crate) async fn check(&self, work: &FindWork, cancel: &Arc<Cancel>) -> Result<(), SqlError> {
        for pool in &self.pools {
            if cancel.is_raised() {
                return Err(SqlError::cancelled());
            }
            self.finder
                .0
                .check(pool.clone(), self.condition.clone(), work, cancel)
                .await
                .map_err(of_condition)?;
        }
        Ok(())
    }

    /// The live rows of each pool for which the condition is true; all without candidates.
    pub(crate) fn rows(
        candidates: Option<&Self>,
        work: FindWork,
    ) -> BoxFuture<'static, Result<RowFilter, SqlError>> {
        let Some(own) = candidates.cloned() else { return Box::pin(ready(Ok(RowFilter::new()))) };
        Box::pin(async move {
            let mut found = RowFilter::new();
            for (place, pool) in own.pools.into_iter().enumerate() {
                let rows = own.finder.0.find(pool, own.condition.clone(), &work).await;
                found = found.with(place, rows.map_err(of_condition)?);
            }
            Ok(found)
        })
    }

    /// What EXPLAIN says of them.
    pub(crate) fn shown(candidates: Option<&Self>) -> String {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use datafusion::execution::memory_pool::UnboundedMemoryPool;

    use super::*;

    /// Counts the conditions that are planned, and ends the statement with the first.
    #[derive(Default)]
    struct EndingFinder(AtomicUsize);

    impl FindRows for EndingFinder {
        fn check(
            &self,
            _: DatasetName,
            _: String,
            _: &FindWork,
            cancel: &Arc<Cancel>,
        ) -> BoxFuture<'static, Result<(), SqlError>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            cancel.raise();
            Box::pin(ready(Ok(())))
        }

        fn find(
            &self,
            _: DatasetName,
            _: String,
            _: &FindWork,
        ) -> BoxFuture<'static, Result<RowMask, SqlError>> {
            Box::pin(ready(Ok(RowMask::new())))
        }
    }

    #[tokio::test]
    async fn no_condition_is_planned_for_a_statement_that_is_over() {
        let finder = Arc::new(EndingFinder::default());
        let own: Arc<dyn FindRows> = Arc::clone(&finder) as _;
        let candidates = Candidates {
            pools: ["a", "b"].map(|name| DatasetName::try_from(name).unwrap()).into(),
            condition: "true".to_owned(),
            finder: Arc::new(RowFinder(own)),
        };
        let work = FindWork { memory: Arc::new(UnboundedMemoryPool::default()), threads: 1, notes: None };
        let stopped = candidates.check(&work, &Arc::default()).await.unwrap_err();
        assert_eq!((stopped.kind(), finder.0.load(Ordering::Relaxed)), (SqlErrorKind::Cancelled, 1));
    }
}
