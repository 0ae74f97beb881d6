//! Words that begin a clause for the parser, as names of columns and tables: `SELECT id top FROM pool view`.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::tokens::{is_one_of, is_word, last_before, next};
use crate::names::FREE;

/// Words behind such a name.
const BEHIND: &str = "ANTI CROSS EXCEPT FETCH FROM FULL GROUP HAVING INNER INTERSECT JOIN LEFT LIMIT \
    NATURAL OFFSET ON ORDER QUALIFY RIGHT SEMI TABLESAMPLE UNION USING WHERE WINDOW";

/// Words behind which a value begins, so that none ends with them.
const BEFORE_VALUES: &str = "ALL AND AS BETWEEN BY CASE DISTINCT ELSE EXCEPT EXCLUDE FILTER FROM HAVING \
    ILIKE IN INTERSECT INTERVAL INTO JOIN LIKE LIMIT NOT OFFSET ON OR OVER QUALIFY REPLACE SELECT THEN \
    UNION USING WHEN WHERE";

/// The tokens with these words as names where nothing else is meant.
pub(super) fn tokens(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    for i in 0..tokens.len() {
        if is_name(&tokens, i)
            && let Some(TokenWithSpan { token: Token::Word(word), .. }) = tokens.get_mut(i)
        {
            word.keyword = Keyword::NoKeyword;
        }
    }
    tokens
}

/// Whether a token is such a word as a name.
fn is_name(tokens: &[TokenWithSpan], at: usize) -> bool {
    let Some(token) = tokens.get(at) else { return false };
    let after = next(tokens, at + 1).map(|(_, after)| after);
    // `SELECT TOP 3 id` has a number behind it, `SELECT top, id` has not.
    if is_word(token, "TOP") {
        return !after.is_some_and(|after| matches!(after.token, Token::Number(..) | Token::LParen));
    }
    is_one_of(token, FREE)
        && last_before(tokens, at).is_some_and(ends_value)
        && after.is_none_or(|after| {
            matches!(after.token, Token::Comma | Token::RParen | Token::SemiColon) || is_one_of(after, BEHIND)
        })
}

fn ends_value(token: &TokenWithSpan) -> bool {
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
    fn names_are_no_clauses() {
        for (sql, expected) in [
            (
                "SELECT id top, n + 1 view, f(a) sort, set FROM t format JOIN u start USING(id)",
                "SELECT id AS top, n + 1 AS view, f(a) AS sort, set FROM t format JOIN u start USING(id)",
            ),
            (
                "SELECT DISTINCT top, max(top) FROM (SELECT a minus FROM t) sample WHERE minus > 1",
                "SELECT DISTINCT top, max(top) FROM (SELECT a AS minus FROM t) sample WHERE minus > 1",
            ),
            ("SELECT a FROM (VALUES (1)) values", "SELECT a FROM (VALUES (1)) values"),
            (
                "SELECT sum(a) OVER (PARTITION BY b) partition FROM t",
                "SELECT sum(a) OVER (PARTITION BY b) AS partition FROM t",
            ),
        ] {
            assert_eq!(crate::dialect::parse(sql).unwrap().to_string(), expected);
        }
        let error = crate::dialect::parse("SELECT a analyze FROM t").unwrap_err().to_string();
        assert!(error.contains("AS \"view\""), "{error}");
    }
}
