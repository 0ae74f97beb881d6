//! Comparisons of rows of values, which the engine has for single values: `(a + 1, b) = (1, 2)` as
//! `a + 1 = 1 AND b = 2`.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};

use super::exprs::{binary, nested};
use crate::error::SqlError;
use crate::positions::start;

/// Most values of a row: each is another level of the expression, over which planning recurses.
const MOST: usize = 50;

/// Puts comparisons of values in the place of one of two rows by `=` or `<>`.
pub(super) fn apart(expr: &mut Expr) -> Result<(), SqlError> {
    let start = start(&*expr);
    let Expr::BinaryOp { left, op, right } = expr else { return Ok(()) };
    let (Expr::Tuple(of), Expr::Tuple(with)) = (&mut **left, &mut **right) else { return Ok(()) };
    let joined = match op {
        BinaryOperator::Eq => BinaryOperator::And,
        BinaryOperator::NotEq => BinaryOperator::Or,
        _ => return Ok(()),
    };
    if of.len() != with.len() {
        let why = format!("a row of {} values is compared with one of {}", of.len(), with.len());
        return Err(SqlError::invalid(why).at(start));
    }
    if of.len() > MOST {
        let why = format!("a row of {} values is compared, of more than {MOST}", of.len());
        return Err(SqlError::refused(why).at(start));
    }
    let both = std::mem::take(of).into_iter().zip(std::mem::take(with));
    let all = both.map(|(left, right)| compared(left, op, right)).collect::<Result<Vec<_>, _>>()?;
    if let Some(all) = all.into_iter().reduce(|all, one| binary(all, joined.clone(), one)) {
        *expr = Expr::Nested(Box::new(all));
    }
    Ok(())
}

/// The comparison of two values, which may be rows themselves.
fn compared(left: Expr, op: &BinaryOperator, right: Expr) -> Result<Expr, SqlError> {
    let are_rows = matches!((&left, &right), (Expr::Tuple(_), Expr::Tuple(_)));
    let [left, right] = [left, right].map(|side| if are_rows { Box::new(side) } else { nested(side) });
    let mut both = Expr::BinaryOp { left, op: op.clone(), right };
    apart(&mut both)?;
    Ok(both)
}

#[cfg(test)]
mod tests {
    fn resolved(condition: &str) -> Result<String, String> {
        let found = crate::dialect::calls::rewritten(&format!("SELECT 1 FROM t WHERE {condition}"))?;
        Ok(found.replace("SELECT 1 FROM t WHERE ", ""))
    }

    #[test]
    fn rows_are_compared_value_by_value() {
        for (condition, expected) in [
            ("(u % 7, k) = (1, 2)", "((u % 7) = (1) AND (k) = (2))"),
            ("(a, b, c) <> (1, 2, 3)", "((a) <> (1) OR (b) <> (2) OR (c) <> (3))"),
            ("(a, (b, c)) = (1, (2, 3))", "((a) = (1) AND ((b) = (2) AND (c) = (3)))"),
            ("(a, b) < (1, 2)", "(a, b) < (1, 2)"),
            ("a = 1", "a = 1"),
        ] {
            assert_eq!(resolved(condition).as_deref(), Ok(expected));
        }
        let error = resolved("(a, b) = (1, 2, 3)").unwrap_err();
        assert!(
            error.starts_with("a row of 2 values is compared with one of 3 (line 1, column 24)"),
            "{error}"
        );
        let long = vec!["a"; 51].join(", ");
        let error = resolved(&format!("({long}) = ({long})")).unwrap_err();
        assert!(error.starts_with("a row of 51 values is compared, of more than 50"), "{error}");
    }
}
