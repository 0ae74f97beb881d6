//! Tables read row by row: dataset tables, larger system tables, `excluded()` and `vectors()`.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::execution::memory_pool::MemoryPool;
use gstore_core::Cancel;
use gstore_query::influence::RowFilter;

use super::blocking::{BatchSink, Demand};
use super::candidates::Candidates;
use super::error::SqlError;
use super::filter::Filter;
use super::notes::{RunNotes, ScanCounters};

/// Takes the batches of a table, each with the columns that were asked for.
pub(crate) type BatchConsumer<'a> = &'a mut dyn FnMut(RecordBatch) -> Result<Demand, SqlError>;

/// What is read of a table.
#[derive(Debug, Clone)]
pub(crate) struct ReadRequest {
    /// Indexes into the table's schema, ascending.
    pub(crate) columns: Vec<usize>,
    /// Only rows whose number lies in here; more may be delivered.
    pub(crate) rows: Range<u64>,
    /// Threads that may be used.
    pub(crate) threads: usize,
    /// Rows of its samples' datasets that it may rank.
    pub(crate) candidates: RowFilter,
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
    /// Whether others ask than the session's owner.
    pub(crate) served: bool,
}

impl ReadRequest {
    /// Some columns of all rows, on one thread.
    pub(crate) fn columns(columns: Vec<usize>, sink: &BatchSink) -> Self {
        Self {
            columns,
            rows: 0..u64::MAX,
            threads: 1,
            candidates: RowFilter::new(),
            filter: None,
            cancelled: sink.cancelled(),
            notes: None,
            counters: None,
            memory: None,
            served: false,
        }
    }
}

/// A table that can be read from front to back.
pub(crate) trait RowReader: Send + Sync + 'static {
    /// The name of the node in EXPLAIN, and what it reads.
    fn describe(&self) -> (&'static str, String);
    fn schema(&self) -> &SchemaRef;
    /// How many rows there are, as far as it is known.
    fn count(&self) -> Precision<usize> {
        Precision::Absent
    }
    /// Index of the column of row numbers, if rows can be asked for by it.
    fn row_column(&self) -> Option<usize> {
        None
    }
    /// Whether rows come in ascending order of their numbers.
    fn ascends(&self) -> bool {
        false
    }
    /// Whether the column `record` is that of samples: each is an object, as JSON.
    fn has_records(&self) -> bool {
        false
    }
    /// The rows that it may rank, which are found before it is read; all by default.
    fn candidates(&self) -> Option<&Candidates> {
        None
    }
    /// Reads from front to back until no more is wanted.
    fn read(&self, want: &ReadRequest, each: BatchConsumer<'_>) -> Result<(), SqlError>;
    /// The same rows by number, where that is cheaper than reading columns of rows that a filter then drops.
    fn by_number(&self) -> Option<&dyn Fetch> {
        None
    }
    /// The same table with no file open, if files are all that reading it leaves behind.
    fn unopened(&self) -> Option<Arc<dyn RowReader>> {
        None
    }
}

impl fmt::Debug for dyn RowReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe().1)
    }
}

/// A table whose rows can be read by their numbers.
pub(crate) trait Fetch {
    /// Some columns of given rows, in this order; a row may be given repeatedly, and is read once.
    fn fetch(&self, rows: &[u64], columns: &[usize]) -> Result<RecordBatch, SqlError>;
}

/// What leaves and the planner read from the session's configuration.
#[derive(Debug)]
pub(crate) struct LeafOptions {
    pub(crate) threads: usize,
    /// Whether others ask than the session's owner: then the program has tables of its own in it.
    pub(crate) served: bool,
}

/// The methods of a plan without inputs, which has the fields `limit`, `properties` and `metrics`.
macro_rules! leaf_methods {
    () => {
        fn properties(&self) -> &Arc<PlanProperties> {
            &self.properties
        }

        fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
            Vec::new()
        }

        fn with_new_children(
            self: Arc<Self>,
            _: Vec<Arc<dyn ExecutionPlan>>,
        ) -> DfResult<Arc<dyn ExecutionPlan>> {
            Ok(self)
        }

        fn metrics(&self) -> Option<MetricsSet> {
            Some(self.metrics.clone_inner())
        }

        fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
            Some(Arc::new(Self { limit, metrics: ExecutionPlanMetricsSet::new(), ..self.clone() }))
        }
    };
}
pub(crate) use leaf_methods;

/// A batch of so many rows, which may have no columns.
pub(crate) fn batch_of(
    schema: SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options)
}

pub(crate) fn statistics(rows: Precision<usize>, columns: usize) -> Statistics {
    Statistics {
        num_rows: rows,
        total_byte_size: Precision::Absent,
        column_statistics: vec![ColumnStatistics::new_unknown(); columns],
    }
}
