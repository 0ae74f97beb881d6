//! Conditions without columns above an aggregate that has a row of no rows, as `EXISTS`: the engine asks them
//! of the rows below the aggregate, which then has that row where the condition is not true.
//!
//! Invariants
//! - the rest of a condition stays as it is, and conditions above other rows do

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::Exists;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, LogicalPlanBuilder, Subquery, lit};

use super::one_row::has_row_of_none;

/// Puts subqueries in the place of such conditions.
pub(super) fn resolve(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_down_with_subqueries(|node| match node {
        LogicalPlan::Filter(filter) if has_row(&filter.input) => {
            let parts = split_conjunction_owned(filter.predicate);
            let parts =
                parts.into_iter().map(|part| if is_constant(&part) { exists(part) } else { Ok(part) });
            let predicate = conjunction(parts.collect::<DfResult<Vec<_>>>()?).unwrap_or_else(|| lit(true));
            Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
        }
        other => Ok(Transformed::no(other)),
    })
    .data()
}

fn has_row(plan: &LogicalPlan) -> bool {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::Aggregate(of) if has_row_of_none(of)))).unwrap_or(true)
}

/// Whether a condition is a value for all rows that is known only when the statement runs.
fn is_constant(condition: &Expr) -> bool {
    let is_value =
        |part: &Expr| Ok(matches!(part, Expr::ScalarSubquery(of) if of.outer_ref_columns.is_empty()));
    condition.column_refs().is_empty()
        && !condition.contains_outer()
        && condition.exists(is_value).unwrap_or(false)
}

/// Whether a condition without columns is true.
fn exists(condition: Expr) -> DfResult<Expr> {
    let row = LogicalPlanBuilder::empty(true).filter(condition)?.project([lit(1_i64)])?.build()?;
    let rows = Subquery { subquery: Arc::new(row), outer_ref_columns: Vec::new(), spans: Default::default() };
    Ok(Expr::Exists(Exists::new(rows, false)))
}
