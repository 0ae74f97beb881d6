//! Projections pushed down as the engine does it, but not what belongs where it was planned.
//!
//! - `CASE` in the condition of a join without keys: the engine would compute what names columns of one side
//!   for all rows of that side, also for those of which `CASE` takes another branch.
//! - Functions of elements: the place of an element is behind the columns of the operator (`elements.rs`).
//!   The engine keeps it when it moves a part of a condition to a side of the join, and when it merges a
//!   projection with the one below, where there are other columns.
//!
//! The engine pushes parts of the conditions of all joins of a plan at once. So where a plan has one such
//! condition or projection, all its conditions stay whole.
//!
//! The engine moves a projection below a filter as if that had all columns of its input, also where it does a
//! projection itself. So that is an operator of its own while projections move, and then goes back into the filter.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CaseExpr, Column, LambdaVariable};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::projection::{ProjectionExec, remove_unnecessary_projections};

pub(super) fn optimize(
    plan: Arc<dyn ExecutionPlan>,
    options: &ConfigOptions,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let plan = plan.transform_up(apart).data()?;
    match plan.exists(|node| Ok(stays_whole(node)? || has_elements(node)?))? {
        true => plan.transform_down(pushed).data(),
        false => ProjectionPushdown::new().optimize(plan, options),
    }
}

/// A filter that does a projection itself, with that as an operator above it.
fn apart(node: Arc<dyn ExecutionPlan>) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
    let filter = node.downcast_ref::<FilterExec>();
    let Some((filter, kept)) = filter.and_then(|filter| Some((filter, filter.projection().as_ref()?))) else {
        return Ok(Transformed::no(node));
    };
    let whole = FilterExecBuilder::from(filter).apply_projection(None)?.build()?;
    let schema = whole.schema();
    let kept = kept.iter().map(|index| {
        let name = schema.field(*index).name();
        (Arc::new(Column::new(name, *index)) as Arc<dyn PhysicalExpr>, name.clone())
    });
    Ok(Transformed::yes(Arc::new(ProjectionExec::try_new(kept, Arc::new(whole))?)))
}

/// A projection below what it reads, merged with those there unless an element would be taken for a column.
fn pushed(node: Arc<dyn ExecutionPlan>) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
    match has_elements_above_another(&node)? {
        true => Ok(Transformed::no(node)),
        false => remove_unnecessary_projections(node),
    }
}

/// Whether a join has a condition of which no part may be computed before.
fn stays_whole(node: &Arc<dyn ExecutionPlan>) -> DfResult<bool> {
    let filter = node.downcast_ref::<NestedLoopJoinExec>().and_then(NestedLoopJoinExec::filter);
    filter.map_or(Ok(false), |filter| {
        filter.expression().exists(|part| Ok(part.is::<CaseExpr>() || part.is::<LambdaVariable>()))
    })
}

/// Whether one of the projections that follow each other from a node on has elements and is not the last: the
/// engine merges all of them.
fn has_elements_above_another(node: &Arc<dyn ExecutionPlan>) -> DfResult<bool> {
    let Some(projection) = node.downcast_ref::<ProjectionExec>() else { return Ok(false) };
    let below = projection.input();
    Ok(below.is::<ProjectionExec>() && (has_elements(node)? || has_elements_above_another(below)?))
}

/// Whether a node is a projection with functions of elements.
fn has_elements(node: &Arc<dyn ExecutionPlan>) -> DfResult<bool> {
    let Some(projection) = node.downcast_ref::<ProjectionExec>() else { return Ok(false) };
    for column in projection.expr() {
        if column.expr.exists(|part| Ok(part.is::<LambdaVariable>()))? {
            return Ok(true);
        }
    }
    Ok(false)
}
