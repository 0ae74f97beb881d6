//! `EXISTS (SELECT ..)` as a value: a count that is above 0, since the engine supports EXISTS in
//! conditions only. So it is in WHERE where the engine would forget a LIMIT.
//!
//! Invariants
//! - it is true or false, never NULL
//! - a correlated subquery is counted only where the engine's count is right: the join that it makes of one
//!   loses the row that an aggregate without GROUP BY has of no rows

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::functions_aggregate::count::count_all;
use datafusion::logical_expr::expr::Exists;
use datafusion::logical_expr::{
    Distinct, Expr, FetchType, LogicalPlan, LogicalPlanBuilder, SkipType, Subquery, lit,
};

use super::one_row::has_row_of_none;
use super::plans::change_named;

/// Puts counts in the place of such values; the conditions of filters and joins are left to the engine, but
/// those of filters with a limit that it would forget.
pub(super) fn resolve(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_down_with_subqueries(|node| {
        if matches!(node, LogicalPlan::Join(_)) {
            return Ok(Transformed::no(node));
        }
        let is_condition = matches!(node, LogicalPlan::Filter(_));
        let is_such = |part: &Expr| match part {
            Expr::Exists(of) => !is_condition || forgets_limit(rows(&of.subquery.subquery)),
            _ => false,
        };
        change_named(node, is_such, |expr| {
            expr.transform(|part| if is_such(&part) { counted(part) } else { Ok(Transformed::no(part)) })
        })
    })
    .data()
}

fn counted(expr: Expr) -> DfResult<Transformed<Expr>> {
    let Expr::Exists(Exists { subquery, negated }) = expr else { return Ok(Transformed::no(expr)) };
    let rows = rows(&subquery.subquery);
    let is_correlated = !rows.all_out_ref_exprs().is_empty();
    if is_correlated && !is_countable(rows) {
        return Ok(Transformed::no(Expr::Exists(Exists { subquery, negated })));
    }
    let rows = LogicalPlanBuilder::from(Arc::clone(rows));
    let rows = if is_correlated { rows } else { rows.limit(0, Some(1))? };
    let count = rows.aggregate(Vec::<Expr>::new(), [count_all().unalias()])?.build()?;
    let number = Expr::Column(Column::from(count.schema().qualified_field(0)));
    let plan = LogicalPlanBuilder::from(count).project([number.gt(lit(0_i64))])?.build()?;
    let outer_ref_columns = plan.all_out_ref_exprs();
    let is_there =
        Expr::ScalarSubquery(Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: subquery.spans });
    let is_there = Box::new(is_there);
    Ok(Transformed::yes(if negated { Expr::IsNotTrue(is_there) } else { Expr::IsTrue(is_there) }))
}

/// What a subquery selects from, which has rows exactly where the subquery has.
pub(super) fn rows(subquery: &Arc<LogicalPlan>) -> &Arc<LogicalPlan> {
    match &**subquery {
        LogicalPlan::Projection(of) => rows(&of.input),
        LogicalPlan::SubqueryAlias(of) => rows(&of.input),
        LogicalPlan::Distinct(Distinct::All(input)) => rows(input),
        LogicalPlan::Sort(of) if of.fetch.is_none() => rows(&of.input),
        LogicalPlan::Limit(of)
            if matches!(of.get_skip_type(), Ok(SkipType::Literal(0)))
                && matches!(of.get_fetch_type(), Ok(FetchType::Literal(fetch)) if fetch != Some(0)) =>
        {
            rows(&of.input)
        }
        _ => subquery,
    }
}

/// Whether a limit stands behind a condition on a column around the subquery, as in a table of FROM after one
/// with such a condition. The engine takes it for a limit of the rows of EXISTS, and leaves it out (its issue
/// 25283).
pub(super) fn forgets_limit(rows: &LogicalPlan) -> bool {
    let (mut is_correlated, mut forgets) = (false, false);
    // From the leaves, as the engine looks for such conditions.
    look_for_limits(rows, &mut is_correlated, &mut forgets);
    forgets
}

fn look_for_limits(rows: &LogicalPlan, is_correlated: &mut bool, forgets: &mut bool) {
    for input in rows.inputs() {
        look_for_limits(input, is_correlated, forgets);
    }
    match rows {
        LogicalPlan::Limit(_) => *forgets |= *is_correlated,
        LogicalPlan::Filter(of) => *is_correlated |= of.predicate.contains_outer(),
        _ => {}
    }
}

/// Whether the engine counts these rows of a correlated subquery correctly. Parts that name no column around
/// it are counted as they are.
fn is_countable(rows: &LogicalPlan) -> bool {
    let is_known = match rows {
        LogicalPlan::Aggregate(of) => !has_row_of_none(of),
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::SubqueryAlias(_) => true,
        _ => false,
    };
    rows.all_out_ref_exprs().is_empty() || is_known && rows.inputs().into_iter().all(is_countable)
}
