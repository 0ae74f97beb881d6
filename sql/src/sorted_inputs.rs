//! Sorts of inputs that need an order, where the engine leaves a sort out for a reason that its own check of the
//! plan does not know: one row for each `b`, in the order of `b`, is in the order of `b` and any other column.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::physical_expr::{LexOrdering, OrderingRequirements};
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// Sorts the inputs whose known order is not what they need.
pub(super) fn optimize(plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
    plan.transform_up(with_sorts).data()
}

fn with_sorts(node: Arc<dyn ExecutionPlan>) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
    let inputs = node.children().into_iter().zip(node.required_input_ordering());
    let inputs: Vec<_> = inputs.map(|(input, order)| sorted(input, order)).collect::<DfResult<_>>()?;
    let is_same = node.children().into_iter().zip(&inputs).all(|(input, now)| Arc::ptr_eq(input, now));
    match is_same {
        true => Ok(Transformed::no(node)),
        false => replace_children_if_necessary(node, inputs).map(Transformed::yes),
    }
}

fn sorted(
    input: &Arc<dyn ExecutionPlan>,
    order: Option<OrderingRequirements>,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let input = Arc::clone(input);
    let Some(order) = order.map(OrderingRequirements::into_single) else { return Ok(input) };
    if input.equivalence_properties().ordering_satisfy_requirement(order.clone())? {
        return Ok(input);
    }
    let is_apart = input.output_partitioning().partition_count() > 1;
    let sort = SortExec::new(LexOrdering::from(order), input);
    Ok(Arc::new(sort.with_preserve_partitioning(is_apart)))
}
