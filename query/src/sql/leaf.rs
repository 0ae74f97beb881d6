//! Tables that are read row by row: the dataset tables, the larger system tables, `excluded()` and `vectors()`.
//!
//! Invariants
//! - a filter that the table accepts is applied here and nowhere else, so it is applied to every row
//! - only columns that the query or a filter names are read; where a table can fetch rows by number, columns that only the result needs
//!   are read for the rows that passed

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow_array::{Array, BooleanArray, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::error::Result as DfResult;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, apply_expression_roots};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};

use super::blocking::{self, Demand, Sink};
use super::error::SqlError;
use super::filter::{self, Filter};
use super::session::Limits;

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
    /// Raised when nobody wants the rows any more; long work that yields no rows looks at it.
    pub(crate) cancelled: Arc<AtomicBool>,
}

impl Want {
    /// Some columns of all rows, on one thread.
    pub(crate) fn columns(columns: Vec<usize>, sink: &Sink) -> Self {
        Self { columns, rows: 0..u64::MAX, threads: 1, cancelled: sink.cancelled() }
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
    /// Reads from front to back until no more is wanted.
    fn read(&self, want: &Want, each: Each<'_>) -> Result<(), SqlError>;
    /// The same rows by number, where that is cheaper than reading columns of rows that a filter then drops.
    fn by_number(&self) -> Option<&dyn Fetch> {
        None
    }
}

/// A table whose rows can be read by their numbers.
pub(crate) trait Fetch {
    /// Some columns of given rows, in this order.
    fn fetch(&self, rows: &[u64], columns: &[usize]) -> Result<RecordBatch, SqlError>;
}

/// [`Rows`] as a table of the engine.
#[derive(Debug)]
pub(crate) struct RowsTable(pub(crate) Arc<dyn Rows>);

#[async_trait]
impl TableProvider for RowsTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.0.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
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

/// Reads [`Rows`]: projection, filters and limit included.
#[derive(Debug, Clone)]
pub(crate) struct RowsExec {
    rows: Arc<dyn Rows>,
    projection: Vec<usize>,
    filters: Vec<Arc<dyn PhysicalExpr>>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl RowsExec {
    fn new(
        rows: Arc<dyn Rows>,
        projection: Vec<usize>,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        limit: Option<usize>,
    ) -> DfResult<Self> {
        let schema = Arc::new(rows.schema().project(&projection)?);
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Ok(Self { rows, projection, filters, limit, properties, metrics: ExecutionPlanMetricsSet::new() })
    }
}

impl DisplayAs for RowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (node, what) = self.rows.describe();
        let names: Vec<&str> =
            self.properties.eq_properties.schema().fields().iter().map(|f| f.name().as_str()).collect();
        write!(f, "{node}: {what}, columns=[{}]", names.join(", "))?;
        filter::display(&self.filters, f)?;
        match self.limit {
            Some(n) => write!(f, ", limit={n}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for RowsExec {
    fn name(&self) -> &str {
        "RowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        apply_expression_roots(&self.filters, f)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let filter = Filter::new(self.rows.schema(), &self.filters)?;
        let job = Job {
            rows: Arc::clone(&self.rows),
            projection: self.projection.clone(),
            schema: Arc::clone(self.properties.eq_properties.schema()),
            bounds: self.rows.row_column().map_or(0..u64::MAX, |c| filter.row_bounds(c)),
            filter,
            left: self.limit.unwrap_or(usize::MAX),
            batch: context.session_config().batch_size(),
            threads: context.session_config().get_extension::<Limits>().map_or(1, |l| l.threads),
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        Ok(blocking::stream(Arc::clone(&job.schema), move |sink| job.run(sink)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], _: &StatisticsArgs) -> DfResult<Arc<Statistics>> {
        let rows = match (self.filters.is_empty(), self.rows.count(), self.limit) {
            (true, rows, None) => rows,
            (true, Precision::Exact(rows), Some(limit)) => Precision::Exact(rows.min(limit)),
            (_, rows, limit) => match rows.get_value() {
                Some(rows) => Precision::Inexact((*rows).min(limit.unwrap_or(usize::MAX))),
                None => Precision::Absent,
            },
        };
        Ok(Arc::new(statistics(rows, self.projection.len())))
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(Self { limit, metrics: ExecutionPlanMetricsSet::new(), ..self.clone() }))
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }
}

struct Job {
    rows: Arc<dyn Rows>,
    projection: Vec<usize>,
    schema: SchemaRef,
    filter: Filter,
    bounds: Range<u64>,
    left: usize,
    batch: usize,
    threads: usize,
    metrics: BaselineMetrics,
}

impl Job {
    fn run(mut self, sink: &Sink) -> Result<(), SqlError> {
        if self.left == 0 || self.bounds.is_empty() {
            return Ok(());
        }
        let first = self.first_columns();
        let late: Vec<usize> = self.projection.iter().copied().filter(|c| !first.contains(c)).collect();
        let (rows, threads) = (self.bounds.clone(), self.threads);
        let want = Want { rows, threads, ..Want::columns(first.clone(), sink) };
        let rows = Arc::clone(&self.rows);
        rows.read(&want, &mut |batch| {
            let batch = self.filter.apply(&first, batch)?;
            for start in (0..batch.num_rows()).step_by(self.batch.max(1)) {
                let part = batch.slice(start, self.batch.min(batch.num_rows() - start).min(self.left));
                let part = self.complete(&first, &late, part)?;
                self.left -= part.num_rows();
                self.metrics.record_output(part.num_rows());
                if sink.send(part) == Demand::Enough || self.left == 0 {
                    return Ok(Demand::Enough);
                }
            }
            Ok(if sink.is_cancelled() { Demand::Enough } else { Demand::More })
        })
    }

    /// Columns read for every row: those of the filter and the row number where the others can follow later; else all.
    fn first_columns(&self) -> Vec<usize> {
        let filtered = self.filter.columns();
        let row = self.rows.by_number().and_then(|_| self.rows.row_column());
        let mut first: Vec<usize> = match (filtered.is_empty(), row) {
            (false, Some(row)) => filtered.iter().copied().chain([row]).collect(),
            _ => filtered.iter().chain(&self.projection).copied().collect(),
        };
        first.sort_unstable();
        first.dedup();
        first
    }

    /// The result's columns of rows that passed.
    fn complete(&self, first: &[usize], late: &[usize], part: RecordBatch) -> Result<RecordBatch, SqlError> {
        let mut later = None;
        if !late.is_empty() {
            let numbers = self.rows.row_column().and_then(|c| first.iter().position(|f| *f == c));
            let numbers = numbers.and_then(|c| part.column(c).as_any().downcast_ref::<UInt64Array>());
            if let (Some(numbers), Some(by_number)) = (numbers, self.rows.by_number()) {
                later = Some(by_number.fetch(numbers.values(), late)?);
            }
        }
        let mut columns = Vec::with_capacity(self.projection.len());
        for column in &self.projection {
            let from_first = first.iter().position(|f| f == column).map(|i| part.column(i));
            let from_later = || late.iter().position(|l| l == column).zip(later.as_ref()).map(|(i, b)| b.column(i));
            let values = from_first.or_else(from_later).ok_or_else(|| missing_column(&self.schema))?;
            columns.push(Arc::clone(values));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(part.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|e| SqlError::from_datafusion(e.into(), &[]))
    }
}

fn missing_column(schema: &SchemaRef) -> SqlError {
    SqlError::new(super::SqlErrorKind::Failed, format!("a column was not read; wanted {schema}"))
}

/// Rows of a batch for which the mask says true; null counts as false.
pub(crate) fn keep(batch: &RecordBatch, mask: &BooleanArray) -> Result<RecordBatch, SqlError> {
    match mask.true_count() == mask.len() {
        true => Ok(batch.clone()),
        false => datafusion::arrow::compute::filter_record_batch(batch, mask)
            .map_err(|e| SqlError::from_datafusion(e.into(), &[])),
    }
}
