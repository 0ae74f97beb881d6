//! Inputs of joins in portions of few rows, between which the join yields.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::{StreamExt, stream};

use crate::error::SqlError;

/// Pairs that a nested loop compares between two turns of other tasks: about 10 ms.
const PAIRS: usize = 1 << 20;

/// Rows of the read side of a join by keys between two turns: few pairs where keys differ. Where very many
/// rows have one key, a turn takes longer.
const KEYED_ROWS: usize = 256;

/// What an input is to its join. Portions depend on rows alone and not on time, so that the order of the
/// pairs is the same in each run.
#[derive(Debug, Clone)]
pub(super) enum JoinSide {
    /// Held by a nested loop, and counted.
    Held(Arc<AtomicUsize>),
    /// Each row is compared with all of those that are held.
    AgainstAll(Arc<AtomicUsize>),
    /// Each row is compared with the held ones of its key.
    ByKey,
}

/// An input of a join in portions.
#[derive(Debug)]
pub(super) struct PortionsExec {
    input: Arc<dyn ExecutionPlan>,
    side: JoinSide,
}

impl PortionsExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, side: JoinSide) -> Self {
        Self { input, side }
    }
}

impl DisplayAs for PortionsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PortionsExec")
    }
}

impl ExecutionPlan for PortionsExec {
    fn name(&self) -> &str {
        "PortionsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self::new(input, self.side.clone()))),
            Err(_) => Err(SqlError::internal("an operator with one input has another number").into()),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let schema = input.schema();
        let most: Box<dyn Fn() -> usize + Send> = match &self.side {
            JoinSide::Held(held) => {
                held.store(0, Ordering::Relaxed);
                let held = Arc::clone(held);
                let counted = input.inspect(move |batch| {
                    let rows = batch.as_ref().map_or(0, RecordBatch::num_rows);
                    held.fetch_add(rows, Ordering::Relaxed);
                });
                return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, counted)));
            }
            JoinSide::AgainstAll(held) => {
                let held = Arc::clone(held);
                Box::new(move || (PAIRS / held.load(Ordering::Relaxed).max(1)).max(1))
            }
            JoinSide::ByKey => Box::new(|| KEYED_ROWS),
        };
        let portions = input.flat_map(move |batch| {
            let portions: Vec<Result<RecordBatch>> = match batch {
                Ok(batch) => portions(&batch, most()).map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            stream::iter(portions)
        });
        let yielding = portions.then(|portion| async {
            tokio::task::yield_now().await;
            portion
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, yielding)))
    }
}

/// A batch in parts of some rows, which share its memory.
pub(crate) fn portions(batch: &RecordBatch, most: usize) -> impl Iterator<Item = RecordBatch> + '_ {
    (0..batch.num_rows()).step_by(most).map(move |at| batch.slice(at, most.min(batch.num_rows() - at)))
}
