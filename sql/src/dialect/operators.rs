//! Operators that bind as in DuckDB and PostgreSQL: `a ^ b` is a power and binds more than `*`; `||`, `^@`, `&`,
//! `|`, `<<` and `>>` bind alike, less than `+`. All go from the left.
//!
//! The parser takes `^` for an operator on bits, which binds less than `+`, and lets the others bind each in
//! its own way. So what it read as the operands is taken apart and put together again.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};

use super::exprs::{call, nested, taken};

/// Puts operands under the operators that they belong to, and powers in the place of `^`, before anything in
/// them is put into other words.
pub(super) fn regroup(expr: &mut Expr) {
    if is_as_meant(expr) {
        return;
    }
    let (mut operands, mut operators) = (Vec::new(), Vec::new());
    let whole = taken(expr);
    apart(whole, &mut operands, &mut operators);
    if let Some(whole) = together(operands, operators) {
        *expr = whole;
    }
}

/// How much an operator binds.
#[derive(Clone, Copy)]
struct BindingPower {
    here: u8,
    /// For the parser.
    read: u8,
}

/// The precedence of an operator, of those that may stand next to `^` without parentheses.
fn binds(operator: &BinaryOperator) -> Option<BindingPower> {
    use BinaryOperator as Op;
    let (here, read) = match operator {
        Op::BitwiseXor => (50, 22),
        Op::Multiply | Op::Divide | Op::Modulo | Op::DuckIntegerDivide => (40, 40),
        Op::Plus | Op::Minus => (30, 30),
        Op::Xor => (24, 24),
        Op::StringConcat => (20, 40),
        Op::PGStartsWith => (20, 50),
        Op::BitwiseAnd => (20, 23),
        Op::PGBitwiseShiftLeft | Op::PGBitwiseShiftRight => (20, 22),
        Op::BitwiseOr => (20, 21),
        _ => return None,
    };
    Some(BindingPower { here, read })
}

/// The same of the operator of an expression that is not in parentheses.
fn operation(expr: &Expr) -> Option<BindingPower> {
    match expr {
        Expr::BinaryOp { op, .. } => binds(op),
        _ => None,
    }
}

/// Whether the parser read operators as they are meant.
fn is_as_meant(expr: &Expr) -> bool {
    let Expr::BinaryOp { left, op, right } = expr else { return true };
    let Some(BindingPower { here, .. }) = binds(op) else { return true };
    *op != BinaryOperator::BitwiseXor
        && operation(left).is_none_or(|left| left.here >= here)
        && operation(right).is_none_or(|right| right.here > here)
        && is_as_meant(left)
        && is_as_meant(right)
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
    let here = |op: &BinaryOperator| binds(op).map(|binds| binds.here);
    let (mut done, mut open): (Vec<Expr>, Vec<BinaryOperator>) = (Vec::new(), Vec::new());
    let mut operators = operators.into_iter();
    for operand in operands {
        done.push(operand);
        let next = operators.next();
        let first = |op: &BinaryOperator| next.as_ref().is_none_or(|next| here(next) <= here(op));
        while let Some(op) = open.pop_if(|op| first(op)) {
            let (right, left) = (done.pop()?, done.pop()?);
            done.push(joined(left, op, right));
        }
        open.extend(next);
    }
    done.pop()
}

/// An operation, with parentheses where the parser would read its text in another way.
fn joined(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    if op == BinaryOperator::BitwiseXor {
        return call("power", vec![left, right]);
    }
    let read = binds(&op).map_or(0, |binds| binds.read);
    let operand = |expr: Expr, least: u8| match operation(&expr).is_some_and(|binds| binds.read < least) {
        true => nested(expr),
        false => Box::new(expr),
    };
    Expr::BinaryOp { left: operand(left, read), op, right: operand(right, read + 1) }
}

#[cfg(test)]
mod tests {
    use crate::dialect::differs::tests::read;
    use crate::dialect::tests::expression;

    #[test]
    fn operands_are_those_of_the_operator_that_binds_more() {
        for (sql, expected) in [
            ("1 << 2 & 4", "(1 << 2) & 4"),
            ("1 | 2 << 1", "(1 | 2) << 1"),
            ("4 | 1 & 2", "(4 | 1) & 2"),
            ("1 | (2 << 1)", "1 | (2 << 1)"),
            ("a & b | c", "a & b | c"),
            ("a | b ^ 2 & c", "(a | power(b, 2)) & c"),
            ("1 + 2 << 3 * 4", "1 + 2 << 3 * 4"),
            ("'a' || 1 + 2", "'a' || (1 + 2)"),
            ("1 + 2 || 'a' || b * 3", "(1 + 2) || 'a' || (b * 3)"),
            ("a || b || c > d || e", "a || b || c > d || e"),
            ("a || b ^@ 'c' AND d ^@ lower(e)", "starts_with(a || b, 'c') AND starts_with(d, lower(e))"),
        ] {
            assert_eq!(expression(sql), expected);
        }
    }

    #[test]
    fn arrows_bind_more_than_operators_on_both_sides() {
        assert_eq!(read("x || r->>'n' + 1"), "(x || (json_extract_string(r, 'n') + 1))");
        assert_eq!(read("x + r->>'n' * 2"), "(x + (json_extract_string(r, 'n') * 2))");
        assert_eq!(read("x * r->>'n' + 2"), "((x * json_extract_string(r, 'n')) + 2)");
        assert_eq!(read("x - r->>'n' - 2 < 3"), "(((x - json_extract_string(r, 'n')) - 2) < 3)");
    }

    #[test]
    fn chains_of_arrows_are_one_operand_on_both_sides() {
        let name = "json_extract_string(json_extract(m, 'a'), 'n')";
        assert_eq!(read("x || m->'a'->>'n'"), format!("(x || {name})"));
        assert_eq!(read("x || ': ' || m->'a'->>'n'"), format!("((x || ': ') || {name})"));
        assert_eq!(read("'b' = m->'a'->>'n'"), format!("('b' = {name})"));
        assert_eq!(read("x < m->'a'->>'n' || 'z'"), format!("(x < ({name} || 'z'))"));
        assert_eq!(read("x || m->'a'->>'n' = 'z'"), format!("((x || {name}) = 'z')"));
        assert_eq!(read("m->'a'->>'n' = m->'a'->>'n'"), format!("({name} = {name})"));
        assert!(read("x LIKE m->'a'->>'n'").starts_with(&format!("x LIKE replace({name}, ")));
        assert_eq!(read("x IS DISTINCT FROM m->'a'->>'n'"), format!("(x IS DISTINCT FROM {name})"));
    }
}
