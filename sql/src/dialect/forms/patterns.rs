//! Regular expressions that are to match a whole text: `regexp_full_match` and `SIMILAR TO`.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};
use regex::Regex;

use crate::dialect::exprs::{binary, call, case, denied, nested, text, text_of};
use crate::error::SqlError;

/// The longest expression that may compute a pattern for whole texts.
const LONGEST_PATTERN: usize = 1000;

/// Whether a pattern matches a whole text. It is put into a group, so it is to be a pattern by itself too: of
/// `a)|(b` two would be made. One that is none stays as it is, for the error that says so.
pub(super) fn full_match(of: &Expr, pattern: &Expr) -> Option<Expr> {
    if let Some(written) = text_of(pattern) {
        let whole = Regex::new(written).map_or_else(|_| written.to_owned(), |_| format!("^(?:{written})$"));
        return Some(call("regexp_like", vec![of.clone(), text(&whole)]));
    }
    // It stands twice, and so would each that is in another.
    if pattern.to_string().len() > LONGEST_PATTERN {
        return None;
    }
    let joined = |left, right| binary(left, BinaryOperator::StringConcat, right);
    let whole = joined(joined(text("^(?:"), *nested(pattern.clone())), text(")$"));
    // Computed for the error alone: it is null of a pattern that is null.
    let alone = call("regexp_like", vec![text(""), pattern.clone()]);
    let whole = case(Expr::IsNotNull(Box::new(alone)), whole, None);
    Some(call("regexp_like", vec![of.clone(), whole]))
}

/// `SIMILAR TO`: in DuckDB the match of a whole text with a regular expression.
pub(in crate::dialect) fn similar(of: &Expr, pattern: &Expr, negated: bool) -> Option<Expr> {
    Some(denied(full_match(of, pattern)?, negated))
}

/// The error about `SIMILAR TO` with what it does not take.
pub(in crate::dialect) fn not_similar(of: &Expr) -> SqlError {
    let why = "SIMILAR TO takes a regular expression of at most 1000 characters, without ESCAPE";
    SqlError::invalid(why.to_owned()).at_start_of(of).hint("LIKE has % and _, and ESCAPE")
}

#[cfg(test)]
mod tests {

    #[test]
    fn a_pattern_for_a_whole_text_is_one_by_itself() {
        let of = |sql: &str| crate::dialect::calls::rewritten(&format!("SELECT {sql}")).unwrap();
        assert_eq!(of("regexp_full_match(a, 'b|c')"), "SELECT regexp_like(a, '^(?:b|c)$')");
        assert_eq!(of("regexp_full_match(a, 'b)|(c')"), "SELECT regexp_like(a, 'b)|(c')");
        assert_eq!(
            of("regexp_full_match(a, p)"),
            "SELECT regexp_like(a, CASE WHEN regexp_like('', p) IS NOT NULL THEN '^(?:' || (p) || ')$' END)"
        );
        let within = (0..20).fold("p".to_owned(), |p, _| format!("regexp_full_match(a, {p})"));
        assert!(of(&within).len() < 10_000);
    }
}
