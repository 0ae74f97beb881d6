//! Stable sorts: rows whose keys are equal keep the order in which they come.
//!
//! The order that the engine gives them depends on the number of threads, where they are partitioned, and on
//! how many rows are wanted: windows with `PARTITION BY` would number other rows first, and pages of one
//! result would have a row twice, or never. Elsewhere the engine's sorts stay. By one key they take half of
//! the time and less memory, and they tell a leaf which rows are no longer needed.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef, SortOptions};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties, SendableRecordBatchStream};
use futures::StreamExt;

use crate::bounds::windows_of;
use crate::passing::{Passage, PassageExec};

/// The plan with stable sorts below its windows with `PARTITION BY`, or of which all sorts are stable.
pub(super) fn stable_sorts(plan: Arc<dyn ExecutionPlan>, all: bool) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        if all {
            return stable(node);
        }
        let windows = windows_of(&node).unwrap_or_default();
        if windows.iter().all(|window| window.partition_by().is_empty()) {
            return Ok(Transformed::no(node));
        }
        let children = node.children().into_iter().map(|child| below_window(Arc::clone(child)));
        let children = children.collect::<Result<_>>()?;
        Ok(Transformed::yes(replace_children_if_necessary(node, children)?))
    })
    .data()
}

/// The input of a window, whose rows come out of one sort, or of several that are merged.
fn below_window(input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    if input.downcast_ref::<SortPreservingMergeExec>().is_none() {
        return stable(input).data();
    }
    let sorts = input.children().into_iter().map(|sort| stable(Arc::clone(sort)).data());
    let sorts = sorts.collect::<Result<_>>()?;
    replace_children_if_necessary(input, sorts)
}

/// A sort that has the number of a row as its last key; another operator as it is.
fn stable(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(sort) = node.downcast_ref::<SortExec>() else { return Ok(Transformed::no(node)) };
    let schema = sort.input().schema();
    let column = |place: usize, name: &str| Arc::new(Column::new(name, place)) as Arc<dyn PhysicalExpr>;
    let number = PhysicalSortExpr::new(column(schema.fields().len(), NUMBER), SortOptions::default());
    let Some(keys) = LexOrdering::new(sort.expr().iter().cloned().chain([number])) else {
        return Ok(Transformed::no(node));
    };
    let numbered = PassageExec::above(Arc::clone(sort.input()), RowNumbers)?;
    let sorted = SortExec::new(keys, numbered)
        .with_fetch(sort.fetch())
        .with_preserve_partitioning(sort.preserve_partitioning());
    let columns = schema.fields().iter().enumerate();
    let columns = columns.map(|(place, field)| (column(place, field.name()), field.name().clone()));
    let plan = ProjectionExec::try_new(columns, Arc::new(sorted))?;
    Ok(Transformed::yes(Arc::new(plan) as Arc<dyn ExecutionPlan>))
}

/// Name of the column of row numbers, which is dropped above the sort.
const NUMBER: &str = "number";

/// Numbers of the rows of a partition, as its last column.
#[derive(Debug, Clone)]
struct RowNumbers;

impl Passage for RowNumbers {
    const NAME: &'static str = "NumberedExec";

    fn properties(input: &Arc<PlanProperties>) -> Result<Arc<PlanProperties>> {
        let schema = input.equivalence_properties().schema();
        let number = Arc::new(Field::new(NUMBER, DataType::UInt64, false));
        let fields: Vec<_> = schema.fields().iter().cloned().chain([number]).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
        // Also which columns are constant or equal: windows have left those out of their order.
        let known = EquivalenceProperties::new(schema).extend(input.equivalence_properties().clone())?;
        let partitioning = input.output_partitioning().clone();
        Ok(Arc::new(PlanProperties::new(known, partitioning, input.emission_type, input.boundedness)))
    }

    fn pass(
        &self,
        input: SendableRecordBatchStream,
        schema: SchemaRef,
        _: &TaskContext,
    ) -> SendableRecordBatchStream {
        let mut next = 0;
        let own = Arc::clone(&schema);
        let numbered = input.map(move |batch| {
            let batch = batch?;
            let end = next + batch.num_rows() as u64;
            let numbers: ArrayRef = Arc::new(UInt64Array::from_iter_values(next..end));
            next = end;
            let columns = batch.columns().iter().cloned().chain([numbers]).collect();
            Ok(RecordBatch::try_new(Arc::clone(&own), columns)?)
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, numbered))
    }
}
