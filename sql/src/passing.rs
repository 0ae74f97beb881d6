//! Operators that pass the batches of one input on: checked, counted, numbered or cut into fewer
//! rows.

use std::fmt;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::filter_pushdown::{FilterDescription, FilterPushdownPhase};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};

use crate::error::SqlError;

/// What such an operator does. The rows and their order stay.
pub(crate) trait Passage: fmt::Debug + Clone + Send + Sync + 'static {
    /// Name of the operator in plans.
    const NAME: &'static str;
    /// Whether the engine may take the order of the input for that of the result.
    const KEEPS_ORDER: bool = true;
    /// Whether filters of what is above may be applied below: all rows are passed on as they are.
    const KEEPS_ROWS: bool = false;

    /// The operator's properties: the input's where the columns stay.
    fn properties(input: &Arc<PlanProperties>) -> Result<Arc<PlanProperties>> {
        Ok(Arc::clone(input))
    }

    /// The batches of the input as they are passed on, with columns of this `schema`; as they are where only what
    /// the engine knows of them is another.
    fn pass(
        &self,
        input: SendableRecordBatchStream,
        _schema: SchemaRef,
        _context: &TaskContext,
    ) -> SendableRecordBatchStream {
        input
    }
}

/// An operator with one input.
#[derive(Debug)]
pub(crate) struct PassageExec<P> {
    input: Arc<dyn ExecutionPlan>,
    passage: P,
    properties: Arc<PlanProperties>,
}

impl<P: Passage> PassageExec<P> {
    pub(crate) fn above(input: Arc<dyn ExecutionPlan>, passage: P) -> Result<Arc<dyn ExecutionPlan>> {
        let properties = P::properties(input.properties())?;
        Ok(Arc::new(Self { input, passage, properties }))
    }
}

impl<P: Passage> DisplayAs for PassageExec<P> {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(P::NAME)
    }
}

impl<P: Passage> ExecutionPlan for PassageExec<P> {
    fn name(&self) -> &str {
        P::NAME
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![P::KEEPS_ORDER]
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
            Ok([input]) => Self::above(input, self.passage.clone()),
            Err(_) => Err(SqlError::internal("an operator with one input has another number").into()),
        }
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        match P::KEEPS_ROWS {
            true => FilterDescription::from_children(filters, &self.children()),
            false => Ok(FilterDescription::all_unsupported(&filters, &self.children())),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        Ok(self.passage.pass(input, self.schema(), &context))
    }
}
