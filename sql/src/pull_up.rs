//! Limits and windows in correlated subqueries: refused, since the engine moves the condition that names a
//! column around the subquery above them, where it chooses among other rows.
//!
//! Invariants
//! - a limit may stay where it only asks for a row of EXISTS

use datafusion::common::plan_err;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Distinct, Expr, Limit, LogicalPlan, SkipType};

/// Checks the subqueries of a statement.
///
/// # Errors
/// The engine's of a correlated subquery of which it makes no join.
pub(super) fn check(plan: &LogicalPlan) -> DfResult<()> {
    plan.apply_with_subqueries(|node| {
        // Those of LATERAL too.
        if let LogicalPlan::Subquery(of) = node {
            check_below(&of.subquery, |node| matches!(node, LogicalPlan::Window(_)))?;
        }
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                // The limits of others are refused by the engine.
                match part {
                    Expr::Exists(of) => check_below(below_limits(&of.subquery.subquery), is_limit)?,
                    Expr::SetComparison(of) => check_below(&of.subquery.subquery, is_limit)?,
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map(drop)
}

/// What a subquery of EXISTS selects from, without limits that leave rows where there are any.
fn below_limits(plan: &LogicalPlan) -> &LogicalPlan {
    match plan {
        LogicalPlan::Projection(of) => below_limits(&of.input),
        LogicalPlan::SubqueryAlias(of) => below_limits(&of.input),
        LogicalPlan::Distinct(Distinct::All(input)) => below_limits(input),
        LogicalPlan::Sort(of) => below_limits(&of.input),
        LogicalPlan::Limit(of) if skips_none(of) => below_limits(&of.input),
        _ => plan,
    }
}

fn skips_none(limit: &Limit) -> bool {
    matches!(limit.get_skip_type(), Ok(SkipType::Literal(0)))
}

fn is_limit(node: &LogicalPlan) -> bool {
    matches!(node, LogicalPlan::Limit(_))
}

fn check_below(plan: &LogicalPlan, is_one: fn(&LogicalPlan) -> bool) -> DfResult<()> {
    plan.apply(|node| {
        if is_one(node) && !node.all_out_ref_exprs().is_empty() {
            return plan_err!(
                "Accessing outer reference columns is not allowed in the plan: {}",
                node.display()
            );
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map(drop)
}
