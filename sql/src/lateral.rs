//! `FROM t, unnest(t.list) AS u(x)`: a row for each element of a list, with the columns of the list's row.
//!
//! The engine plans this, like `LATERAL (SELECT unnest(t.list))`, as a join with a subquery for each row,
//! which it does not run. A subquery without tables computes from a row of the other side alone: here it is
//! computed there, as `SELECT t.*, unnest(t.list) FROM t`.
//!
//! Invariants
//! - the columns are those of the join, with the names of its tables
//! - a row without elements is left out, or kept with NULL by `LEFT JOIN .. ON true`

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, JoinType, NullHandling, TableReference};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder, Projection};
use datafusion::scalar::ScalarValue;

use super::plans::subquery;

/// The table of what the subquery computes, until it has that of the join: no table has this name.
const NAME: &str = "the elements";
/// What the engine's names of the lists and their elements begin with.
const PLACEHOLDER: &str = "__unnest_placeholder";

/// Joins such lists to their rows.
pub(super) fn resolve(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) => Ok(match joined(&join)? {
            Some(plan) => Transformed::yes(plan),
            None => Transformed::no(LogicalPlan::Join(join)),
        }),
        other => Ok(Transformed::no(other)),
    })
    .data()
}

/// The rows of a join with such a subquery; `None` of any other.
fn joined(join: &Join) -> DfResult<Option<LogicalPlan>> {
    let is_true = |filter: &Expr| matches!(filter, Expr::Literal(ScalarValue::Boolean(Some(true)), _));
    let keeps = match join.join_type {
        JoinType::Inner => false,
        JoinType::Left if join.filter.as_ref().is_none_or(is_true) => true,
        _ => return Ok(None),
    };
    let right = match &*join.right {
        LogicalPlan::SubqueryAlias(alias) => &*alias.input,
        other => other,
    };
    let LogicalPlan::Subquery(subquery) = right else { return Ok(None) };
    // Of no row on the left: it is computed once, for all of them.
    if !join.on.is_empty() || subquery.subquery.all_out_ref_exprs().is_empty() {
        return Ok(None);
    }
    let Some(rows) = beside(&subquery.subquery, &join.left, keeps)? else { return Ok(None) };
    let (left, right) = (join.left.schema().fields().len(), join.right.schema());
    if rows.schema().fields().len() != left + right.fields().len() {
        return Ok(None);
    }
    let column = |place: usize| Expr::Column(Column::from(rows.schema().qualified_field(place)));
    let mut columns: Vec<Expr> = (0..left).map(column).collect();
    for (place, (table, field)) in right.iter().enumerate() {
        columns.push(column(left + place).alias_qualified(table.cloned(), field.name()));
    }
    let plan = LogicalPlanBuilder::from(rows).project(columns)?.build()?;
    Ok(Some(match (&join.filter, keeps) {
        (Some(filter), false) => LogicalPlan::Filter(Filter::try_new(filter.clone(), Arc::new(plan))?),
        _ => plan,
    }))
}

/// The columns of the rows on the left, and then those of a subquery for each; `None` of one with tables.
fn beside(subquery: &LogicalPlan, left: &Arc<LogicalPlan>, keeps: bool) -> DfResult<Option<LogicalPlan>> {
    match subquery {
        LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => Ok(Some(LogicalPlan::clone(left))),
        LogicalPlan::Unnest(lists) => {
            let Some(input) = beside(&lists.input, left, keeps)? else { return Ok(None) };
            let mut options = lists.options.clone();
            if keeps {
                options.null_handling = NullHandling::PreserveAndExpandEmpty;
            }
            let columns = lists.exec_columns.clone();
            LogicalPlanBuilder::from(input).unnest_columns_with_options(columns, options)?.build().map(Some)
        }
        LogicalPlan::Projection(of) => {
            // What does not come from an element would not be NULL where there is none.
            if keeps && !is_of_elements(of) {
                return Ok(None);
            }
            let Some(input) = beside(&of.input, left, keeps)? else { return Ok(None) };
            let mut columns: Vec<Expr> = left.schema().columns().into_iter().map(Expr::Column).collect();
            for expr in &of.expr {
                let (_, name) = expr.qualified_name();
                let Some(expr) = of_row(expr, left)? else { return Ok(None) };
                columns.push(expr.unalias().alias_qualified(table_of(&name), name));
            }
            LogicalPlanBuilder::from(input).project(columns)?.build().map(Some)
        }
        _ => Ok(None),
    }
}

/// Whether a SELECT has nothing but the elements of one list, or the list.
fn is_of_elements(of: &Projection) -> bool {
    let [only] = of.expr.as_slice() else { return false };
    let mut only = only;
    while let Expr::Alias(alias) = only {
        only = &alias.expr;
    }
    let over_elements = of.input.exists(|node| Ok(matches!(node, LogicalPlan::Unnest(_))));
    matches!(only, Expr::Column(_)) || !over_elements.unwrap_or(true)
}

/// An expression of the subquery as one of a row on the left; `None` of one with subqueries.
fn of_row(expr: &Expr, left: &LogicalPlan) -> DfResult<Option<Expr>> {
    if expr.exists(|part| Ok(subquery(part).is_some()))? {
        return Ok(None);
    }
    let of_row = expr.clone().transform(|part| {
        Ok(match part {
            Expr::OuterReferenceColumn(_, column) if left.schema().has_column(&column) => {
                Transformed::yes(Expr::Column(column))
            }
            Expr::Column(column) if column.relation.is_none() => {
                let relation = table_of(&column.name);
                Transformed::yes(Expr::Column(Column { relation, ..column }))
            }
            other => Transformed::no(other),
        })
    });
    of_row.data().map(Some)
}

/// The table of a column that the subquery computes: lists and elements have names that no column has.
fn table_of(name: &str) -> Option<TableReference> {
    (!name.starts_with(PLACEHOLDER)).then(|| TableReference::bare(NAME))
}
