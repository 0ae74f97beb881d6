//! Subqueries as values, which are NULL without a row: if their column is never NULL, the engine takes them
//! as never NULL, and `(SELECT ..) IS NULL` as false.
//!
//! Invariants
//! - those that certainly have a row, and those that name columns around them, stay as they are

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery};
use gstore_functions as functions;

use super::plans::has_expr;

/// Lets the columns of such subqueries be NULL.
pub(super) fn resolve(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    if !has_expr(&plan, |_, part| is_such(part))? {
        return Ok(plan);
    }
    plan.transform_up_with_subqueries(|node| {
        // Columns above the subqueries may be NULL too.
        node.map_expressions(|expr| expr.transform(nullable))?.map_data(LogicalPlan::recompute_schema)
    })
    .data()
}

fn is_such(expr: &Expr) -> bool {
    let Expr::ScalarSubquery(of) = expr else { return false };
    let is_never_null = matches!(&of.subquery.schema().fields()[..], [column] if !column.is_nullable());
    is_never_null && of.outer_ref_columns.is_empty() && !has_one_row(&of.subquery)
}

fn has_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(of) => has_one_row(&of.input),
        LogicalPlan::SubqueryAlias(of) => has_one_row(&of.input),
        LogicalPlan::Aggregate(of) => of.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(of) => of.produce_one_row,
        _ => false,
    }
}

fn nullable(expr: Expr) -> DfResult<Transformed<Expr>> {
    if !is_such(&expr) {
        return Ok(Transformed::no(expr));
    }
    let Expr::ScalarSubquery(Subquery { subquery, outer_ref_columns, spans }) = expr else {
        return Ok(Transformed::no(expr));
    };
    let column = Column::from(subquery.schema().qualified_field(0));
    let name = column.name.clone();
    let value = functions::nullable(Expr::Column(column)).alias(name);
    let plan = LogicalPlanBuilder::from(subquery).project([value])?.build()?;
    Ok(Transformed::yes(Expr::ScalarSubquery(Subquery {
        subquery: Arc::new(plan),
        outer_ref_columns,
        spans,
    })))
}
