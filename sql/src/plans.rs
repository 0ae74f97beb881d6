//! Walks over the expressions of a plan, and changes of them.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery};

/// Shows `each` every expression of a plan and of its subqueries, with its node, before those that it consists
/// of.
pub(crate) fn visit_exprs(
    plan: &LogicalPlan,
    mut each: impl FnMut(&LogicalPlan, &Expr) -> DfResult<TreeNodeRecursion>,
) -> DfResult<()> {
    plan.apply_with_subqueries(|node| node.apply_expressions(|expr| expr.apply(|part| each(node, part))))
        .map(drop)
}

/// Whether any of these is such a one.
pub(crate) fn has_expr(
    plan: &LogicalPlan,
    mut is_one: impl FnMut(&LogicalPlan, &Expr) -> bool,
) -> DfResult<bool> {
    let mut has = false;
    visit_exprs(plan, |node, part| {
        has = has || is_one(node, part);
        Ok(if has { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(has)
}

/// The same of the expressions of a node alone.
pub(crate) fn node_has_expr(node: &LogicalPlan, is_one: impl Fn(&Expr) -> bool) -> DfResult<bool> {
    let mut has = false;
    node.apply_expressions(|expr| {
        has = has || expr.exists(|part| Ok(is_one(part)))?;
        Ok(if has { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(has)
}

/// Changes the expressions of a node that have such a one in them, each under the name that it has.
pub(crate) fn change_named(
    node: LogicalPlan,
    is_one: impl Fn(&Expr) -> bool,
    mut change: impl FnMut(Expr) -> DfResult<Transformed<Expr>>,
) -> DfResult<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| {
        if !expr.exists(|part| Ok(is_one(part)))? {
            return Ok(Transformed::no(expr));
        }
        let name = names.save(&expr);
        Ok(change(expr)?.update_data(|expr| name.restore(expr)))
    })
}

/// The subquery that an expression is, or asks the rows of.
pub(crate) fn subquery(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::ScalarSubquery(subquery)
        | Expr::Exists(Exists { subquery, .. })
        | Expr::InSubquery(InSubquery { subquery, .. })
        | Expr::SetComparison(SetComparison { subquery, .. }) => Some(subquery),
        _ => None,
    }
}
