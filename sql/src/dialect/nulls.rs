//! `x ISNULL` and `x NOTNULL` as `x IS [NOT] NULL`: the parser would take the word for a heading.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::tokens::{Replacement, is_one_of, is_word, last_before, made, next};

/// Words behind which a value begins, so that none ends with them.
const BEFORE_VALUES: &str = "ALL AND AS BETWEEN BY CASE DISTINCT ELSE EXCEPT EXCLUDE FILTER FROM HAVING \
    ILIKE IN INTERSECT INTERVAL INTO JOIN LIKE LIMIT NOT OFFSET ON OR OVER QUALIFY REPLACE SELECT THEN \
    UNION USING WHEN WHERE";

/// The usual form in the place of such a word behind a value.
pub(super) fn test(tokens: &[TokenWithSpan], at: usize) -> Option<Replacement> {
    let token = tokens.get(at)?;
    let words = usual(token).filter(|_| !is_name(tokens, at))?;
    last_before(tokens, at).filter(|before| ends_value(before))?;
    Some((made(words, token.span), at))
}

fn usual(token: &TokenWithSpan) -> Option<&'static [&'static str]> {
    if is_word(token, "ISNULL") {
        return Some(&["IS", "NULL"]);
    }
    is_word(token, "NOTNULL").then_some(&["IS", "NOT", "NULL"])
}

/// Whether a word is the name of a function or a table.
fn is_name(tokens: &[TokenWithSpan], at: usize) -> bool {
    next(tokens, at + 1).is_some_and(|(_, after)| matches!(after.token, Token::LParen | Token::Period))
}

/// Whether a value may end with a token.
pub(super) fn ends_value(token: &TokenWithSpan) -> bool {
    let is_end = matches!(
        token.token,
        Token::Word(_)
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Placeholder(_)
            | Token::RParen
            | Token::RBracket
            | Token::RBrace
    );
    is_end && !is_one_of(token, BEFORE_VALUES)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_words_are_operators_behind_values_alone() {
        for (sql, expected) in [
            ("SELECT a ISNULL FROM t", "SELECT a IS NULL FROM t"),
            ("SELECT a + 1 notnull AS b FROM t", "SELECT a + 1 IS NOT NULL AS b FROM t"),
            ("SELECT f(a) ISNULL AND b NOTNULL FROM t", "SELECT f(a) IS NULL AND b IS NOT NULL FROM t"),
            ("SELECT isnull, notnull FROM t", "SELECT isnull, notnull FROM t"),
            ("SELECT a AS isnull, t.isnull FROM t", "SELECT a AS isnull, t.isnull FROM t"),
            ("SELECT a \"isnull\" FROM t", "SELECT a AS \"isnull\" FROM t"),
            ("SELECT a FROM t WHERE NOT isnull", "SELECT a FROM t WHERE NOT isnull"),
        ] {
            assert_eq!(crate::dialect::parse(sql).unwrap().to_string(), expected);
        }
    }
}
