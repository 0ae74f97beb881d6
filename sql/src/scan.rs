//! [`RowReader`] as a table of the engine, and the plan node that reads them: columns, filter and limit.
//!
//! Invariants
//! - a filter that the table accepts is applied here and nowhere else, so it is applied to every row
//! - only columns that the query or a filter names are read; where a table can fetch rows by number, columns
//!   that only the result needs are read for the rows that passed

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_schema::{SchemaRef, SortOptions};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DfResult;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, apply_expression_roots};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use gstore_query::influence::RowFilter;

use super::at_once;
use super::blocking::{self, BatchSink, Demand};
use super::candidates::{Candidates, FindWork};
use super::distinct::distinct;
use super::error::{SqlError, SqlErrorKind};
use super::filter::{self, Filter};
use super::leaf::{LeafOptions, ReadRequest, RowReader, batch_of, leaf_methods, statistics};
use super::notes::{RunNotes, ScanCounters};

/// [`RowReader`] as a table of the engine.
#[derive(Debug)]
pub(crate) struct RowsTable(pub(crate) Arc<dyn RowReader>);

impl RowsTable {
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

/// Reads [`RowReader`]: projection, filters and limit included.
#[derive(Debug, Clone)]
pub(super) struct RowsExec {
    rows: Arc<dyn RowReader>,
    projection: Vec<usize>,
    filters: Vec<Arc<dyn PhysicalExpr>>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl RowsExec {
    pub(super) fn new(
        rows: Arc<dyn RowReader>,
        projection: Vec<usize>,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        limit: Option<usize>,
    ) -> DfResult<Self> {
        let schema = Arc::new(rows.schema().project(&projection)?);
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new_with_orderings(
                Arc::clone(&schema),
                by_row(&*rows, &projection, &schema),
            ),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Ok(Self { rows, projection, filters, limit, properties, metrics: ExecutionPlanMetricsSet::new() })
    }

    /// The same over rows of which nothing was read; `None` where a run may leave more behind than open
    /// files.
    pub(super) fn unopened(&self) -> Option<Self> {
        let rows = self.rows.unopened()?;
        Some(Self { rows, metrics: ExecutionPlanMetricsSet::new(), ..self.clone() })
    }
}

/// The order that the rows have anyway, if the result shows it.
fn by_row(rows: &dyn RowReader, projection: &[usize], schema: &SchemaRef) -> Option<LexOrdering> {
    let row = rows.row_column().filter(|_| rows.ascends())?;
    let index = projection.iter().position(|p| *p == row)?;
    let column = Arc::new(Column::new(schema.field(index).name(), index));
    LexOrdering::new([PhysicalSortExpr::new(column, SortOptions { descending: false, nulls_first: false })])
}

impl DisplayAs for RowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (node, what) = self.rows.describe();
        let names: Vec<&str> =
            self.properties.eq_properties.schema().fields().iter().map(|f| f.name().as_str()).collect();
        write!(f, "{node}: {what}, columns=[{}]", names.join(", "))?;
        filter::display("filter", &self.filters, f)?;
        if let Some(column) = self.rows.row_column() {
            match filter::row_bounds(&self.filters, column) {
                Range { start: 0, end: u64::MAX } => {}
                Range { start, end: u64::MAX } => write!(f, ", rows={start}..")?,
                Range { start, end } => write!(f, ", rows={start}..{end}")?,
            }
        }
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

    leaf_methods!();

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        apply_expression_roots(&self.filters, f)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let filter = Arc::new(Filter::new(self.rows.schema(), &self.filters)?);
        let limits = context.session_config().get_extension::<LeafOptions>();
        let job = ScanJob {
            scan: self.clone(),
            threads: limits.as_ref().map_or(1, |limits| limits.threads),
            served: limits.is_some_and(|limits| limits.served),
            filter,
            left: self.limit.unwrap_or(usize::MAX),
            context,
            counters: ScanCounters::new(&self.metrics, partition),
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        let notes = job.context.session_config().get_extension::<RunNotes>();
        let memory = Arc::clone(job.context.memory_pool());
        let work = FindWork { memory, threads: job.threads, notes };
        let found = Candidates::rows(self.rows.candidates(), work);
        Ok(blocking::stream(self.schema(), found, move |sink, rows| job.run(rows, sink)))
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

    fn fetch(&self) -> Option<usize> {
        self.limit
    }
}

/// One run of a [`RowsExec`].
struct ScanJob {
    scan: RowsExec,
    threads: usize,
    /// Whether others ask than the session's owner.
    served: bool,
    filter: Arc<Filter>,
    left: usize,
    context: Arc<TaskContext>,
    counters: ScanCounters,
    metrics: BaselineMetrics,
}

impl ScanJob {
    fn run(mut self, candidates: RowFilter, sink: &BatchSink) -> Result<(), SqlError> {
        let rows = self.scan.rows.row_column().map_or(0..u64::MAX, |c| self.filter.row_bounds(c));
        if self.left == 0 || rows.is_empty() {
            return Ok(());
        }
        let first = self.first_columns();
        let late: Vec<usize> = self.scan.projection.iter().copied().filter(|c| !first.contains(c)).collect();
        let config = self.context.session_config();
        let most = config.batch_size().max(1);
        let want = ReadRequest {
            rows,
            candidates,
            threads: self.threads,
            served: self.served,
            filter: Some(Arc::clone(&self.filter)),
            notes: config.get_extension::<RunNotes>(),
            counters: Some(self.counters.clone()),
            memory: Some(Arc::clone(self.context.memory_pool())),
            ..ReadRequest::columns(first.clone(), sink)
        };
        let rows = Arc::clone(&self.scan.rows);
        rows.read(&want, &mut |batch| {
            let batch = self.filter.apply(&first, batch)?;
            for start in (0..batch.num_rows()).step_by(most) {
                let part = batch.slice(start, most.min(batch.num_rows() - start).min(self.left));
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

    /// Columns read for every row: those of the filter and the row number where the others can
    /// follow later; else all.
    fn first_columns(&self) -> Vec<usize> {
        let filtered = self.filter.columns();
        let row = self.scan.rows.by_number().and_then(|_| self.scan.rows.row_column());
        match (filtered.is_empty(), row) {
            (false, Some(row)) => distinct(filtered.iter().copied().chain([row])),
            _ => distinct(filtered.iter().chain(&self.scan.projection).copied()),
        }
    }

    /// The result's columns of rows that passed.
    fn complete(&self, first: &[usize], late: &[usize], part: RecordBatch) -> Result<RecordBatch, SqlError> {
        let RowsExec { rows, projection, .. } = &self.scan;
        let mut later = None;
        if !late.is_empty() {
            let numbers = rows.row_column().and_then(|c| first.iter().position(|f| *f == c));
            let numbers = numbers.and_then(|c| part.column(c).as_primitive_opt::<UInt64Type>());
            if let (Some(numbers), Some(by_number)) = (numbers, rows.by_number()) {
                later = Some(by_number.fetch(numbers.values(), late)?);
            }
        }
        let schema = self.scan.schema();
        let mut columns = Vec::with_capacity(projection.len());
        for column in projection {
            let from_first = first.iter().position(|f| f == column).map(|i| part.column(i));
            let from_later =
                || late.iter().position(|l| l == column).zip(later.as_ref()).map(|(i, b)| b.column(i));
            let values = from_first.or_else(from_later).ok_or_else(|| missing_column(&schema))?;
            columns.push(Arc::clone(values));
        }
        Ok(batch_of(schema, columns, part.num_rows())?)
    }
}

fn missing_column(schema: &SchemaRef) -> SqlError {
    SqlError::new(SqlErrorKind::Failed, format!("a column was not read; wanted {schema}"))
}
