//! Types of the columns that a subquery names of the statement around it.
//!
//! The engine notes them when it plans the subquery, before the types around it are known: those of `CASE`
//! are of its first branch until then, and a join on such a column compares values of two types.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ExprSchema};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;

use super::plans::{node_has_expr, subquery};

/// Gives such columns the types that they have, and what they are compared with types that fit.
#[derive(Debug)]
pub(super) struct OuterTypes;

impl AnalyzerRule for OuterTypes {
    fn name(&self) -> &str {
        "outer_types"
    }

    fn analyze(&self, mut plan: LogicalPlan, options: &ConfigOptions) -> DfResult<LogicalPlan> {
        loop {
            let typed = plan.transform_down_with_subqueries(of_node)?;
            if !typed.transformed {
                return Ok(typed.data);
            }
            // Columns of this subquery may have other types now, for one within it.
            plan = TypeCoercion::new().analyze(typed.data, options)?;
        }
    }
}

/// Gives the subqueries of a node the types of its inputs.
pub(super) fn of_node(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    if !node_has_expr(&node, |part| subquery(part).is_some())? {
        return Ok(Transformed::no(node));
    }
    let schema = merge_schema(&node.inputs());
    node.map_expressions(|expr| expr.transform(|part| of_subquery(part, &schema)))
}

fn of_subquery(mut expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let subquery = match &mut expr {
        Expr::ScalarSubquery(subquery)
        | Expr::Exists(Exists { subquery, .. })
        | Expr::InSubquery(InSubquery { subquery, .. })
        | Expr::SetComparison(SetComparison { subquery, .. }) => subquery,
        _ => return Ok(Transformed::no(expr)),
    };
    // A column that one within it names is first one of the subquery.
    let plan = LogicalPlan::clone(&subquery.subquery).transform_down(|node| {
        node.map_expressions(|expr| expr.transform(|part| Ok(of_column(part, schema))))
    })?;
    if !plan.transformed {
        return Ok(Transformed::no(expr));
    }
    subquery.subquery = Arc::new(plan.data);
    for column in &mut subquery.outer_ref_columns {
        *column = of_column(column.clone(), schema).data;
    }
    Ok(Transformed::yes(expr))
}

fn of_column(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    if let Expr::OuterReferenceColumn(noted, column) = &expr
        && let Ok(field) = schema.field_from_column(column)
        && field.data_type() != noted.data_type()
    {
        return Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(field), column.clone()));
    }
    Transformed::no(expr)
}
