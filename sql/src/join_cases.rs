//! Projections pushed down as the engine does it, but no part of a condition that has `CASE` in it: of a join
//! without keys the engine would compute what names columns of one side for all rows of that side, also for
//! those of which `CASE` takes another branch.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::CaseExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::projection::remove_unnecessary_projections;

/// The engine's rule, which also has this one's place and name.
#[derive(Debug)]
pub(super) struct JoinCases;

impl PhysicalOptimizerRule for JoinCases {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        match plan.exists(has_branches)? {
            true => plan.transform_down(remove_unnecessary_projections).data(),
            false => ProjectionPushdown::new().optimize(plan, options),
        }
    }

    fn name(&self) -> &str {
        "ProjectionPushdown"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn has_branches(node: &Arc<dyn ExecutionPlan>) -> DfResult<bool> {
    let filter = node.downcast_ref::<NestedLoopJoinExec>().and_then(NestedLoopJoinExec::filter);
    filter.map_or(Ok(false), |filter| filter.expression().exists(is_case))
}

fn is_case(part: &Arc<dyn PhysicalExpr>) -> DfResult<bool> {
    Ok(part.downcast_ref::<CaseExpr>().is_some())
}
