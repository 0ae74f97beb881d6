//! Numbers in the place of times, and times in that of numbers, which are refused: a number says neither
//! since when it counts nor in which unit, and the engine takes days for dates and nanoseconds for times.
//! Whole numbers in the place of bytes, too, of which the engine takes those in memory.

use arrow_schema::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Span};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::{Between, BinaryExpr, Cast, InList, TryCast};
use datafusion::scalar::ScalarValue;

use super::spelled::innermost;
use super::times::is_time;
use super::whole::type_of;
use crate::error::FunctionError;
use crate::types;

/// Refuses a cast or a comparison between a number and a time, and a cast of a whole number to bytes.
pub(super) fn check(expr: &Expr, schema: &DFSchema) -> DfResult<()> {
    let wrong = match expr {
        Expr::Cast(Cast { expr: of, field }) | Expr::TryCast(TryCast { expr: of, field }) => {
            cast(of, field.data_type(), schema)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.supports_propagation() => {
            comparison_error(left, [&**right], schema)
        }
        Expr::Between(Between { expr: of, low, high, .. }) => comparison_error(of, [&**low, &**high], schema),
        Expr::InList(InList { expr: of, list, .. }) => comparison_error(of, list, schema),
        _ => None,
    };
    wrong.map_or(Ok(()), |error| Err(error.at_span(place(expr)).into()))
}

fn cast(of: &Expr, to: &DataType, schema: &DFSchema) -> Option<FunctionError> {
    let is_to_bytes = types::is_binary(innermost(to));
    if !is_to_bytes && !is_time(to) && !to.is_numeric() {
        return None;
    }
    let from = type_of(of, schema)?;
    if is_to_bytes && innermost(&from).is_integer() {
        let why = format!("{} cannot be cast to {}", types::name(&from), types::name(to));
        return Some(FunctionError::invalid(why).hint("encode(x::VARCHAR) are the bytes of its digits"));
    }
    (differ(&from, to) && !is_null(of)).then(|| no_cast(&types::name(&from), &types::name(to), is_time(to)))
}

/// The error about a cast of a number to a time, or of a time to a number, by the names of the types.
pub fn no_cast(from: &str, to: &str, is_to_time: bool) -> FunctionError {
    FunctionError::invalid(format!("{from} cannot be cast to {to}")).hint(match is_to_time {
        true => "make_date(2024, 5, 29) is a date, to_timestamp(n) the time n seconds after 1970",
        false => "epoch(t) is the number of seconds since 1970, year(t) the year",
    })
}

fn comparison_error<'a>(
    of: &Expr,
    with: impl IntoIterator<Item = &'a Expr>,
    schema: &DFSchema,
) -> Option<FunctionError> {
    let a = type_of(of, schema).filter(|a| is_time(a) || a.is_numeric())?;
    let mut b = with.into_iter().filter(|value| !is_null(value)).filter_map(|value| type_of(value, schema));
    let b = b.find(|b| differ(&a, b)).filter(|_| !is_null(of))?;
    let why = format!("{} cannot be compared with {}", types::name(&a), types::name(&b));
    let hint =
        "write a date as DATE '2024-05-29'; epoch(t) is the number of seconds since 1970, year(t) the year";
    Some(FunctionError::invalid(why).hint(hint))
}

fn is_null(of: &Expr) -> bool {
    of.as_literal().is_some_and(ScalarValue::is_null)
}

fn differ(a: &DataType, b: &DataType) -> bool {
    is_time(a) && b.is_numeric() || a.is_numeric() && is_time(b)
}

fn place(expr: &Expr) -> Option<Span> {
    let mut found = None;
    let _ = expr.apply(|part| {
        if let Expr::Column(column) = part {
            found = column.spans.first();
        }
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}
