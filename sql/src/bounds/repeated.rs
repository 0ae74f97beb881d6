//! Limits on wide values that joins, `unnest`, scalar subqueries and windows repeat for many rows.
//!
//! The engine copies a value into each row that it stands in, and counts batches by rows: one document of a
//! megabyte, joined with a table, makes batches of gigabytes.
//!
//! Invariants
//! - a statement that may repeat values of any length has batches of few rows from its leaves on
//! - a server refuses a row that would be too wide even for those, before it is repeated
//! - what a nested loop holds of larger batches has memory of its own, as it counts all that a batch keeps
//! - one row with a long list is refused before `unnest` repeats what stands by the list

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch, UInt64Array};
use arrow_schema::{DataType, Schema, SchemaRef};
use arrow_select::take::take_record_batch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::{CrossJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, WindowExpr};
use futures::{StreamExt, stream};

use super::MAX_REPEATED;
use super::sizes;
use crate::cooperative::portions;
use crate::distinct::distinct;
use crate::error::SqlError;
use crate::passing::{Passage, PassageExec};

/// Rows of a batch that repeats values of any length, where the session's owner asks.
const OWN_ROWS: usize = 1024;
/// The same on a server.
const SERVED_ROWS: usize = 64;

/// Who asks, and what the session may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionBounds {
    /// Whether others ask than the session's owner.
    pub(crate) served: bool,
    /// Bytes that a session may hold.
    pub(crate) memory: u64,
}

/// The plan with limits below what repeats values, and the rows of its batches if they are fewer than the
/// engine's.
pub(crate) fn limit_repetition(
    plan: Arc<dyn ExecutionPlan>,
    asking: SessionBounds,
) -> DfResult<(Arc<dyn ExecutionPlan>, Option<usize>)> {
    let mut rows: Option<usize> = None;
    let plan = plan
        .transform_up(|node| {
            let Some(repeats) = Repeats::of(&node, asking) else { return Ok(Transformed::no(node)) };
            let children: Vec<_> = node.children().into_iter().cloned().collect();
            for child in &children {
                let most = rows_at_once(&child.schema(), asking);
                rows = rows.map_or(most, |rows| Some(most.map_or(rows, |most| most.min(rows))));
            }
            let loops = is_nested_loop(&node);
            let limit = |(place, child): (usize, Arc<dyn ExecutionPlan>)| {
                PassageExec::above(child, Repeats { held: loops && place == 0, ..repeats.clone() })
            };
            let limited = children.into_iter().enumerate().map(limit).collect::<DfResult<_>>()?;
            Ok(Transformed::yes(replace_children_if_necessary(node, limited)?))
        })
        .data()?;
    if rows.is_none() {
        return Ok((plan, None));
    }
    // Some leaves know no size of batches, and a scalar subquery stands in any operator above one.
    let plan = plan.transform_up(|node| {
        Ok(match node.children().is_empty() {
            true => Transformed::yes(PassageExec::above(node, Repeats::default())?),
            false => Transformed::no(node),
        })
    });
    Ok((plan.data()?, rows))
}

/// Whether an operator is a join that holds its first input and counts each batch of it by itself. Joins by
/// keys count memory that batches share once.
fn is_nested_loop(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.downcast_ref::<CrossJoinExec>().is_some() || node.downcast_ref::<NestedLoopJoinExec>().is_some()
}

/// Rows of which repeated values stay small; `None` for as many as the engine takes.
fn rows_at_once(schema: &Schema, asking: SessionBounds) -> Option<usize> {
    let mut fixed = 0u64;
    for field in schema.fields() {
        match fixed_width(field.data_type()) {
            Some(width) => fixed = fixed.saturating_add(width),
            None => return Some(if asking.served { SERVED_ROWS } else { OWN_ROWS }),
        }
    }
    let rows = usize::try_from(MAX_REPEATED / fixed.max(1)).unwrap_or(usize::MAX).max(1);
    (rows < OWN_ROWS * 8).then_some(rows)
}

/// Bytes of every value of a type; `None` where values have their own lengths.
pub(super) fn fixed_width(ty: &DataType) -> Option<u64> {
    match ty {
        DataType::Boolean | DataType::Null => Some(1),
        DataType::FixedSizeBinary(n) => u64::try_from(*n).ok(),
        DataType::FixedSizeList(element, n) => {
            Some(fixed_width(element.data_type())?.saturating_mul(u64::try_from(*n).ok()?))
        }
        DataType::Struct(fields) => {
            fields.iter().try_fold(0u64, |sum, f| Some(sum.saturating_add(fixed_width(f.data_type())?)))
        }
        DataType::Dictionary(key, _) => fixed_width(key),
        other => other.primitive_width().map(|width| width as u64),
    }
}

/// How an operator repeats the values of its input.
#[derive(Debug, Clone, Default)]
struct Repeats {
    /// Most bytes of a row.
    row: Option<u64>,
    /// The columns of lists that become rows, and how many levels of them do.
    lists: Vec<(usize, usize)>,
    /// The columns that a window may repeat for all rows, and the bytes that they may have then.
    window: Option<(Vec<usize>, u64)>,
    /// Whether it holds the input, and counts each batch with all that it keeps in memory.
    held: bool,
}

impl Repeats {
    /// `None` for an operator that repeats nothing.
    fn of(node: &Arc<dyn ExecutionPlan>, asking: SessionBounds) -> Option<Self> {
        let row = asking.served.then_some(MAX_REPEATED / SERVED_ROWS as u64);
        if let Some(unnest) = node.downcast_ref::<UnnestExec>() {
            let lists = unnest.list_column_indices().iter();
            let lists = lists.map(|list| (list.index_in_input_schema, list.depth)).collect();
            return Some(Self { row, lists, ..Self::default() });
        }
        if let Some(windows) = windows_of(node) {
            let columns = widening(windows);
            let window = (asking.served && !columns.is_empty()).then_some((columns, asking.memory));
            return window.map(|window| Self { window: Some(window), ..Self::default() });
        }
        let name = node.name();
        (name.ends_with("JoinExec") || name == "ScalarSubqueryExec").then(|| Self { row, ..Self::default() })
    }
}

pub(crate) fn windows_of(node: &Arc<dyn ExecutionPlan>) -> Option<&[Arc<dyn WindowExpr>]> {
    let windows = node.downcast_ref::<WindowAggExec>().map(WindowAggExec::window_expr);
    windows.or_else(|| node.downcast_ref::<BoundedWindowAggExec>().map(|node| node.window_expr()))
}

/// The columns of which windows make values of any length.
fn widening(windows: &[Arc<dyn WindowExpr>]) -> Vec<usize> {
    let wide = windows
        .iter()
        .filter(|window| window.field().is_ok_and(|field| fixed_width(field.data_type()).is_none()));
    let columns = wide.flat_map(|window| window.expressions());
    let columns = columns.flat_map(|expr: Arc<dyn PhysicalExpr>| collect_columns(&expr));
    distinct(columns.map(|column| column.index()))
}

/// An operator's input in batches of few rows, of which none is too wide to be repeated.
impl Passage for Repeats {
    const NAME: &'static str = "WideExec";

    fn pass(
        &self,
        input: SendableRecordBatchStream,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> SendableRecordBatchStream {
        let most = context.session_config().batch_size().max(1);
        let mut seen = InputStatistics { repeats: self.clone(), rows: 0, widest: 0 };
        let held = self.held;
        let narrow = input.flat_map(move |batch| {
            let portions: Vec<DfResult<RecordBatch>> = match batch {
                Ok(batch) => match seen.check(&batch) {
                    Ok(sizes) if held => {
                        let own =
                            sizes.chunks(most).map(|rows| rows.iter().copied().fold(0, u64::saturating_add));
                        let kept = portions(&batch, most).zip(own);
                        kept.map(|(portion, own)| with_own_memory(portion, own)).collect()
                    }
                    Ok(_) => portions(&batch, most).map(Ok).collect(),
                    Err(error) => vec![Err(error.into())],
                },
                Err(error) => vec![Err(error)],
            };
            stream::iter(portions)
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, narrow))
    }
}

/// The rows in memory of their own, if they are a small part of what the batch keeps; `own`: their bytes.
fn with_own_memory(batch: RecordBatch, own: u64) -> DfResult<RecordBatch> {
    if batch.get_array_memory_size() as u64 <= own.saturating_mul(2) {
        return Ok(batch);
    }
    let rows = UInt64Array::from_iter_values(0..batch.num_rows() as u64);
    let taken = take_record_batch(&batch, &rows)?;
    // Views of taken values still keep all values of the batch.
    let columns = taken.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => Arc::clone(column),
    });
    Ok(RecordBatch::try_new(taken.schema(), columns.collect())?)
}

/// What went through so far.
struct InputStatistics {
    repeats: Repeats,
    rows: u64,
    widest: u64,
}

impl InputStatistics {
    /// Refuses rows that are too wide. Returns the bytes of each, where they are limited or held.
    fn check(&mut self, batch: &RecordBatch) -> Result<Vec<u64>, SqlError> {
        let Repeats { row, lists, window, held } = &self.repeats;
        let all: Vec<usize> = (0..batch.num_columns()).collect();
        let wide = |columns: &[usize]| {
            let mut sums = vec![0u64; batch.num_rows()];
            for column in columns.iter().filter_map(|column| batch.columns().get(*column)) {
                for (sum, bytes) in sums.iter_mut().zip(sizes::value_bytes(column)) {
                    *sum = sum.saturating_add(bytes);
                }
            }
            sums
        };
        let rows = if row.is_some() || *held { wide(&all) } else { Vec::new() };
        if let Some(most) = *row
            && let Some(bytes) = rows.iter().find(|bytes| **bytes > most)
        {
            return Err(too_wide(&format!(
                "a row of {bytes} bytes would be repeated, more than {} MiB",
                most >> 20
            )));
        }
        if !lists.is_empty() {
            let is_list = |column: &usize| lists.iter().any(|(list, _)| list == column);
            let others: Vec<usize> = all.into_iter().filter(|column| !is_list(column)).collect();
            let mut longest = vec![0u64; batch.num_rows()];
            for (column, depth) in lists {
                let Some(list) = batch.columns().get(*column) else { continue };
                let elements = if *depth == 1 { sizes::lengths(list) } else { sizes::element_counts(list) };
                longest.iter_mut().zip(elements).for_each(|(most, n)| *most = n.max(*most));
            }
            let made = wide(&others).into_iter().zip(longest).map(|(bytes, n)| bytes.saturating_mul(n));
            if let Some(bytes) = made.into_iter().find(|bytes| *bytes > MAX_REPEATED) {
                return Err(too_wide(&format!("unnest would make {bytes} bytes of one row")));
            }
        }
        if let Some((columns, memory)) = window {
            self.rows = self.rows.saturating_add(batch.num_rows() as u64);
            self.widest = wide(columns).into_iter().fold(self.widest, u64::max);
            let bytes = self.rows.saturating_mul(self.widest);
            if bytes > *memory {
                return Err(too_wide(&format!("a window would make up to {bytes} bytes")));
            }
        }
        Ok(rows)
    }
}

fn too_wide(why: &str) -> SqlError {
    SqlError::refused(why.to_owned()).hint("select wide columns by their rows, in a statement of their own")
}

#[cfg(test)]
mod tests {
    use arrow_array::StringArray;
    use arrow_schema::Field;

    use super::*;

    fn rows(ty: DataType, served: bool) -> Option<usize> {
        let schema = Schema::new(vec![Field::new("a", DataType::UInt64, false), Field::new("b", ty, true)]);
        rows_at_once(&schema, SessionBounds { served, memory: 1 << 30 })
    }

    #[test]
    fn wide_and_growing_columns_make_small_batches() {
        let vector = |n| DataType::new_fixed_size_list(DataType::Float32, n, false);
        assert_eq!(rows(DataType::Float64, true), None);
        assert_eq!(rows(vector(4096), true), None);
        assert_eq!(rows(vector(65_536), true), Some(1023));
        assert_eq!(rows(DataType::Utf8, true), Some(SERVED_ROWS));
        assert_eq!(rows(DataType::Utf8, false), Some(OWN_ROWS));
    }

    #[test]
    fn parts_of_a_batch_that_are_held_do_not_keep_it() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1000); 1000]));
        let batch = RecordBatch::try_from_iter([("a", texts)]).unwrap();
        let repeats = Repeats { held: true, ..Repeats::default() };
        let sizes = InputStatistics { repeats, rows: 0, widest: 0 }.check(&batch).unwrap();
        assert_eq!(sizes, vec![1000; 1000]);
        let whole = with_own_memory(batch.clone(), 1_000_000).unwrap();
        assert!(Arc::ptr_eq(whole.column(0), batch.column(0)));
        let parts: Vec<_> = portions(&batch, 10).map(|part| with_own_memory(part, 10_000).unwrap()).collect();
        let bytes: usize = parts.iter().map(RecordBatch::get_array_memory_size).sum();
        assert!(parts.len() == 100 && bytes < 2 * batch.get_array_memory_size(), "{bytes}");
        assert_eq!(parts[7], batch.slice(70, 10));
    }
}
