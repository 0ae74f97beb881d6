//! `-x` of an unsigned number, or of what lies between two times, as `0 - x`: the engine refuses one of the
//! type of `x`.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Statement, UnaryOperator};

use super::exprs::{binary, nested, number, taken};
use crate::error::SqlError;
use crate::positions::{TextPosition, start};
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
    visit_expressions_mut(sql, |expr: &mut Expr| {
        if let Expr::UnaryOp { op: UnaryOperator::Minus, expr: of } = expr
            && is_meant(of)
        {
            *expr = *nested(binary(number(0), BinaryOperator::Minus, *nested(taken(of))));
            changed = true;
        }
    });
    changed
}

/// What stands at a place behind a minus.
fn operand(sql: &Statement, place: TextPosition) -> Option<Expr> {
    visit_expressions(sql, |expr: &Expr| match expr {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: of } if start(&**of) == place => Some((**of).clone()),
        _ => None,
    })
}
