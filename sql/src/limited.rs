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
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::ensure_requirements::EnsureRequirements;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, replace_children_if_necessary};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use super::unordered::without_order;

/// Plans what a limit chooses from without regard to what is above.
pub(super) fn optimize(
    plan: Arc<dyn ExecutionPlan>,
    options: &ConfigOptions,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let apart = |node| without_order(node)?.transform_data(|node| limit_apart(node, options));
    planned(plan.transform_up(apart).data()?, options)
}

/// A plan with leaves, as the engine's rule makes it, and what the leaves stand for.
fn planned(plan: Arc<dyn ExecutionPlan>, options: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
    EnsureRequirements::new().optimize(plan, options)?.transform_up(restored).data()
}

/// The same as a leaf.
fn planned_part(plan: Arc<dyn ExecutionPlan>, options: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
    Ok(Arc::new(PlannedPart(planned(plan, options)?)))
}

/// A limit, also that of a sort, as a leaf.
fn limit_apart(
    node: Arc<dyn ExecutionPlan>,
    options: &ConfigOptions,
) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
    let limit = match node.downcast_ref::<SortExec>() {
        // The limit is not to go on to what groups or filters rows, but the sort to what computes their columns.
        Some(sort) if sort.fetch().is_some() => part_apart(node, is_of_all, has_input, options)?,
        None if node.is::<GlobalLimitExec>() => part_apart(node, is_in_order, is_sort, options)?,
        _ => return Ok(Transformed::no(node)),
    };
    Ok(Transformed::yes(planned_part(limit, options)?))
}

/// A limit with what is below it as a leaf, behind operators that the limit may go through, if it is such a
/// part.
fn part_apart(
    limit: Arc<dyn ExecutionPlan>,
    goes_through: fn(&dyn ExecutionPlan) -> bool,
    is_part: fn(&dyn ExecutionPlan) -> bool,
    options: &ConfigOptions,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let mut above: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
    let mut node = limit;
    while let [child] = &node.children()[..]
        && (above.is_empty() || goes_through(node.as_ref()))
    {
        let child = Arc::clone(child);
        above.push(std::mem::replace(&mut node, child));
    }
    if is_part(node.as_ref()) {
        node = planned_part(node, options)?;
    }
    above.into_iter().rev().try_fold(node, |below, node| replace_children_if_necessary(node, vec![below]))
}

fn is_of_all(node: &dyn ExecutionPlan) -> bool {
    matches!(node.cardinality_effect(), CardinalityEffect::Equal) && !is_sort(node)
}

fn has_input(node: &dyn ExecutionPlan) -> bool {
    !node.children().is_empty()
}

fn is_in_order(node: &dyn ExecutionPlan) -> bool {
    node.maintains_input_order() == [true]
}

fn is_sort(node: &dyn ExecutionPlan) -> bool {
    node.is::<SortExec>()
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
