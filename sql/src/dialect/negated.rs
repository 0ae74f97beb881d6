//! `-x` of an unsigned number as `0 - x`, which has a sign: the engine refuses one of the type of `x`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Spanned, Statement, UnaryOperator};

use super::exprs::{binary, nested, number, taken};
use crate::error::SqlError;
use crate::walk::{visit_expressions, visit_expressions_mut};

/// How the engine's error begins.
const REFUSED: &str = "Unary operator '-' only supports signed";

/// Puts such a difference in the place of what an error of the engine is about; false if it is about
/// something else.
pub(super) fn put(sql: &mut Statement, error: &SqlError) -> bool {
    if !error.message().starts_with(REFUSED) {
        return false;
    }
    let at = match error.position() {
        Some(place) => match operand(sql, place) {
            Some(operand) => Some(operand),
            None => return false,
        },
        // Of a call there is no place.
        None => None,
    };
    let is_meant = |of: &Expr| match &at {
        Some(operand) => of == operand,
        None => !matches!(of, Expr::Value(_) | Expr::Interval(_)),
    };
    let mut changed = false;
    let _ = visit_expressions_mut(sql, |expr: &mut Expr| {
        if let Expr::UnaryOp { op: UnaryOperator::Minus, expr: of } = expr
            && is_meant(of)
        {
            *expr = *nested(binary(number(0), BinaryOperator::Minus, *nested(taken(of))));
            changed = true;
        }
        ControlFlow::<()>::Continue(())
    });
    changed
}

/// What stands at a place behind a minus.
fn operand(sql: &Statement, (line, column): (u64, u64)) -> Option<Expr> {
    let found = visit_expressions(sql, |expr: &Expr| {
        if let Expr::UnaryOp { op: UnaryOperator::Minus, expr: of } = expr {
            let start = of.span().start;
            if (start.line, start.column) == (line, column) {
                return ControlFlow::Break((**of).clone());
            }
        }
        ControlFlow::Continue(())
    });
    found.break_value()
}
