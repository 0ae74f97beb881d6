//! `x IN [1, 2]` and `x IN list`: whether a list has a value.
//!
//! The engine has a written list alone; any other is the argument of `list_contains()`, to which a NULL in the
//! list is like any value that is not the one; a column of the list may have one.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Value};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::exprs::{binary, call_at, denied, is_null, nested, null};
use crate::walk::visit_expressions;

/// Whether a value is in a list, or is not (`negated`); an error about `list_contains()` names the place `span`.
pub(super) fn condition(value: Expr, list: Expr, negated: bool, span: Span) -> Expr {
    let mut list = match list {
        Expr::Array(list) if !list.elem.iter().any(is_computed) => list.elem,
        other => {
            return denied(call_at("list_contains", vec![other, value], span), negated);
        }
    };
    // Nothing is in an empty list, not even a value that is not known.
    let nothing = if list.is_empty() { Expr::value(Value::Boolean(false)) } else { null() };
    // No value is that of a NULL, which is no answer either.
    list.retain(|element| !is_null(element));
    if list.is_empty() {
        let condition = binary(Expr::IsNull(Box::new(value)), BinaryOperator::And, nothing);
        return denied(*nested(condition), negated);
    }
    Expr::InList { expr: Box::new(value), list, negated }
}

/// Whether an element of a list depends on columns.
fn is_computed(element: &Expr) -> bool {
    visit_expressions(element, |part: &Expr| {
        matches!(
            part,
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Function(_) | Expr::Subquery(_)
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::dialect::parse;

    #[test]
    fn lists_behind_in_are_values_or_asked() {
        for (sql, expected) in [
            ("a IN [1, 2]", "a IN (1, 2)"),
            ("a NOT IN [1, NULL, 2] AND b", "a NOT IN (1, 2) AND b"),
            ("a IN t.l AND b IN (1)", "list_contains(t.l, a) AND b IN (1)"),
            ("a NOT IN l", "(NOT list_contains(l, a))"),
            ("a IN tags::VARCHAR[] OR b", "list_contains(tags::VARCHAR[], a) OR b"),
            ("lower(a) IN string_split(x, ',')[1:2]", "list_contains(string_split(x, ',')[1:2], lower(a))"),
            ("a IN l || [1] AND b", "list_contains(l || [1], a) AND b"),
            ("in NOT IN l AND b IN (l)", "(NOT list_contains(l, in)) AND b IN (l)"),
            ("a IN []", "(a IS NULL AND false)"),
            ("a IN [NULL]", "(a IS NULL AND NULL)"),
            ("a NOT IN [NULL, NULL]", "(NOT (a IS NULL AND NULL))"),
            ("a IN $r AND b NOT IN $1", "list_contains($r, a) AND (NOT list_contains($1, b))"),
            ("a IN ? AND b IN ($r)", "list_contains(?, a) AND b IN ($r)"),
            ("a NOT IN [1, b]", "(NOT list_contains([1, b], a))"),
            ("r->>'a' IN l AND r->'b' NOT IN [1]", "list_contains(l, r ->> 'a') AND r -> 'b' NOT IN (1)"),
            ("position('a' IN b) > 1 AND a IN (SELECT 1)", "position('a' IN b) > 1 AND a IN (SELECT 1)"),
        ] {
            let parsed = parse(&format!("SELECT 1 FROM t WHERE {sql}")).unwrap().to_string();
            let condition = parsed.split_once(" WHERE ").unwrap().1;
            assert!(condition.eq_ignore_ascii_case(expected), "{condition}");
        }
    }
}
