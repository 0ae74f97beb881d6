//! Memory of windows: the rows that an operator holds until no frame reaches them any more.
//!
//! The engine counts none of it. What is counted here is as far as the frames say: an operator that looks at whole
//! partitions holds all rows, and one whose frames move holds those between the ends of the longest. Rows with
//! equal keys of the order, and frames by values, are not foreseen.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::window::StandardWindowExpr;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, WindowExpr};
use futures::StreamExt;

use super::repeated::{fixed_width, windows_of};
use super::sizes;
use crate::passing::{Passage, PassageExec};

/// The plan, in which the rows that windows hold take memory of the statement.
pub(crate) fn count_windows(plan: Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let Some(held) = HeldRows::of(&node) else { return Ok(Transformed::no(node)) };
        let children = node.children().into_iter().cloned();
        let counted =
            children.map(|child| PassageExec::above(child, held.clone())).collect::<DfResult<_>>()?;
        Ok(Transformed::yes(replace_children_if_necessary(node, counted)?))
    })
    .data()
}

/// The input of an operator with windows, which holds so many of the last rows.
#[derive(Debug, Clone)]
struct HeldRows {
    last: usize,
}

impl HeldRows {
    /// `None` for an operator without windows, and for one that looks at the current row alone.
    fn of(node: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        let windows = windows_of(node)?;
        let last = match node.downcast_ref::<WindowAggExec>() {
            Some(_) => usize::MAX,
            None => windows.iter().map(reach).max()?,
        };
        (last > 0).then_some(Self { last })
    }
}

/// How many rows are between the ends of a frame that moves with the rows.
fn reach(window: &Arc<dyn WindowExpr>) -> usize {
    // As of a row in the middle of very many.
    const ROW: usize = usize::MAX / 2;
    let standard = window.as_any().downcast_ref::<StandardWindowExpr>();
    let own = standard.and_then(|window| window.get_standard_func_expr().create_evaluator().ok());
    // Functions such as `lag` look at other rows than those of the frame.
    match own.filter(|own| !own.uses_window_frame()).and_then(|own| own.get_range(ROW, usize::MAX).ok()) {
        Some(range) => (ROW.saturating_sub(range.start)).max(range.end.saturating_sub(ROW + 1)),
        None => of_frame(window.get_window_frame()),
    }
}

fn of_frame(frame: &WindowFrame) -> usize {
    if frame.units != WindowFrameUnits::Rows {
        return 0;
    }
    let rows = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::CurrentRow => 0,
        // Without a number it is the beginning of the partition, of which a sum is kept and no rows.
        WindowFrameBound::Preceding(number) | WindowFrameBound::Following(number) => {
            number.to_string().parse::<usize>().unwrap_or(0)
        }
    };
    rows(&frame.start_bound).saturating_add(rows(&frame.end_bound))
}

impl Passage for HeldRows {
    const NAME: &'static str = "WindowInputExec";

    fn pass(
        &self,
        input: SendableRecordBatchStream,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> SendableRecordBatchStream {
        let memory = MemoryConsumer::new("windows").register(context.memory_pool());
        let mut held = HeldBatches { last: self.last, rows: 0, batches: VecDeque::new(), memory };
        // What is held is given back with the stream, which the operator keeps until its end.
        let counted = input.map(move |batch| batch.and_then(|batch| held.add(&batch).map(|()| batch)));
        Box::pin(RecordBatchStreamAdapter::new(schema, counted))
    }
}

/// The batches among which the last rows are.
struct HeldBatches {
    last: usize,
    rows: usize,
    /// Rows and bytes of each.
    batches: VecDeque<(usize, usize)>,
    memory: MemoryReservation,
}

impl HeldBatches {
    fn add(&mut self, batch: &RecordBatch) -> DfResult<()> {
        let (rows, bytes) = (batch.num_rows(), bytes_of(batch));
        self.memory.try_grow(bytes)?;
        if self.last == usize::MAX {
            return Ok(());
        }
        self.rows += rows;
        self.batches.push_back((rows, bytes));
        while let Some((rows, bytes)) = self.batches.front().copied()
            && self.rows - rows >= self.last
        {
            self.batches.pop_front();
            self.rows -= rows;
            self.memory.shrink(bytes);
        }
        Ok(())
    }
}

fn bytes_of(batch: &RecordBatch) -> usize {
    let bytes = batch.columns().iter().map(|column| match fixed_width(column.data_type()) {
        Some(width) => width.saturating_mul(batch.num_rows() as u64),
        None => sizes::value_bytes(column).into_iter().fold(0, u64::saturating_add),
    });
    usize::try_from(bytes.fold(0, u64::saturating_add)).unwrap_or(usize::MAX)
}
