//! Inputs whose order or constants are hidden, since the engine derives a wrong order of the result from them.
//!
//! Of a hash join it takes the order of the rows that it collects for one within equal keys of the other side,
//! which several rows may have (apache/datafusion#25052); of grouping sets the order of the keys, of which some
//! are NULL in the result (#24421); of lists made to rows that of another column of one name (#23394). Columns
//! with one value on the optional side of an outer join it takes for columns with one value in the result, where
//! rows without a match have NULL, and so leaves them out of sorts.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use datafusion::common::JoinType;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, PlanProperties};

use super::join_filters::has_equal_names;
use super::passing::{Passage, PassageExec};

/// An operator with inputs that hide what misleads the engine, if it has some that do.
pub(super) fn without_order(node: Arc<dyn ExecutionPlan>) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
    let mut children: Vec<Arc<dyn ExecutionPlan>> = node.children().into_iter().cloned().collect();
    let mut hides = misleads(&node);
    // Of a join, this is the side that is collected.
    if hides && let Some(first) = children.first_mut() {
        *first = PassageExec::above(Arc::clone(first), Unordered)?;
    }
    for (child, is_optional) in children.iter_mut().zip(optional_sides(&node)) {
        if is_optional && !child.equivalence_properties().constants().is_empty() {
            *child = PassageExec::above(Arc::clone(child), Inconstant)?;
            hides = true;
        }
    }
    match hides {
        true => Ok(Transformed::yes(replace_children_if_necessary(node, children)?)),
        false => Ok(Transformed::no(node)),
    }
}

/// Of the sides of a join, whether the result has rows without a match there.
fn optional_sides(node: &Arc<dyn ExecutionPlan>) -> [bool; 2] {
    let of_keys = node.downcast_ref::<HashJoinExec>().map(HashJoinExec::join_type);
    match of_keys.or_else(|| node.downcast_ref::<NestedLoopJoinExec>().map(NestedLoopJoinExec::join_type)) {
        Some(JoinType::Left) => [false, true],
        Some(JoinType::Right) => [true, false],
        Some(JoinType::Full) => [true, true],
        _ => [false, false],
    }
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

/// Passes rows on, and reports of none of their columns that it has one value.
#[derive(Debug, Clone)]
struct Inconstant;

impl Passage for Inconstant {
    const NAME: &'static str = "InconstantExec";

    fn properties(input: &Arc<PlanProperties>) -> DfResult<Arc<PlanProperties>> {
        let known = &input.eq_properties;
        let orders = known.oeq_class().iter().cloned();
        let equivalence = EquivalenceProperties::new_with_orderings(Arc::clone(known.schema()), orders);
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
