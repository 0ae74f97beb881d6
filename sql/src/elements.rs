//! Limits on lambdas, functions of each element of a list: `list_transform(l, x -> x + 1)`.
//!
//! The engine evaluates a lambda for all elements of a batch at once, and repeats each column that it names
//! for every element.
//!
//! Invariants
//! - a value that is repeated has a few bytes, so the repeated rows take not much more memory than the lists
//! - no constant in such a function is made by one that enlarges its input
//!
//! What the rows of the elements take is limited where they are computed (`bounds/elements.rs`).

use std::sync::Arc;

use arrow_schema::{DataType, Field};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ExprSchema, Span};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::expressions::LambdaVariable;
use datafusion::physical_plan::ExecutionPlan;

use super::bounds;
use super::error::SqlError;
use super::plans::visit_exprs;

/// What the name of a parameter begins with, which no column has by chance.
pub(super) const NAME: &str = "element ";

/// Most bytes of a constant in such a function.
const MAX_LITERAL: usize = 256;

/// How one is written without a lambda.
pub(super) const OTHERWISE: &str =
    "write SELECT id, list(f(x)) FROM (SELECT id, unnest(list) AS x FROM pool) GROUP BY id";

/// Refuses those that are outside of the limits.
pub(super) fn check(plan: &LogicalPlan) -> DfResult<()> {
    visit_exprs(plan, |node, part| {
        if let Expr::Lambda(lambda) = part {
            let mut own: Vec<&str> = lambda.params.iter().map(String::as_str).collect();
            body(&lambda.body, &mut own, node)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })
}

/// Refuses a plan in which an element would be taken for a column: the engine puts an element behind the
/// columns that its operator had when the function was planned, and leaves it there where the operator gets
/// more. Projections are not merged to that effect (`projections.rs`); this is for any other way.
pub(super) fn check_places(plan: &Arc<dyn ExecutionPlan>) -> DfResult<()> {
    plan.apply(|node| {
        let children = node.children();
        let rows = match children.as_slice() {
            [rows] if ["FilterExec", "ProjectionExec"].contains(&node.name()) => rows,
            // An aggregation names the columns that it was planned on, also over a part of itself.
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        let columns = rows.schema().fields().len();
        node.apply_expressions(&mut |expr| {
            expr.apply(|part| match part.downcast_ref::<LambdaVariable>() {
                Some(element) if element.index() < columns => {
                    Err(SqlError::internal("an element of a list has the place of a column").into())
                }
                _ => Ok(TreeNodeRecursion::Continue),
            })
        })
    })
    .map(|_| ())
}

/// Checks what a function names, but for `own`: its parameter, and those of functions within it.
fn body<'a>(expr: &'a Expr, own: &mut Vec<&'a str>, node: &LogicalPlan) -> DfResult<()> {
    match expr {
        Expr::Column(column) => narrow(&column.name, field(node, column), column.spans.first())?,
        Expr::OuterReferenceColumn(field, column) => {
            narrow(&column.name, Some(&**field), column.spans.first())?;
        }
        Expr::LambdaVariable(element) if !own.contains(&element.name.as_str()) => {
            let name = element.name.strip_prefix(NAME).unwrap_or(&element.name);
            narrow(name, element.field.as_deref(), element.spans.first())?;
        }
        Expr::Literal(value, _) if value.size() > MAX_LITERAL => {
            let why =
                format!("a constant of more than {MAX_LITERAL} bytes is used in a function of each element");
            return Err(SqlError::refused(why).hint(OTHERWISE).into());
        }
        Expr::ScalarFunction(call) if bounds::enlarges(call.func.name()) && !names_any(expr) => {
            let why = format!("{}() makes a constant in a function of each element", call.func.name());
            return Err(SqlError::refused(why).hint("write the constant itself").into());
        }
        _ => {}
    }
    let outside = own.len();
    if let Expr::Lambda(lambda) = expr {
        own.extend(lambda.params.iter().map(String::as_str));
    }
    expr.apply_children(|child| body(child, own, node).map(|()| TreeNodeRecursion::Continue))?;
    own.truncate(outside);
    Ok(())
}

fn field<'a>(node: &'a LogicalPlan, column: &Column) -> Option<&'a Field> {
    node.inputs()
        .into_iter()
        .find_map(|rows| rows.schema().field_from_column(column).ok())
        .map(|field| &**field)
}

/// Refuses a value of any length, which would be copied for each element.
fn narrow(name: &str, field: Option<&Field>, place: Option<Span>) -> DfResult<()> {
    let is_narrow = |field: &Field| {
        matches!(field.data_type(), DataType::Boolean | DataType::Null)
            || field.data_type().primitive_width().is_some()
    };
    if field.is_none_or(is_narrow) {
        return Ok(());
    }
    let why = format!(
        "besides the element, its function can use only numbers, times and booleans; `{name}` is of another type"
    );
    Err(SqlError::refused(why).at_span(place).hint(OTHERWISE).into())
}

fn names_any(expr: &Expr) -> bool {
    let is_name = |part: &Expr| {
        matches!(part, Expr::Column(_) | Expr::LambdaVariable(_) | Expr::OuterReferenceColumn(..))
    };
    expr.exists(|part| Ok(is_name(part))).unwrap_or(true)
}
