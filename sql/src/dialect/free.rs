//! Words that begin a clause for the parser, as names of columns and tables: `SELECT id top FROM pool view`.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::nulls::ends_value;
use super::tokens::{is_any, is_word, next};
use crate::names::FREE;

/// Words behind such a name.
const BEHIND: [&str; 25] = [
    "ANTI",
    "CROSS",
    "EXCEPT",
    "FETCH",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "INNER",
    "INTERSECT",
    "JOIN",
    "LEFT",
    "LIMIT",
    "NATURAL",
    "OFFSET",
    "ON",
    "ORDER",
    "QUALIFY",
    "RIGHT",
    "SEMI",
    "TABLESAMPLE",
    "UNION",
    "USING",
    "WHERE",
    "WINDOW",
];

/// The tokens with these words as names where nothing else is meant.
pub(super) fn tokens(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut is_behind = false;
    for i in 0..tokens.len() {
        let is_free = is_name(&tokens, i, is_behind);
        let Some(token) = tokens.get_mut(i) else { break };
        if let Token::Word(Word { keyword, .. }) = &mut token.token
            && is_free
        {
            *keyword = Keyword::NoKeyword;
        }
        if !matches!(token.token, Token::Whitespace(_)) {
            is_behind = ends_value(token);
        }
    }
    tokens
}

/// Whether a token is such a word as a name; `is_behind`: it stands behind what may be the end of a value.
fn is_name(tokens: &[TokenWithSpan], at: usize, is_behind: bool) -> bool {
    let Some(token) = tokens.get(at) else { return false };
    let after = next(tokens, at + 1).map(|(_, after)| after);
    // `SELECT TOP 3 id` has a number behind it, `SELECT top, id` has not.
    if is_word(token, "TOP") {
        return !after.is_some_and(|after| matches!(after.token, Token::Number(..) | Token::LParen));
    }
    is_behind
        && is_any(token, &FREE)
        && after.is_none_or(|after| {
            matches!(after.token, Token::Comma | Token::RParen | Token::SemiColon) || is_any(after, &BEHIND)
        })
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
