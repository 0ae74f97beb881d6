//! Inputs whose order is hidden, since the engine derives a wrong order of the result from it.
//!
//! Of a hash join it takes the order of the rows that it collects for one within equal keys of the other side,
//! which several rows may have (apache/datafusion#25052); of grouping sets the order of the keys, of which some
//! are NULL in the result (#24421); of lists made to rows that of another column of one name (#23394).

use std::sync::Arc;

use arrow_schema::SchemaRef;
use datafusion::common::JoinType;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};

use super::join_filters::has_equal_names;
use super::passing::{Passage, PassageExec};

/// An operator with an input whose order is hidden, if it is one of those.
pub(super) fn without_order(node: Arc<dyn ExecutionPlan>) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
    if !misleads(&node) {
        return Ok(Transformed::no(node));
    }
    let mut children: Vec<Arc<dyn ExecutionPlan>> = node.children().into_iter().cloned().collect();
    // Of a join, this is the side that is collected.
    if let Some(first) = children.first_mut() {
        *first = PassageExec::above(Arc::clone(first), Unordered)?;
    }
    Ok(Transformed::yes(replace_children_if_necessary(node, children)?))
}

fn misleads(node: &Arc<dyn ExecutionPlan>) -> bool {
    let is_ordered = |child: &&Arc<dyn ExecutionPlan>| child.properties().output_ordering().is_some();
    let inputs = node.children();
    if inputs.is_empty() || !inputs.iter().all(is_ordered) {
        return false;
    }
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        return matches!(join.join_type(), JoinType::Inner | JoinType::Right);
    }
    if let Some(groups) = node.downcast_ref::<AggregateExec>() {
        return groups.group_expr().has_grouping_set();
    }
    node.is::<UnnestExec>() && has_equal_names(inputs[0])
}

/// Passes rows on, and reports no order of them.
#[derive(Debug, Clone)]
struct Unordered;

impl Passage for Unordered {
    const NAME: &'static str = "UnorderedExec";
    const KEEPS_ORDER: bool = false;

    fn properties(input: &Arc<PlanProperties>) -> DfResult<Arc<PlanProperties>> {
        let mut equivalence = input.eq_properties.clone();
        equivalence.clear_orderings();
        Ok(Arc::new(PlanProperties::clone(input).with_eq_properties(equivalence)))
    }

    fn pass(
        &self,
        input: SendableRecordBatchStream,
        _: SchemaRef,
        _: &TaskContext,
    ) -> SendableRecordBatchStream {
        input
    }
}
