//! `FROM pool WHERE ok` as `SELECT * FROM pool WHERE ok`, wherever a query may stand; and `TABLE pool`, also
//! behind DESCRIBE.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::tokens::{is, is_any, made, next};

/// A query in parentheses, or the statement.
#[derive(Default)]
struct QueryLevel {
    begun: bool,
    /// Whether a list of WITH stands before that.
    with: bool,
    /// Where the FROM or TABLE is that it begins with, as long as there is no SELECT.
    from: Option<usize>,
}

/// The tokens with all columns selected where a query begins with FROM and names none.
pub(super) fn tokens(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let tokens = described(tokens);
    let mut begun = begun_with_from(&tokens).into_iter().peekable();
    if begun.peek().is_none() {
        return tokens;
    }
    let mut all = Vec::with_capacity(tokens.len() + 4);
    for (i, token) in tokens.into_iter().enumerate() {
        if begun.next_if_eq(&i).is_some() {
            let words: &[&str] =
                if is(&token, Keyword::TABLE) { &["SELECT", "*", "FROM"] } else { &["SELECT", "*"] };
            all.extend(made(words, token.span));
            if words.len() > 2 {
                continue;
            }
        }
        all.push(token);
    }
    all
}

/// The tokens of `DESCRIBE TABLE pool` without TABLE.
fn described(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let describes = next(&tokens, 0).filter(|(_, first)| is_any(first, &["DESC", "DESCRIBE"]));
    let table = describes.and_then(|(at, _)| next(&tokens, at + 1));
    let table = table.filter(|(_, word)| is(word, Keyword::TABLE)).map(|(table, _)| table);
    let is_named = |table: &usize| {
        next(&tokens, table + 1).is_some_and(|(_, name)| matches!(name.token, Token::Word(_)))
    };
    if let Some(table) = table.filter(is_named) {
        tokens.remove(table);
    }
    tokens
}

/// The places of FROM and TABLE at the beginning of a query that has no SELECT, in order.
fn begun_with_from(tokens: &[TokenWithSpan]) -> Vec<usize> {
    let mut found = Vec::new();
    let (mut outer, mut level) = (Vec::new(), QueryLevel::default());
    let mut before: Option<&TokenWithSpan> = None;
    for (i, token) in tokens.iter().enumerate() {
        match token.token {
            Token::Whitespace(_) => continue,
            Token::LParen => outer.push(std::mem::take(&mut level)),
            // What closes more than it opens is left to the parser.
            Token::RParen => {
                found.extend(std::mem::replace(&mut level, outer.pop().unwrap_or_default()).from);
            }
            _ if token.token == Token::SemiColon || joins_queries(token) => {
                found.extend(std::mem::take(&mut level).from);
            }
            _ if is(token, Keyword::WITH) => level.with |= !level.begun,
            _ if is(token, Keyword::SELECT) => (level.begun, level.from) = (true, None),
            _ if is(token, Keyword::FROM) || is_table(tokens, i) => {
                let first = !level.begun
                    && before.is_none_or(|token| precedes_query(token, level.with, outer.is_empty()));
                level.from = level.from.or(first.then_some(i));
                level.begun = true;
            }
            _ => {}
        }
        before = Some(token);
    }
    found.extend(level.from);
    found.sort_unstable();
    found
}

/// Whether a token begins `TABLE name`, with nothing but the end of a query or what limits its rows behind
/// it.
fn is_table(tokens: &[TokenWithSpan], at: usize) -> bool {
    let is_named = |token: &TokenWithSpan| matches!(token.token, Token::Word(_));
    if !tokens.get(at).is_some_and(|token| is(token, Keyword::TABLE)) {
        return false;
    }
    let Some((name, _)) = next(tokens, at + 1).filter(|(_, token)| is_named(token)) else { return false };
    let ends = ["ORDER", "LIMIT", "OFFSET", "FETCH"];
    next(tokens, name + 1).is_none_or(|(_, after)| {
        matches!(after.token, Token::RParen | Token::SemiColon | Token::Period)
            || joins_queries(after)
            || is_any(after, &ends)
    })
}

fn joins_queries(token: &TokenWithSpan) -> bool {
    [Keyword::UNION, Keyword::EXCEPT, Keyword::INTERSECT].iter().any(|word| is(token, *word))
}

/// Whether a query may follow a token; after a list of WITH, in parentheses, it does. In other parentheses
/// stand calls such as `substring(name FROM 2)`.
fn precedes_query(token: &TokenWithSpan, with: bool, outermost: bool) -> bool {
    match token.token {
        Token::LParen | Token::SemiColon => true,
        Token::RParen => with,
        _ => {
            let verbs = ["EXPLAIN", "ANALYZE", "VERBOSE", "SUMMARIZE", "DESCRIBE"];
            joins_queries(token) || is(token, Keyword::ALL) || outermost && is_any(token, &verbs)
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;
    use crate::dialect::grammar::Grammar;

    #[test]
    fn queries_without_columns_have_all() {
        for (sql, expected) in [
            ("FROM t WHERE a > 1", "SELECT * FROM t WHERE a > 1"),
            ("FROM t SELECT a WHERE a > 1", "FROM t SELECT a WHERE a > 1"),
            (
                "SELECT 1 FROM t WHERE NOT EXISTS (FROM u WHERE u.a = t.a)",
                "SELECT 1 FROM t WHERE NOT EXISTS (SELECT * FROM u WHERE u.a = t.a)",
            ),
            (
                "FROM (FROM t LIMIT 2) x WHERE a IN (SELECT 1)",
                "SELECT * FROM (SELECT * FROM t LIMIT 2) x WHERE a IN (SELECT 1)",
            ),
            (
                "WITH c AS (FROM t) FROM c UNION ALL FROM d ORDER BY a",
                "WITH c AS (SELECT * FROM t) SELECT * FROM c UNION ALL SELECT * FROM d ORDER BY a",
            ),
            ("SELECT * EXCEPT (a) FROM t", "SELECT * EXCEPT (a) FROM t"),
            ("SELECT extract(year FROM a) FROM t", "SELECT extract(year FROM a) FROM t"),
            ("SELECT (1) FROM t", "SELECT (1) FROM t"),
            (
                "FROM t WHERE substring(name FROM 2) = 'x'",
                "SELECT * FROM t WHERE substring(name FROM 2) = 'x'",
            ),
            ("EXPLAIN FROM t", "EXPLAIN SELECT * FROM t"),
            ("TABLE t ORDER BY a", "SELECT * FROM  t ORDER BY a"),
            ("FROM (TABLE s.t) x", "SELECT * FROM (SELECT * FROM  s.t) x"),
            ("SELECT 1 FROM t WHERE (table IS NULL)", "SELECT 1 FROM t WHERE (table IS NULL)"),
            ("DESCRIBE TABLE t", "DESCRIBE  t"),
            ("DESCRIBE table", "DESCRIBE table"),
        ] {
            let found = Tokenizer::new(&Grammar, sql).tokenize_with_location().unwrap();
            let text: String = tokens(found).iter().map(|token| token.token.to_string()).collect();
            assert_eq!(text, expected);
        }
    }
}
