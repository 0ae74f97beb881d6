//! The engine's rule for `GROUP BY k ORDER BY max(x) DESC LIMIT n`, which keeps n groups at a time, but where
//! that would lose groups that are wanted.
//!
//! The rule takes a floating-point NaN for no worse than any number, and fails where it is a key; and it goes
//! below windows, which see all groups (apache/datafusion#25066). The rule for `DISTINCT` with a limit stops
//! at any n groups, and plans before it is known whether these come in an order: where they do, the n is
//! taken for that of a sort, and the statement fails (apache/datafusion#25350).

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::topk_aggregation::TopKAggregation;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};

pub(super) fn optimize(
    plan: Arc<dyn ExecutionPlan>,
    options: &ConfigOptions,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    TopKAggregation::new().optimize(plan, options)?.transform_up(with_wanted_groups).data()
}

fn with_wanted_groups(node: Arc<dyn ExecutionPlan>) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
    if node.is::<WindowAggExec>() || node.is::<BoundedWindowAggExec>() {
        return node.transform_down(not_best_of_window);
    }
    let Some(groups) = node.downcast_ref::<AggregateExec>() else { return Ok(Transformed::no(node)) };
    let is_float = || groups.schema().fields().iter().any(|field| field.data_type().is_floating());
    let fails = match groups.limit_options() {
        Some(limit) if limit.descending().is_some() => is_float(),
        Some(_) => !groups.is_unordered_unfiltered_group_by_distinct(),
        None => false,
    };
    Ok(if fails { with_all_groups(groups) } else { Transformed::no(node) })
}

/// Has all groups kept for a window, down to sorts below it that want few rows themselves.
fn not_best_of_window(node: Arc<dyn ExecutionPlan>) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
    if node.is::<SortExec>() && node.fetch().is_some() {
        return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
    }
    let Some(groups) = node.downcast_ref::<AggregateExec>() else { return Ok(Transformed::no(node)) };
    let is_best = groups.limit_options().is_some_and(|limit| limit.descending().is_some());
    Ok(if is_best { with_all_groups(groups) } else { Transformed::no(node) })
}

fn with_all_groups(groups: &AggregateExec) -> Transformed<Arc<dyn ExecutionPlan>> {
    Transformed::yes(Arc::new(groups.with_new_limit_options(None)))
}
