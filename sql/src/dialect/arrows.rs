//! The arrows `->` and `->>` among other operators.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};

use super::exprs::taken;

/// `record->>'a' = 'b'` as `(record->>'a') = 'b'`, and `'b' = record->>'a'` likewise: the parser lets arrows
/// bind less than comparisons, so that the key would be `'a' = 'b'`.
pub(super) fn tighten(expr: &mut Expr) {
    let Expr::BinaryOp { left, op: op @ (BinaryOperator::Arrow | BinaryOperator::LongArrow), right } = expr
    else {
        return;
    };
    let op = op.clone();
    // Arrows go from the left: of a chain each takes what the one before it gave.
    if is_arrow(left) {
        tighten(left);
    }
    // The operator that binds least goes around the others.
    let left_first = last_of(left).is_some() && (!is_operation(right) || binds(left) < binds(right));
    if left_first {
        let Some(document) = last_of(left) else { return };
        let part = Expr::BinaryOp { left: Box::new(taken(document)), op, right: Box::new(taken(right)) };
        *document = part;
        *expr = taken(left);
    } else {
        let Some(key) = first_of(right) else { return };
        let part = Expr::BinaryOp { left: Box::new(taken(left)), op, right: Box::new(taken(key)) };
        *key = part;
        *expr = taken(right);
    }
}

/// The first operand of operators that were read as part of a key.
fn first_of(expr: &mut Expr) -> Option<&mut Expr> {
    let inner = match expr {
        Expr::BinaryOp { left, .. } => left,
        Expr::Like { expr, .. } | Expr::ILike { expr, .. } | Expr::SimilarTo { expr, .. } => expr,
        Expr::Between { expr, .. } | Expr::InList { expr, .. } | Expr::InSubquery { expr, .. } => expr,
        Expr::IsNull(expr) | Expr::IsNotNull(expr) | Expr::IsTrue(expr) | Expr::IsFalse(expr) => expr,
        Expr::IsDistinctFrom(expr, _) | Expr::IsNotDistinctFrom(expr, _) => expr,
        _ => return None,
    };
    match is_operation(inner) {
        true => first_of(inner),
        false => Some(&mut **inner),
    }
}

/// The last operand of operators that were read as part of a document.
fn last_of(expr: &mut Expr) -> Option<&mut Expr> {
    let inner = match expr {
        Expr::BinaryOp { .. } if is_arrow(expr) => return None,
        Expr::BinaryOp { right, .. } => right,
        Expr::Like { pattern, .. } | Expr::ILike { pattern, .. } | Expr::SimilarTo { pattern, .. } => pattern,
        Expr::Between { high, .. } => high,
        Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right) => right,
        _ => return None,
    };
    match is_operation(inner) && !is_arrow(inner) {
        true => last_of(inner),
        false => Some(&mut **inner),
    }
}

fn is_arrow(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryOp { op: BinaryOperator::Arrow | BinaryOperator::LongArrow, .. })
}

/// How much an operation binds: least what knows NULL, then other comparisons, most what is compared.
fn binds(expr: &Expr) -> u8 {
    use BinaryOperator as Op;
    match expr {
        Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..) => 0,
        Expr::BinaryOp { op: Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq, .. } => 1,
        Expr::BinaryOp { op: Op::Plus | Op::Minus, .. } => 3,
        Expr::BinaryOp { op: Op::Multiply | Op::Divide | Op::Modulo | Op::DuckIntegerDivide, .. } => 4,
        Expr::BinaryOp { op: Op::BitwiseXor, .. } => 5,
        Expr::BinaryOp { .. } => 2,
        expr if is_operation(expr) => 1,
        _ => 5,
    }
}

/// Whether an expression is one of operators that is not in parentheses.
fn is_operation(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::BinaryOp { .. }
            | Expr::Like { .. }
            | Expr::ILike { .. }
            | Expr::SimilarTo { .. }
            | Expr::Between { .. }
            | Expr::InList { .. }
            | Expr::InSubquery { .. }
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
    )
}
