//! Limits and windows in correlated subqueries: refused, since the engine moves the condition that names a
//! column around the subquery above them, where it chooses among other rows. There it knows the columns of
//! such a condition by their names without tables, so those that share one get others. Over an aggregate it
//! moves equalities of columns and of casts of columns only, and a cast to `REAL` becomes a function: a side
//! that is such a cast gets a name too. One within CASE stays there, where it may be of some rows only.
//!
//! Invariants
//! - a limit may stay where it only asks for a row of EXISTS, and in a part that names no such column before
//!   one that does
//! - a column of such a condition has the name of no other one of them, and of no other that the subquery
//!   selects

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_schema::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, plan_err};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{BinaryExpr, Cast, TryCast};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Operator, Projection};

use super::exists::{forgets_limit, rows};

/// What the names begin with that such columns get: no table has one.
const NAME: &str = "__correlated_column_";

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
                    Expr::Exists(of) => check_limits(rows(&of.subquery.subquery))?,
                    Expr::SetComparison(of) => check_limits(&of.subquery.subquery)?,
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map(drop)
}

fn is_limit(node: &LogicalPlan) -> bool {
    matches!(node, LogicalPlan::Limit(_))
}

fn check_below(plan: &LogicalPlan, is_one: fn(&LogicalPlan) -> bool) -> DfResult<()> {
    plan.apply(|node| {
        if is_one(node) && !node.all_out_ref_exprs().is_empty() {
            return refused(node);
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map(drop)
}

/// Checks the limits in a subquery of which the engine only asks whether it has rows.
fn check_limits(rows: &LogicalPlan) -> DfResult<()> {
    check_below(rows, is_limit)?;
    if forgets_limit(rows) { refused(rows) } else { Ok(()) }
}

/// The engine's error about a part of which it makes no join.
fn refused<T>(part: &LogicalPlan) -> DfResult<T> {
    plan_err!("Accessing outer reference columns is not allowed in the plan: {}", part.display())
}

/// Gives columns of conditions that name columns around their subquery names of their own, where they share
/// one, and casts to `REAL` beside such a column in any case.
///
/// # Errors
/// Such a column or cast of HAVING.
pub(super) fn named_apart(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let mut named = 0;
    plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::Subquery(mut of) = node else { return Ok(Transformed::no(node)) };
        let shared = with_shared_names(&of.subquery)?;
        let plan =
            LogicalPlan::clone(&of.subquery).transform_down(|node| renamed(node, &shared, &mut named))?;
        if !plan.transformed {
            return Ok(Transformed::no(LogicalPlan::Subquery(of)));
        }
        of.subquery = Arc::new(plan.data);
        Ok(Transformed::yes(LogicalPlan::Subquery(of)))
    })
    .data()
}

/// The columns of a subquery's own such conditions whose names are those of others too.
fn with_shared_names(subquery: &LogicalPlan) -> DfResult<BTreeSet<Column>> {
    let mut own = BTreeSet::new();
    subquery.apply(|node| {
        Ok(match node {
            LogicalPlan::Filter(filter) => {
                own.extend(correlated(filter));
                TreeNodeRecursion::Continue
            }
            LogicalPlan::Subquery(_) => TreeNodeRecursion::Jump,
            _ => TreeNodeRecursion::Continue,
        })
    })?;
    if own.is_empty() {
        return Ok(own);
    }
    let selected = subquery.schema().columns();
    let shares = |column: &Column| {
        let is_other = |other: &Column| other.name == column.name && other.relation != column.relation;
        own.iter().chain(&selected).any(is_other)
    };
    Ok(own.iter().filter(|column| shares(column)).cloned().collect())
}

/// The columns that a filter's conditions on columns around its subquery have of the subquery.
fn correlated(filter: &Filter) -> BTreeSet<Column> {
    let conditions = split_conjunction(&filter.predicate).into_iter().filter(|part| part.contains_outer());
    let columns = conditions.flat_map(|part| part.column_refs());
    columns.filter(|column| filter.input.schema().has_column(column)).cloned().collect()
}

/// The sides of such a condition that are casts of columns of the subquery, and functions later.
fn narrow_casts(condition: &Expr) -> Vec<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return Vec::new() };
    [left, right].into_iter().filter(|side| is_narrow_cast(side)).map(|side| Expr::clone(side)).collect()
}

fn is_narrow_cast(side: &Expr) -> bool {
    match side {
        Expr::Cast(Cast { field, .. }) | Expr::TryCast(TryCast { field, .. }) => {
            *field.data_type() == DataType::Float32 && side.any_column_refs() && !side.contains_outer()
        }
        _ => false,
    }
}

/// A filter with new names of these columns, and of casts, in such conditions; its own columns are those that
/// it had.
fn renamed(
    node: LogicalPlan,
    shared: &BTreeSet<Column>,
    named: &mut usize,
) -> DfResult<Transformed<LogicalPlan>> {
    let filter = match node {
        LogicalPlan::Filter(filter) => filter,
        within @ LogicalPlan::Subquery(_) => {
            return Ok(Transformed::new(within, false, TreeNodeRecursion::Jump));
        }
        other => return Ok(Transformed::no(other)),
    };
    let of_input = |column: &Column| shared.contains(column) && filter.input.schema().has_column(column);
    let mut names: Vec<(Expr, String)> = Vec::new();
    let mut conditions = Vec::new();
    for part in split_conjunction(&filter.predicate) {
        if !part.contains_outer() {
            conditions.push(part.clone());
            continue;
        }
        let casts = narrow_casts(part);
        let is_named = |within: &Expr| match within {
            Expr::Column(column) => of_input(column),
            other => casts.contains(other),
        };
        conditions.push(with_names(part.clone(), is_named, &mut names, named)?);
    }
    if names.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    // Where the engine counts no rows, it looks for the aggregate right below its condition.
    if matches!(&*filter.input, LogicalPlan::Aggregate(_)) {
        return plan_err!(
            "Accessing outer reference columns is not allowed in the plan: {}",
            LogicalPlan::Filter(filter).display()
        );
    }
    let predicate = conjunction(conditions).unwrap_or(filter.predicate);
    let columns: Vec<Expr> = filter.input.schema().columns().into_iter().map(Expr::Column).collect();
    let mut all = columns.clone();
    all.extend(names.into_iter().map(|(part, name)| part.alias(name)));
    let input = LogicalPlan::Projection(Projection::try_new(all, filter.input)?);
    let rows = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?);
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(rows))?)))
}

/// A condition with columns in the place of such parts, which are given names that no other part has.
fn with_names(
    condition: Expr,
    is_named: impl Fn(&Expr) -> bool,
    names: &mut Vec<(Expr, String)>,
    named: &mut usize,
) -> DfResult<Expr> {
    let renamed = condition.transform_down(|part| {
        if !is_named(&part) {
            return Ok(Transformed::no(part));
        }
        let known = names.iter().find(|(of, _)| *of == part).map(|(_, name)| name.clone());
        let name = known.unwrap_or_else(|| {
            *named += 1;
            let name = format!("{NAME}{named}");
            names.push((part, name.clone()));
            name
        });
        let column = Expr::Column(Column::new_unqualified(name));
        Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
    });
    renamed.data()
}
