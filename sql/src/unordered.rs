//! Inputs whose order or constants are hidden, since the engine derives a wrong order of the result from them.
//!
//! Of a hash join it takes the order of the rows that it collects for one within equal keys of the other side,
//! which several rows may have (apache/datafusion#25052); of grouping sets the order of the keys, of which some
//! are NULL in the result (#24421); of lists made to rows that of another column of one name (#23394). It also
//! takes columns with one value on the optional side of an outer join, or among the keys of grouping sets, for
//! columns with one value in the result, where others are NULL: it leaves them out of sorts, and takes groups
//! for complete that are not.

use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DfResult;
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
    let inputs = node.children();
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        let is_ordered = |child: &&Arc<dyn ExecutionPlan>| child.properties().output_ordering().is_some();
        let keeps_order = matches!(join.join_type(), JoinType::Inner | JoinType::Right);
        return keeps_order && inputs.iter().all(is_ordered);
    }
    let [input] = inputs.as_slice() else { return false };
    let is_known = || {
        let known = input.equivalence_properties();
        known.output_ordering().is_some() || !known.constants().is_empty()
    };
    match node.downcast_ref::<AggregateExec>() {
        Some(groups) => groups.group_expr().has_grouping_set() && is_known(),
        None => node.is::<UnnestExec>() && has_equal_names(input) && is_known(),
    }
}

/// Passes rows on, and reports no order of them, nor that a column has one value.
#[derive(Debug, Clone)]
struct Unordered;

impl Passage for Unordered {
    const NAME: &'static str = "UnorderedExec";
    const KEEPS_ORDER: bool = false;
    const KEEPS_ROWS: bool = true;

    fn properties(input: &Arc<PlanProperties>) -> DfResult<Arc<PlanProperties>> {
        let equivalence = EquivalenceProperties::new(Arc::clone(input.eq_properties.schema()));
        Ok(Arc::new(PlanProperties::clone(input).with_eq_properties(equivalence)))
    }
}

/// Passes rows on, and reports of none of their columns that it has one value.
#[derive(Debug, Clone)]
struct Inconstant;

impl Passage for Inconstant {
    const NAME: &'static str = "InconstantExec";
    const KEEPS_ROWS: bool = true;

    fn properties(input: &Arc<PlanProperties>) -> DfResult<Arc<PlanProperties>> {
        let known = &input.eq_properties;
        let orders = known.oeq_class().iter().cloned();
        let equivalence = EquivalenceProperties::new_with_orderings(Arc::clone(known.schema()), orders);
        Ok(Arc::new(PlanProperties::clone(input).with_eq_properties(equivalence)))
    }
}
