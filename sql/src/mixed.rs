//! Comparisons of text with numbers, for the error where a text is no number.
//!
//! The engine reads texts as numbers where the two meet. It fails at the first that is none, and does not say
//! where in the statement that is.

use arrow_schema::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ExprSchema};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::error::SqlError;

/// Comparisons of a statement that are looked at.
const MOST: usize = 100;

/// A column that is compared with a value of another type.
#[derive(Debug, Clone)]
pub(super) struct Mixed {
    column: String,
    /// Line and column of its name in the statement.
    place: Option<(u64, u64)>,
    value: Value,
}

/// What a column is compared with.
#[derive(Debug, Clone)]
enum Value {
    /// One of numbers, with this text.
    Text(String),
    /// One of texts, with this number.
    Number(String),
}

impl Mixed {
    /// Those of a statement before its types are made to agree.
    pub(super) fn of(plan: &LogicalPlan) -> Vec<Self> {
        let mut found = Vec::new();
        let _ = plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                expr.apply(|expr| {
                    let room = MOST.saturating_sub(found.len());
                    found.extend(pairs(expr).into_iter().filter_map(|(a, b)| mixed(node, a, b)).take(room));
                    Ok(TreeNodeRecursion::Continue)
                })
            })?;
            Ok(if found.len() < MOST { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
        });
        found
    }

    /// The error about a text that is no number, by the comparison that it is of.
    pub(super) fn explain(all: &[Self], error: SqlError) -> SqlError {
        let Some(text) = error.text_of_number().map(str::to_owned) else { return error };
        let of_text = |mixed: &&Self| matches!(&mixed.value, Value::Text(value) if *value == text);
        let of_number = |mixed: &&Self| matches!(mixed.value, Value::Number(_));
        let Some(mixed) = all.iter().find(of_text).or_else(|| all.iter().find(of_number)) else {
            return error;
        };
        let column = &mixed.column;
        let is_plain = column.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        let named = if is_plain { column.clone() } else { format!("\"{column}\"") };
        let escaped = text.replace('\'', "''");
        let (why, hint) = match &mixed.value {
            Value::Text(_) => (
                format!("`{column}` is a number, and '{text}' is none"),
                format!("CAST({named} AS VARCHAR) = '{escaped}' compares texts"),
            ),
            Value::Number(number) => (
                format!("`{column}` is text, and '{text}' in it is no number to compare with {number}"),
                format!(
                    "write {named} = '{number}' to compare texts; TRY_CAST({named} AS DOUBLE) is null for it"
                ),
            ),
        };
        let (line, place) = mixed.place.unwrap_or_default();
        SqlError::invalid(why).at(line, place).hint(hint)
    }
}

/// What is compared in an expression.
fn pairs(expr: &Expr) -> Vec<(&Expr, &Expr)> {
    match expr {
        Expr::BinaryExpr(binary) if binary.op.supports_propagation() => {
            vec![(&*binary.left, &*binary.right), (&*binary.right, &*binary.left)]
        }
        Expr::InList(list) => list.list.iter().map(|value| (&*list.expr, value)).collect(),
        Expr::Between(between) => vec![(&*between.expr, &*between.low), (&*between.expr, &*between.high)],
        _ => Vec::new(),
    }
}

/// A column and a value of another type.
fn mixed(node: &LogicalPlan, column: &Expr, value: &Expr) -> Option<Mixed> {
    let (Expr::Column(column), Expr::Literal(value, _)) = (column, value) else { return None };
    let of = type_of(node, column)?;
    let is_text = |ty: &DataType| matches!(ty, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let value = match value.try_as_str() {
        Some(Some(text)) if of.is_numeric() => Value::Text(text.to_owned()),
        None if is_text(&of) && value.data_type().is_numeric() => Value::Number(value.to_string()),
        _ => return None,
    };
    let place = column.spans.first().map(|span| (span.start.line, span.start.column));
    Some(Mixed { column: column.name.clone(), place, value })
}

fn type_of(node: &LogicalPlan, column: &Column) -> Option<DataType> {
    let field = |input: &&LogicalPlan| input.schema().field_from_column(column).ok().cloned();
    node.inputs().iter().find_map(field).map(|field| field.data_type().clone())
}
