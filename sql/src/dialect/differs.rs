//! `IS [NOT] DISTINCT FROM` with the precedence of a comparison.
//!
//! The parser reads all that follows as the right side: of `a IS DISTINCT FROM b AND c` it would compare `a`
//! with `b AND c`. So the words are one operator for the parser, which binds more than NOT, AND and OR, and
//! become the comparison again in the statement that it reads.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::exprs::taken;
use super::tokens::{Replacement, is, next};
use crate::walk::{inner, visit_expressions_mut};

const DISTINCT: &str = "IS DISTINCT FROM";
const NOT_DISTINCT: &str = "IS NOT DISTINCT FROM";

/// One operator in the place of the words. No operator of a text has such a name: those are signs.
pub(super) fn operator(tokens: &[TokenWithSpan], at: usize) -> Option<Replacement> {
    let first = tokens.get(at).filter(|token| is(token, Keyword::IS))?;
    let (mut place, mut word) = next(tokens, at + 1)?;
    let negated = is(word, Keyword::NOT);
    if negated {
        (place, word) = next(tokens, place + 1)?;
    }
    if !is(word, Keyword::DISTINCT) {
        return None;
    }
    let (last, _) = next(tokens, place + 1).filter(|(_, word)| is(word, Keyword::FROM))?;
    let name = if negated { NOT_DISTINCT } else { DISTINCT };
    let token = Token::CustomBinaryOperator(name.to_owned());
    Some((vec![TokenWithSpan { token, span: first.span }], last))
}

/// Puts comparisons in the place of the operators in a statement.
pub(crate) fn put(statement: &mut Statement) {
    if let Some(sql) = inner(statement) {
        visit_expressions_mut(sql, compare);
    }
}

fn compare(expr: &mut Expr) {
    let Expr::BinaryOp { left, op: BinaryOperator::Custom(name), right } = expr else { return };
    let compared: fn(Box<Expr>, Box<Expr>) -> Expr = match name.as_str() {
        DISTINCT => Expr::IsDistinctFrom,
        NOT_DISTINCT => Expr::IsNotDistinctFrom,
        _ => return,
    };
    let (left, right) = (Box::new(taken(left)), Box::new(taken(right)));
    *expr = compared(left, right);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::dialect::calls::resolve;
    use crate::dialect::exprs::nested;

    /// The condition of a statement with each operation in parentheses.
    pub(in crate::dialect) fn read(condition: &str) -> String {
        let mut statement = crate::dialect::parse(&format!("SELECT 1 FROM t WHERE {condition}")).unwrap();
        resolve(&mut statement).unwrap();
        visit_expressions_mut(inner(&mut statement).unwrap(), |expr| {
            if let Expr::BinaryOp { .. }
            | Expr::UnaryOp { .. }
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..) = expr
            {
                *expr = *nested(taken(expr));
            }
        });
        statement.to_string().split_once(" WHERE ").unwrap().1.to_owned()
    }

    #[test]
    fn what_follows_a_comparison_is_no_part_of_it() {
        for (condition, expected) in [
            ("a IS DISTINCT FROM b AND c", "((a IS DISTINCT FROM b) AND c)"),
            ("a IS DISTINCT FROM b AND c OR d", "(((a IS DISTINCT FROM b) AND c) OR d)"),
            ("a OR b IS NOT DISTINCT FROM c AND d", "(a OR ((b IS NOT DISTINCT FROM c) AND d))"),
            ("NOT a IS DISTINCT FROM b OR c", "((NOT (a IS DISTINCT FROM b)) OR c)"),
            (
                "a IS DISTINCT FROM b AND c IS NOT DISTINCT FROM d OR e",
                "(((a IS DISTINCT FROM b) AND (c IS NOT DISTINCT FROM d)) OR e)",
            ),
            ("a IS DISTINCT FROM (b AND c) OR d", "((a IS DISTINCT FROM ((b AND c))) OR d)"),
            ("a + 1 is not distinct\nfrom b = c AND d", "(((a + 1) IS NOT DISTINCT FROM (b = c)) AND d)"),
            (
                "CASE WHEN a IS DISTINCT FROM b AND c THEN 1 END = 1",
                "(CASE WHEN ((a IS DISTINCT FROM b) AND c) THEN 1 END = 1)",
            ),
            (
                "r->>'x' IS DISTINCT FROM s->>'y' AND c",
                "((json_extract_string(r, 'x') IS DISTINCT FROM json_extract_string(s, 'y')) AND c)",
            ),
            ("a IS DISTINCT FROM s->>'y' = 'z'", "(a IS DISTINCT FROM (json_extract_string(s, 'y') = 'z'))"),
        ] {
            assert_eq!(read(condition), expected, "{condition}");
        }
    }

    #[test]
    fn statements_are_shown_as_they_were_written() {
        for sql in
            ["SELECT a IS DISTINCT FROM b AND c FROM t", "SELECT DISTINCT a FROM t WHERE a IS NOT NULL"]
        {
            assert_eq!(crate::dialect::parse(sql).unwrap().to_string(), sql);
        }
    }
}
