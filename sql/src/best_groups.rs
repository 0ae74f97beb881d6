//! The engine's rule for `GROUP BY k ORDER BY max(x) DESC LIMIT n`, which keeps n groups at a time, but for
//! floating-point numbers: there it takes a NaN for no worse than any number, and fails where it is a key.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::topk_aggregation::TopKAggregation;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;

#[derive(Debug)]
pub(super) struct BestGroups;

impl PhysicalOptimizerRule for BestGroups {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        TopKAggregation::new().optimize(plan, options)?.transform_up(with_all_groups).data()
    }

    fn name(&self) -> &str {
        "LimitAggregation"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Has the groups of floating-point numbers kept until they are sorted.
fn with_all_groups(node: Arc<dyn ExecutionPlan>) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(groups) = node.downcast_ref::<AggregateExec>() else { return Ok(Transformed::no(node)) };
    let is_best = groups.limit_options().is_some_and(|limit| limit.descending().is_some());
    if !is_best || !groups.schema().fields().iter().any(|field| field.data_type().is_floating()) {
        return Ok(Transformed::no(node));
    }
    Ok(Transformed::yes(Arc::new(groups.with_new_limit_options(None))))
}
