//! `a ^ b` as the power that DuckDB and PostgreSQL mean by it: it binds more than `*`, and from the left.
//!
//! The parser takes it for an operator on bits, which binds less than `+`. So what it read as the operands is taken
//! apart and put together again.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Value};

use super::calls::call;

/// Puts powers in the place of `^`, before anything in its operands is put into other words.
pub(super) fn raise(expr: &mut Expr) {
    if !matches!(expr, Expr::BinaryOp { op: BinaryOperator::BitwiseXor, .. }) {
        return;
    }
    let (mut operands, mut operators) = (Vec::new(), Vec::new());
    let whole = std::mem::replace(expr, Expr::value(Value::Null));
    apart(whole, &mut operands, &mut operators);
    if let Some(whole) = together(operands, operators) {
        *expr = whole;
    }
}

/// How much an operator binds, of those that may stand beside `^` without parentheses.
fn binds(operator: &BinaryOperator) -> Option<u8> {
    use BinaryOperator as Op;
    Some(match operator {
        Op::BitwiseXor => 50,
        Op::Multiply | Op::Divide | Op::Modulo | Op::DuckIntegerDivide | Op::StringConcat => 40,
        Op::Plus | Op::Minus => 30,
        Op::Xor => 24,
        Op::BitwiseAnd => 23,
        Op::PGBitwiseShiftLeft | Op::PGBitwiseShiftRight => 22,
        _ => return None,
    })
}

/// Operands and the operators between them, as they are written.
fn apart(expr: Expr, operands: &mut Vec<Expr>, operators: &mut Vec<BinaryOperator>) {
    match expr {
        Expr::BinaryOp { left, op, right } if binds(&op).is_some() => {
            apart(*left, operands, operators);
            operators.push(op);
            apart(*right, operands, operators);
        }
        other => operands.push(other),
    }
}

/// The expression of operands with operators between them.
fn together(operands: Vec<Expr>, operators: Vec<BinaryOperator>) -> Option<Expr> {
    let (mut done, mut open): (Vec<Expr>, Vec<BinaryOperator>) = (Vec::new(), Vec::new());
    let mut operators = operators.into_iter();
    for operand in operands {
        done.push(operand);
        let next = operators.next();
        let first = |op: &BinaryOperator| next.as_ref().is_none_or(|next| binds(next) <= binds(op));
        while let Some(op) = open.pop_if(|op| first(op)) {
            let (right, left) = (done.pop()?, done.pop()?);
            done.push(match op {
                BinaryOperator::BitwiseXor => call("power", vec![left, right]),
                op => Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) },
            });
        }
        open.extend(next);
    }
    done.pop()
}
