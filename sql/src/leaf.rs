//! Tables read row by row: dataset tables, larger system tables, `excluded()` and `vectors()`.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::error::Result as DfResult;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use gstore_core::Cancel;

use super::at_once;
use super::blocking::{Demand, Sink};
use super::error::SqlError;
use super::filter::{self, Filter};
use super::notes::{RunNotes, ScanCounters};
use super::scan::RowsExec;

/// Takes the batches of a table, each with the columns that were asked for.
pub(crate) type Each<'a> = &'a mut dyn FnMut(RecordBatch) -> Result<Demand, SqlError>;

/// What is read of a table.
#[derive(Debug, Clone)]
pub(crate) struct Want {
    /// Indexes into the table's schema, ascending.
    pub(crate) columns: Vec<usize>,
    /// Only rows whose number lies in here; more may be delivered.
    pub(crate) rows: Range<u64>,
    /// Threads that may be used.
    pub(crate) threads: usize,
    /// What is dropped afterwards; a reader may skip what this drops anyway.
    pub(crate) filter: Option<Arc<Filter>>,
    /// Raised when the rows are not wanted any more; long work that yields no rows looks at it.
    pub(crate) cancelled: Arc<Cancel>,
    /// Receiver of the notes of the result.
    pub(crate) notes: Option<Arc<RunNotes>>,
    /// Where what a scan did is counted.
    pub(crate) counters: Option<ScanCounters>,
    /// What limits the memory of work that needs more than a batch.
    pub(crate) memory: Option<Arc<dyn MemoryPool>>,
}

impl Want {
    /// Some columns of all rows, on one thread.
    pub(crate) fn columns(columns: Vec<usize>, sink: &Sink) -> Self {
        Self {
            columns,
            rows: 0..u64::MAX,
            threads: 1,
            filter: None,
            cancelled: sink.cancelled(),
            notes: None,
            counters: None,
            memory: None,
        }
    }
}

/// A table that can be read from front to back.
pub(crate) trait Rows: fmt::Debug + Send + Sync + 'static {
    /// The name of the node in EXPLAIN, and what it reads.
    fn describe(&self) -> (&'static str, String);
    fn schema(&self) -> &SchemaRef;
    /// How many rows there are.
    fn count(&self) -> Precision<usize>;
    /// Index of the column of row numbers, if rows can be asked for by it.
    fn row_column(&self) -> Option<usize> {
        None
    }
    /// Whether rows come in ascending order of their numbers.
    fn ascends(&self) -> bool {
        false
    }
    /// Reads from front to back until no more is wanted.
    fn read(&self, want: &Want, each: Each<'_>) -> Result<(), SqlError>;
    /// The same rows by number, where that is cheaper than reading columns of rows that a filter then drops.
    fn by_number(&self) -> Option<&dyn Fetch> {
        None
    }
    /// The same table with no file open, if files are all that reading it leaves behind.
    fn unopened(&self) -> Option<Arc<dyn Rows>> {
        None
    }
}

/// A table whose rows can be read by their numbers.
pub(crate) trait Fetch {
    /// Some columns of given rows, in this order; a row may be given repeatedly, and is read once.
    fn fetch(&self, rows: &[u64], columns: &[usize]) -> Result<RecordBatch, SqlError>;
}

/// [`Rows`] as a table of the engine.
#[derive(Debug)]
pub(crate) struct RowsTable(pub(crate) Arc<dyn Rows>);

impl RowsTable {
    /// The plan that reads it.
    fn planned(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let filters = filter::physical(session, self.0.schema(), filters)?;
        let projection = projection.cloned().unwrap_or_else(|| (0..self.0.schema().fields().len()).collect());
        Ok(Arc::new(RowsExec::new(Arc::clone(&self.0), projection, filters, limit)?))
    }
}

impl TableProvider for RowsTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.0.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    at_once::scan!();

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(filters.iter().map(|f| filter::support(f)).collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(statistics(self.0.count(), self.0.schema().fields().len()))
    }
}

pub(crate) fn statistics(rows: Precision<usize>, columns: usize) -> Statistics {
    Statistics {
        num_rows: rows,
        total_byte_size: Precision::Absent,
        column_statistics: vec![ColumnStatistics::new_unknown(); columns],
    }
}

/// Rows of a batch for which the mask says true; null counts as false.
pub(crate) fn keep(batch: &RecordBatch, mask: &BooleanArray) -> Result<RecordBatch, SqlError> {
    match mask.true_count() == mask.len() {
        true => Ok(batch.clone()),
        false => datafusion::arrow::compute::filter_record_batch(batch, mask)
            .map_err(|e| SqlError::from_datafusion(e.into(), &[])),
    }
}
