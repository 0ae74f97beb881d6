//! Comparisons of text with numbers and times, for the error where a text is none.
//!
//! The engine reads texts as numbers and times where the two meet. It fails at the first that is none, and does
//! not say where in the statement that is.

use arrow_schema::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ExprSchema};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::error::{SqlError, TIMES};
use super::functions::full_time;

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
    /// One of times or dates, with this text.
    Time(&'static str, String),
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

    /// The error about a text that is no number or no time, by the comparison that it is of.
    pub(super) fn explain(all: &[Self], error: SqlError) -> SqlError {
        let is_meant = |mixed: &&Self| match (&mixed.value, error.text_of_number(), error.text_of_time()) {
            (Value::Text(value), Some(text), _) => value == text,
            (Value::Time(_, value), _, Some(text)) => {
                value == text || full_time(value).is_some_and(|full| full == text)
            }
            _ => false,
        };
        let of_number =
            |mixed: &&Self| error.text_of_number().is_some() && matches!(mixed.value, Value::Number(_));
        let Some(mixed) = all.iter().find(is_meant).or_else(|| all.iter().find(of_number)) else {
            return error;
        };
        let text = error.text_of_number().or(error.text_of_time()).unwrap_or_default();
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
            Value::Time(what, value) => {
                (format!("`{column}` is a {what}, and '{value}' is none"), TIMES.to_owned())
            }
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
        Some(Some(text)) if matches!(of, DataType::Timestamp(..)) => Value::Time("time", text.to_owned()),
        Some(Some(text)) if matches!(of, DataType::Date32 | DataType::Date64) => {
            Value::Time("date", text.to_owned())
        }
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
