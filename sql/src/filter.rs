//! Predicates that a leaf applies itself.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_schema::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{ColumnarValue, Expr, Operator, TableProviderFilterPushDown};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr, Literal};
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::scalar::ScalarValue;
use gstore_functions::with_plain_columns;

use super::distinct::distinct;
use super::error::SqlError;

/// A leaf applies every predicate that gives the same answer each time it is asked, but for functions of each
/// element, which know their columns by the places that these have in one schema.
pub(crate) fn support(filter: &Expr) -> TableProviderFilterPushDown {
    let of_elements = filter.exists(|part| Ok(matches!(part, Expr::HigherOrderFunction(_)))).unwrap_or(true);
    match filter.is_volatile() || of_elements {
        true => TableProviderFilterPushDown::Unsupported,
        false => TableProviderFilterPushDown::Exact,
    }
}

/// The predicates over the columns of `schema`, ready to be evaluated.
pub(crate) fn physical(
    session: &dyn Session,
    schema: &SchemaRef,
    filters: &[Expr],
) -> DfResult<Vec<Arc<dyn PhysicalExpr>>> {
    let schema = DFSchema::try_from(schema.as_ref().clone())?;
    let physical = |f: &Expr| session.create_physical_expr(with_plain_columns(f.clone())?, &schema);
    filters.iter().map(physical).collect()
}

/// Writes predicates behind this word, if there are any.
pub(crate) fn display(
    word: &str,
    filters: &[Arc<dyn PhysicalExpr>],
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    if filters.is_empty() {
        return Ok(());
    }
    let text: Vec<String> = filters.iter().map(ToString::to_string).collect();
    write!(f, ", {word}=[{}]", text.join(" AND "))
}

/// Indexes of the columns that a predicate reads, ascending.
pub(crate) fn columns_of(expr: &Arc<dyn PhysicalExpr>) -> Vec<usize> {
    distinct(collect_columns(expr).iter().map(Column::index))
}

/// A conjunction over some columns of a table.
#[derive(Debug)]
pub(crate) struct Filter {
    schema: SchemaRef,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    columns: Vec<usize>,
}

impl Filter {
    /// Predicates whose columns are indexes into `schema`.
    pub(crate) fn new(schema: &SchemaRef, exprs: &[Arc<dyn PhysicalExpr>]) -> DfResult<Self> {
        let columns = distinct(exprs.iter().flat_map(columns_of));
        Ok(Self { schema: Arc::clone(schema), exprs: exprs.to_vec(), columns })
    }

    /// The row numbers that can pass.
    pub(crate) fn row_bounds(&self, row_column: usize) -> Range<u64> {
        row_bounds(&self.exprs, row_column)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.exprs.is_empty()
    }

    /// Columns a batch must have to be filtered.
    pub(crate) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Whether a condition over these columns alone drops every row in which they have the values of
    /// `row`, a batch of one.
    pub(crate) fn drops(&self, have: &[usize], row: &RecordBatch) -> Result<bool, SqlError> {
        for expr in &self.exprs {
            if columns_of(expr).iter().all(|c| have.contains(c)) {
                let passed = self.evaluate(expr, have, row)?;
                if passed.true_count() == 0 {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Rows of a batch that pass; `have` says which columns of the table the batch has.
    pub(crate) fn apply(&self, have: &[usize], batch: RecordBatch) -> Result<RecordBatch, SqlError> {
        match self.mask(have, &batch)? {
            Some(mask) => keep(&batch, &mask),
            None => Ok(batch),
        }
    }

    /// Which rows pass; `None` when all do.
    pub(crate) fn mask(&self, have: &[usize], batch: &RecordBatch) -> Result<Option<BooleanArray>, SqlError> {
        let mut all: Option<BooleanArray> = None;
        for expr in &self.exprs {
            let passed = self.evaluate(expr, have, batch)?;
            all = Some(match all {
                Some(before) => datafusion::arrow::compute::and(&before, &passed)?,
                None => passed,
            });
        }
        Ok(all)
    }

    fn evaluate(
        &self,
        expr: &Arc<dyn PhysicalExpr>,
        have: &[usize],
        batch: &RecordBatch,
    ) -> DfResult<BooleanArray> {
        let schema = self.schema.project(have)?;
        let value = reassign_expr_columns(Arc::clone(expr), &schema)?.evaluate(batch)?;
        Ok(match value {
            ColumnarValue::Scalar(ScalarValue::Boolean(passed)) => {
                BooleanArray::from(vec![passed.unwrap_or(false); batch.num_rows()])
            }
            other => {
                let values = other.into_array(batch.num_rows())?;
                let Some(values) = values.as_boolean_opt() else {
                    return Err(SqlError::internal("a condition is not true or false").into());
                };
                match values.null_count() {
                    0 => values.clone(),
                    _ => datafusion::arrow::compute::prep_null_mask_filter(values),
                }
            }
        })
    }
}

/// The row numbers that can pass, from comparisons of the row column with constants.
pub(crate) fn row_bounds(filters: &[Arc<dyn PhysicalExpr>], row_column: usize) -> Range<u64> {
    let mut bounds = 0..u64::MAX;
    for filter in filters {
        if let Some(range) = bounds_of(filter, row_column) {
            bounds = bounds.start.max(range.start)..bounds.end.min(range.end);
        }
    }
    bounds
}

fn bounds_of(filter: &Arc<dyn PhysicalExpr>, row_column: usize) -> Option<Range<u64>> {
    let is_row =
        |e: &Arc<dyn PhysicalExpr>| e.downcast_ref::<Column>().is_some_and(|c| c.index() == row_column);
    if let Some(list) = filter.downcast_ref::<InListExpr>() {
        if list.negated() || !is_row(list.expr()) {
            return None;
        }
        let rows: Vec<u64> = list.list().iter().map(number).collect::<Option<_>>()?;
        return Some(*rows.iter().min()?..rows.iter().max()?.saturating_add(1));
    }
    let binary = filter.downcast_ref::<BinaryExpr>()?;
    let both = || Some((bounds_of(binary.left(), row_column)?, bounds_of(binary.right(), row_column)?));
    match binary.op() {
        // A short IN list arrives as a chain of these.
        Operator::Or => return both().map(|(a, b)| a.start.min(b.start)..a.end.max(b.end)),
        Operator::And => return both().map(|(a, b)| a.start.max(b.start)..a.end.min(b.end)),
        _ => {}
    }
    let (op, value) = if is_row(binary.left()) {
        (*binary.op(), number(binary.right())?)
    } else if is_row(binary.right()) {
        (binary.op().swap()?, number(binary.left())?)
    } else {
        return None;
    };
    match op {
        Operator::Eq => Some(value..value.saturating_add(1)),
        Operator::Gt => Some(value.saturating_add(1)..u64::MAX),
        Operator::GtEq => Some(value..u64::MAX),
        Operator::Lt => Some(0..value),
        Operator::LtEq => Some(0..value.saturating_add(1)),
        _ => None,
    }
}

fn number(expr: &Arc<dyn PhysicalExpr>) -> Option<u64> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::UInt64(n) => *n,
        _ => None,
    }
}

/// Rows of a batch for which the mask says true; null counts as false.
pub(crate) fn keep(batch: &RecordBatch, mask: &BooleanArray) -> Result<RecordBatch, SqlError> {
    match mask.true_count() == mask.len() {
        true => Ok(batch.clone()),
        false => Ok(datafusion::arrow::compute::filter_record_batch(batch, mask)?),
    }
}
