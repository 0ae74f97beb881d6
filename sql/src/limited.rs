//! The engine's rule that distributes and sorts rows where that is needed, but with each `LIMIT` planned apart,
//! and what sorts the rows that it chooses from.
//!
//! Without that, the engine would move a sort from above a limit to below it, where it changes which rows there
//! are, and with an `OFFSET` how many; it would forget the limit of a sort that what is below makes
//! unnecessary; and it would leave out a sort below an `OFFSET` if the columns of its keys do not reach that.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Statistics;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::ensure_requirements::EnsureRequirements;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};

/// Plans what a limit chooses from without regard to what is above.
#[derive(Debug)]
pub(super) struct LimitedApart;

impl PhysicalOptimizerRule for LimitedApart {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        planned(plan.transform_up(|node| limit_apart(node, options)).data()?, options)
    }

    fn name(&self) -> &str {
        "EnsureRequirements"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A plan with leaves, as the engine's rule makes it, and what the leaves stand for.
fn planned(plan: Arc<dyn ExecutionPlan>, options: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
    let first = plan.downcast_ref::<SortExec>().and_then(|sort| Some((sort.fetch()?, sort.expr().clone())));
    let plan = EnsureRequirements::new().optimize(plan, options)?;
    let plan = plan.transform_up(restored).data()?;
    Ok(match first {
        Some((rows, order)) => with_first(plan, rows, order),
        None => plan,
    })
}

/// A limit, also that of a sort, as a leaf.
fn limit_apart(
    node: Arc<dyn ExecutionPlan>,
    options: &ConfigOptions,
) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
    let limit = match node.downcast_ref::<SortExec>() {
        Some(sort) if sort.fetch().is_some() => node,
        None if node.is::<GlobalLimitExec>() => sort_apart(node, options)?,
        _ => return Ok(Transformed::no(node)),
    };
    Ok(Transformed::yes(Arc::new(PlannedPart(planned(limit, options)?))))
}

/// A limit with what sorts its rows as a leaf.
fn sort_apart(limit: Arc<dyn ExecutionPlan>, options: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
    let mut above: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
    let mut node = limit;
    while let ([child], [true]) = (&node.children()[..], &node.maintains_input_order()[..]) {
        let child = Arc::clone(child);
        above.push(std::mem::replace(&mut node, child));
    }
    if node.is::<SortExec>() {
        node = Arc::new(PlannedPart(planned(node, options)?));
    }
    above.into_iter().rev().try_fold(node, |below, node| replace_children_if_necessary(node, vec![below]))
}

/// The first rows of a plan in this order, which it has or has been given.
fn with_first(plan: Arc<dyn ExecutionPlan>, rows: usize, order: LexOrdering) -> Arc<dyn ExecutionPlan> {
    if plan.fetch().is_some_and(|fetch| fetch <= rows) {
        return plan;
    }
    if plan.output_partitioning().partition_count() > 1 {
        return Arc::new(SortPreservingMergeExec::new(order, plan).with_fetch(Some(rows)));
    }
    let mut limit = GlobalLimitExec::new(plan, 0, Some(rows));
    limit.set_required_ordering(Some(order));
    Arc::new(limit)
}

/// What a leaf stands for in place of the leaf.
fn restored(node: Arc<dyn ExecutionPlan>) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
    Ok(match node.downcast_ref::<PlannedPart>() {
        Some(PlannedPart(part)) => Transformed::yes(Arc::clone(part)),
        None => Transformed::no(node),
    })
}

/// A part of a plan that is planned, as a leaf of the rest.
#[derive(Debug)]
struct PlannedPart(Arc<dyn ExecutionPlan>);

impl DisplayAs for PlannedPart {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_as(kind, f)
    }
}

impl ExecutionPlan for PlannedPart {
    fn name(&self) -> &str {
        "PlannedPart"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.0.properties()
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

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> DfResult<Arc<Statistics>> {
        StatisticsContext::new().compute(self.0.as_ref(), args)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        Err(DataFusionError::Internal("a leaf for planning is not executed".to_owned()))
    }
}
