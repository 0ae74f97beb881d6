//! Correlated aggregates without GROUP BY behind `IN`, `ANY`, `ALL` and `EXISTS`, as values: the join that the
//! engine makes of such a subquery loses the row that it has of no rows. And such values with HAVING, as the
//! value and the condition apart: the engine looks at the condition of no rows only, and of counts only.
//!
//! Invariants
//! - the subquery has one row: `x IN (..)` is `x = (..)`, `x > ANY (..)` is `x > (..)`, and `EXISTS` is true
//! - with HAVING it has that row where the condition is true of it; elsewhere a value is NULL
//! - a value that names no column stands without the subquery: the join that the engine makes of that has NULL
//!   where no row matches
//! - where the aggregate stands deeper in the subquery behind `IN` and the others, it is refused, and with
//!   grouping sets anywhere

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::{
    Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, binary_expr, lit, when,
};

use crate::error::SqlError;
use crate::plans::{change_named, subquery};

/// Puts values in the place of such subqueries.
pub(super) fn resolve(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_down_with_subqueries(|node| {
        change_named(node, |part| subquery(part).is_some(), |expr| expr.transform(as_value))
    })
    .data()
}

fn as_value(expr: Expr) -> DfResult<Transformed<Expr>> {
    let Some(of) =
        subquery(&expr).filter(|of| of.subquery.exists(|node| Ok(has_own_row(node))).unwrap_or(true))
    else {
        return Ok(Transformed::no(expr));
    };
    let is_value = matches!(expr, Expr::ScalarSubquery(_));
    let (value, condition) = match one_row(&of.subquery)? {
        None if of.subquery.exists(|node| Ok(has_sets(node)))? => return Err(sets_refusal()),
        Some((_, None)) | None if is_value => return Ok(Transformed::no(expr)),
        Some(row) => row,
        None => return Err(refusal()),
    };
    let spans = of.spans.clone();
    let scalar = |plan: LogicalPlan| {
        value_without_columns(&plan).unwrap_or_else(|| {
            let outer_ref_columns = plan.all_out_ref_exprs();
            Expr::ScalarSubquery(Subquery {
                subquery: Arc::new(plan),
                outer_ref_columns,
                spans: spans.clone(),
            })
        })
    };
    let is_there = condition.map(scalar);
    let (value, in_all) = match expr {
        Expr::InSubquery(InSubquery { expr, negated, .. }) => {
            let op = if negated { Operator::NotEq } else { Operator::Eq };
            (binary_expr(*expr, op, scalar(value)), negated)
        }
        Expr::SetComparison(SetComparison { expr, op, quantifier, .. }) => {
            (binary_expr(*expr, op, scalar(value)), quantifier == SetQuantifier::All)
        }
        Expr::Exists(Exists { negated, .. }) => (lit(!negated), negated),
        Expr::ScalarSubquery(_) => (scalar(value), false),
        other => return Ok(Transformed::no(other)),
    };
    Ok(Transformed::yes(match is_there {
        None => value,
        Some(is_there) if is_value => when(is_there, value).end()?,
        // Of no row, all are as asked for and none is.
        Some(is_there) if in_all => is_there.is_not_true().or(value),
        Some(is_there) => is_there.is_true().and(value),
    }))
}

/// Whether a part of a subquery has a row of no rows, and names columns around the subquery.
fn has_own_row(node: &LogicalPlan) -> bool {
    matches!(node, LogicalPlan::Aggregate(of) if has_row_of_none(of)) && !node.all_out_ref_exprs().is_empty()
}

/// Whether an aggregate may have a row of no rows.
pub(super) fn has_row_of_none(of: &Aggregate) -> bool {
    of.group_expr.is_empty() || of.group_expr.iter().any(|key| matches!(key, Expr::GroupingSet(_)))
}

/// The same by grouping sets, of which the engine loses the row in the place of a value too.
fn has_sets(node: &LogicalPlan) -> bool {
    matches!(node, LogicalPlan::Aggregate(of) if !of.group_expr.is_empty()) && has_own_row(node)
}

/// A subquery that has one row, without the condition on it, which is given apart.
fn one_row(plan: &LogicalPlan) -> DfResult<Option<(LogicalPlan, Option<LogicalPlan>)>> {
    Ok(match plan {
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
            let Some((input, condition)) = one_row(plan.inputs()[0])? else { return Ok(None) };
            Some((plan.with_new_exprs(plan.expressions(), vec![input])?, condition))
        }
        LogicalPlan::Filter(of) => {
            let Some((value, None)) = one_row(&of.input)? else { return Ok(None) };
            let condition =
                LogicalPlanBuilder::from(value.clone()).project([of.predicate.clone()])?.build()?;
            Some((value, Some(condition)))
        }
        LogicalPlan::Aggregate(of) => {
            let is_one = of.group_expr.is_empty() && !of.input.exists(|node| Ok(has_own_row(node)))?;
            is_one.then(|| (plan.clone(), None))
        }
        _ => None,
    })
}

/// The value that a subquery of one row gives, where it names no column of the subquery or around it.
fn value_without_columns(plan: &LogicalPlan) -> Option<Expr> {
    let LogicalPlan::Projection(of) = plan else { return None };
    let [value] = of.expr.as_slice() else { return None };
    let names_column = |part: &Expr| match part {
        Expr::Column(_) | Expr::OuterReferenceColumn(..) => true,
        part => subquery(part).is_some_and(|within| !within.outer_ref_columns.is_empty()),
    };
    let names_one = value.exists(|part| Ok(names_column(part))).unwrap_or(true);
    (!names_one).then(|| value.clone().unalias())
}

fn refusal() -> DataFusionError {
    let why = "an aggregate without GROUP BY that names a column of the statement around its subquery must \
    come first in it after IN and EXISTS, with at most HAVING";
    let error = SqlError::invalid(why.to_owned());
    error.hint("compare with the value itself: WHERE (SELECT count(*) FROM u WHERE u.k = t.k) = 0").into()
}

fn sets_refusal() -> DataFusionError {
    let why = "ROLLUP, CUBE and GROUPING SETS are not allowed in a subquery that names a column of the statement around it";
    let error = SqlError::invalid(why.to_owned());
    error.hint("group by the columns alone, or write the subquery in WITH, and a join with its rows").into()
}
