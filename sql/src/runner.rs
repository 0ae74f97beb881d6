//! SQL for a program without an async runtime: statements in, batches out.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use gstore_core::{Cancel, CancelOnDrop, try_threads};
use gstore_store::{DatasetName, RowSet, Snapshot};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

use super::blocking::{pump, unless_cancelled};
use super::error::{SqlError, SqlErrorKind};
use super::notes::{Notes, RunNotes};
use super::options::SqlOptions;
use super::parameters::Parameters;
use super::session::{SqlSession, StatementOptions};

/// Operators recurse over the expressions that the planner accepted.
const WORKER_STACK: usize = 16 << 20;

/// A session with its own runtime.
pub struct SqlRunner {
    session: SqlSession,
    /// Taken only when the runner goes.
    runtime: Option<Runtime>,
}

impl SqlRunner {
    /// Opens a session on a snapshot and starts `options.threads` threads.
    pub fn new(snapshot: Arc<Snapshot>, options: SqlOptions) -> Result<Self, SqlError> {
        let threads = options.threads.max(1);
        let failed = |error: std::io::Error| SqlError::new(SqlErrorKind::Failed, error.to_string());
        try_threads(threads, WORKER_STACK).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("gstore-sql")
            .thread_stack_size(WORKER_STACK)
            .build()
            .map_err(failed)?;
        Ok(Self { session: SqlSession::new(snapshot, options)?, runtime: Some(runtime) })
    }

    /// The columns that a statement without parameters gives. It is planned and not run.
    ///
    /// # Errors
    /// A statement that cannot be planned.
    pub fn columns(&self, sql: &str, cancel: &Cancel) -> Result<SchemaRef, SqlError> {
        let runtime = self.runtime.as_ref().ok_or_else(|| SqlError::internal("the runner is gone"))?;
        let _inside = runtime.enter();
        unless_cancelled(cancel, self.session.columns(sql, &Parameters::default()))?
    }

    /// The live rows of a dataset for which a condition over its columns is true. Places in errors are those
    /// of the condition.
    ///
    /// # Errors
    /// A text that is no condition on its own, and those of a statement.
    pub fn matching(
        &self,
        dataset: &DatasetName,
        condition: &str,
        cancel: &Cancel,
    ) -> Result<RowSet, SqlError> {
        let runtime = self.runtime.as_ref().ok_or_else(|| SqlError::internal("the runner is gone"))?;
        let _inside = runtime.enter();
        let rows = unless_cancelled(cancel, self.session.matching(dataset, condition, None))??;
        Ok(RowSet::from_rows_sorted(rows.iter()))
    }

    /// Starts one statement. Raising `cancel` ends it and its rows with an error of the kind
    /// [`SqlErrorKind::Cancelled`].
    pub fn run<'a>(&'a self, sql: &str, cancel: &'a Cancel) -> Result<SqlRows<'a>, SqlError> {
        self.run_with(sql, &Parameters::default(), cancel)
    }

    /// The same with values for the statement's parameters.
    pub fn run_with<'a>(
        &'a self,
        sql: &str,
        values: &Parameters,
        cancel: &'a Cancel,
    ) -> Result<SqlRows<'a>, SqlError> {
        let runtime = self.runtime.as_ref().ok_or_else(|| SqlError::internal("the runner is gone"))?;
        let _inside = runtime.enter();
        let ends = CancelOnDrop(Arc::new(Cancel::new()));
        let asked = StatementOptions {
            values: values.clone(),
            cancel: Arc::clone(&ends.0),
            ..StatementOptions::default()
        };
        let result = unless_cancelled(cancel, self.session.run_asked(sql, asked))??;
        let (schema, notes) = (Arc::clone(&result.schema), result.notes_handle());
        Ok(SqlRows { schema, notes, batches: pump(result.stream), cancel, ends })
    }
}

impl Drop for SqlRunner {
    /// Most operators stop only between batches; a cancelled statement's caller does not wait for that.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The rows of a statement, as they come. Dropping it ends the statement.
pub struct SqlRows<'a> {
    schema: SchemaRef,
    notes: Arc<RunNotes>,
    batches: Receiver<Result<RecordBatch, SqlError>>,
    cancel: &'a Cancel,
    /// The statement's own flag, which ends it where it does not yield.
    ends: CancelOnDrop,
}

impl SqlRows<'_> {
    /// Columns of every batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Guarantee, exclusions and counts; complete once the rows have ended.
    pub fn notes(&self) -> Notes {
        self.notes.get()
    }
}

impl Iterator for SqlRows<'_> {
    type Item = Result<RecordBatch, SqlError>;

    fn next(&mut self) -> Option<Self::Item> {
        unless_cancelled(self.cancel, self.batches.recv()).unwrap_or_else(|cancelled| {
            self.batches.close();
            self.ends.0.raise();
            Some(Err(cancelled))
        })
    }
}
