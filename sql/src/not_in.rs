//! `x NOT IN (SELECT y ..)` as `NOT EXISTS`, where the engine's join does not count NULLs as SQL does: it
//! looks for them in all rows of a subquery that names columns around it, and beside `OR` nowhere.
//!
//! Invariants
//! - a row is left out where `y` equals `x` in a row of the subquery, or where either is NULL there
//! - a comparison that is not of this kind keeps the engine's join, which has no need to look at pairs of
//!   rows

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, ExprSchema, TableReference};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{BinaryExpr, Exists, InSubquery};
use datafusion::logical_expr::{
    Distinct, Expr, ExprSchemable, Filter, LogicalPlan, Operator, Projection, Subquery, SubqueryAlias, lit,
};

/// The name of a subquery's rows: no table has it.
const NAME: &str = "the column";

/// Puts such comparisons of a statement into other words.
pub(super) fn resolve(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_down_with_subqueries(|node| match node {
        LogicalPlan::Filter(filter) if has_in(&filter.predicate) => {
            let predicate = put(filter.predicate, filter.input.schema(), false)?;
            Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
        }
        other => Ok(Transformed::no(other)),
    })
    .data()
}

fn has_in(condition: &Expr) -> bool {
    condition.exists(|part| Ok(matches!(part, Expr::InSubquery(_)))).unwrap_or(false)
}

/// A condition on rows of this schema with such comparisons in other words; `beside_or`: whether it stands
/// beside others of which one is enough.
fn put(condition: Expr, schema: &DFSchema, beside_or: bool) -> DfResult<Expr> {
    Ok(match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if matches!(op, Operator::And | Operator::Or) => {
            let beside_or = beside_or || op == Operator::Or;
            let (left, right) = (put(*left, schema, beside_or)?, put(*right, schema, beside_or)?);
            Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
        }
        Expr::Not(inner) if has_in(&inner) => match *inner {
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                put(Expr::InSubquery(InSubquery::new(expr, subquery, !negated)), schema, beside_or)?
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right })
                if matches!(op, Operator::And | Operator::Or) =>
            {
                let op = if op == Operator::And { Operator::Or } else { Operator::And };
                let (left, right) = (Box::new(Expr::Not(left)), Box::new(Expr::Not(right)));
                put(Expr::BinaryExpr(BinaryExpr::new(left, op, right)), schema, beside_or)?
            }
            other => Expr::Not(Box::new(other)),
        },
        Expr::InSubquery(within) if within.negated => not_in(within, schema, beside_or)?,
        other => other,
    })
}

fn not_in(within: InSubquery, schema: &DFSchema, beside_or: bool) -> DfResult<Expr> {
    let columns = within.subquery.subquery.schema().fields();
    let null_column = columns.first().is_none_or(|column| column.is_nullable());
    let null_value = within.expr.nullable(schema).unwrap_or(true);
    let is_correlated = !within.subquery.outer_ref_columns.is_empty();
    let is_wrong = is_correlated || beside_or && (null_column || null_value);
    if !is_wrong {
        return Ok(Expr::InSubquery(within));
    }
    let Some(value) = around(&within.expr, schema) else { return Ok(Expr::InSubquery(within)) };
    let of_rows = match is_correlated {
        true => plain(&within.subquery.subquery).filter(|(_, of)| is_apart(&within.expr, of)),
        false => Some(named(&within.subquery.subquery)?),
    };
    let Some((column, of)) = of_rows else { return Ok(Expr::InSubquery(within)) };
    // Its column may also name columns around it, which the engine knows in the condition alone. One that names
    // no other is a mistake, of which the engine says so.
    let rows_have = if column.column_refs().is_empty() { of.expr } else { vec![lit(1_i64)] };
    let mut same = column.clone().eq(value.clone());
    if null_column {
        same = same.or(column.is_null());
    }
    if null_value {
        same = same.or(value.is_null());
    }
    let (condition, input) = match &*of.input {
        LogicalPlan::Filter(filter) => (filter.predicate.clone().and(same), Arc::clone(&filter.input)),
        _ => (same, Arc::clone(&of.input)),
    };
    let rows = LogicalPlan::Filter(Filter::try_new(condition, input)?);
    let plan = LogicalPlan::Projection(Projection::try_new(rows_have, Arc::new(rows))?);
    let outer_ref_columns = plan.all_out_ref_exprs();
    let spans = within.subquery.spans.clone();
    Ok(Expr::Exists(Exists::new(Subquery { subquery: Arc::new(plan), outer_ref_columns, spans }, true)))
}

/// The only column of a subquery, as one of a table of its own, and a SELECT of it.
fn named(subquery: &Arc<LogicalPlan>) -> DfResult<(Expr, Projection)> {
    let rows =
        LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::clone(subquery), TableReference::bare(NAME))?);
    let column = Expr::Column(Column::from(rows.schema().qualified_field(0)));
    Ok((column.clone(), Projection::try_new(vec![column], Arc::new(rows))?))
}

/// Whether a subquery has none of the columns of a value around it: the engine would take the one for the
/// other.
fn is_apart(value: &Expr, of: &Projection) -> bool {
    value.column_refs().into_iter().all(|column| !of.input.schema().has_column(column))
}

/// The column of a subquery of rows of tables, neither grouped nor limited, and the SELECT that it is of.
fn plain(subquery: &LogicalPlan) -> Option<(Expr, Projection)> {
    match subquery {
        LogicalPlan::Distinct(Distinct::All(input)) => plain(input),
        LogicalPlan::Projection(of) => {
            let rows = match &*of.input {
                LogicalPlan::Filter(filter) => &*filter.input,
                other => other,
            };
            let is_plain = matches!(
                rows,
                LogicalPlan::TableScan(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Join(_)
            );
            let [column] = of.expr.as_slice() else { return None };
            is_plain.then(|| (column.clone().unalias(), of.clone()))
        }
        _ => None,
    }
}

/// A value of the statement around a subquery, as the subquery names it; none of what names columns further
/// out.
fn around(value: &Expr, schema: &DFSchema) -> Option<Expr> {
    let is_further = |part: &Expr| {
        Ok(matches!(
            part,
            Expr::OuterReferenceColumn(..) | Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_)
        ))
    };
    if value.exists(is_further).ok()? {
        return None;
    }
    let outer = value.clone().transform(|part| {
        Ok(match part {
            Expr::Column(column) => {
                let field = Arc::clone(schema.field_from_column(&column)?);
                Transformed::yes(Expr::OuterReferenceColumn(field, column))
            }
            other => Transformed::no(other),
        })
    });
    outer.data().ok()
}
