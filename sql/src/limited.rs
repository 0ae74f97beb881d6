//! The engine's rule that distributes and sorts rows where that is needed, but with what is below a `LIMIT`
//! planned apart: the engine would move a sort from above a limit to below it, where it changes which rows
//! there are, and with an `OFFSET` how many.

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
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

/// Plans what a limit chooses from without regard to what is above.
#[derive(Debug)]
pub(super) struct LimitedApart;

impl PhysicalOptimizerRule for LimitedApart {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let above = plan.map_children(|child| child.transform_down(|node| self.planned(node, options)));
        let above = EnsureRequirements::new().optimize(above?.data, options)?;
        above.transform_up(restored).data()
    }

    fn name(&self) -> &str {
        "EnsureRequirements"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

impl LimitedApart {
    /// A limit as a leaf.
    fn planned(
        &self,
        node: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
        if !node.is::<GlobalLimitExec>() {
            return Ok(Transformed::no(node));
        }
        let leaf = Arc::new(PlannedLimit(self.optimize(node, options)?));
        Ok(Transformed::new(leaf, true, TreeNodeRecursion::Jump))
    }
}

/// The limit in place of its leaf.
fn restored(node: Arc<dyn ExecutionPlan>) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
    Ok(match node.downcast_ref::<PlannedLimit>() {
        Some(PlannedLimit(limit)) => Transformed::yes(Arc::clone(limit)),
        None => Transformed::no(node),
    })
}

/// A limit that is planned, as a leaf of the plan above it.
#[derive(Debug)]
struct PlannedLimit(Arc<dyn ExecutionPlan>);

impl DisplayAs for PlannedLimit {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_as(kind, f)
    }
}

impl ExecutionPlan for PlannedLimit {
    fn name(&self) -> &str {
        "PlannedLimit"
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
        Err(DataFusionError::Internal("the leaf of a limit is for planning only".to_owned()))
    }
}
