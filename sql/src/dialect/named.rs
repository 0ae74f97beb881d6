//! `SELECT name: x` as `SELECT x AS name`.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::tokens::{is_any, is_one_of, is_word, last_before, made, next};
use crate::error::{SqlError, SqlErrorKind};

/// Words that end the result of a SELECT.
const AFTER_RESULT: &str = "EXCEPT FETCH FROM GROUP HAVING INTERSECT INTO LIMIT OFFSET ORDER QUALIFY UNION \
    USING WHERE WINDOW";

/// What is between two brackets, and where it is.
#[derive(Default)]
struct BracketContents {
    /// In the result of a SELECT.
    in_result: bool,
    /// At the beginning of an item of it.
    begins: bool,
    /// The name that is to stand behind its item, and how many tokens come before that.
    name: Option<(TokenWithSpan, usize)>,
}

impl BracketContents {
    /// Ends an item, with its name.
    fn end(&mut self, all: &mut Vec<TokenWithSpan>) -> Result<(), SqlError> {
        if let Some((name, start)) = self.name.take() {
            let is_blank = |token: &TokenWithSpan| matches!(token.token, Token::Whitespace(_));
            if all.iter().skip(start).all(is_blank) {
                let why = format!("syntax error: there is no expression behind `{}:`", name.token);
                let place = (name.span.start.line, name.span.start.column);
                return Err(SqlError::new(SqlErrorKind::Syntax, why).at(place));
            }
            all.extend(made(&["AS"], name.span));
            all.push(name);
        }
        Ok(())
    }
}

/// The tokens with such names behind what they name.
///
/// # Errors
/// A name of nothing.
pub(super) fn tokens(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, SqlError> {
    let mut all: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut around = vec![BracketContents::default()];
    // Where the tokens behind the last name begin.
    let mut next_at = 0;
    for (i, token) in tokens.iter().enumerate() {
        let Some(inside) = around.last_mut().filter(|_| i >= next_at) else { continue };
        let begins = std::mem::take(&mut inside.begins);
        match &token.token {
            Token::Whitespace(_) => inside.begins = begins,
            Token::LParen | Token::LBracket | Token::LBrace => around.push(BracketContents::default()),
            Token::RParen | Token::RBracket | Token::RBrace => {
                inside.end(&mut all)?;
                if around.len() > 1 {
                    around.pop();
                }
            }
            Token::Comma => {
                inside.end(&mut all)?;
                inside.begins = inside.in_result;
            }
            Token::SemiColon | Token::EOF => {
                inside.end(&mut all)?;
                inside.in_result = false;
            }
            // A column of a table, whatever clause its name begins elsewhere.
            Token::Word(_) if last_before(&tokens, i).is_some_and(|dot| dot.token == Token::Period) => {}
            Token::Word(_) if begins && colon(&tokens, i).is_some() => {
                inside.name = Some((token.clone(), all.len()));
                next_at = colon(&tokens, i).map_or(i, |colon| colon + 1);
                continue;
            }
            Token::Word(_) if begins && is_any(token, &["ALL", "DISTINCT"]) => inside.begins = true,
            Token::Word(_) if is_word(token, "SELECT") => {
                inside.end(&mut all)?;
                (inside.in_result, inside.begins) = (true, true);
            }
            Token::Word(_) if inside.in_result && ends_result(&tokens, i) => {
                inside.end(&mut all)?;
                inside.in_result = false;
            }
            _ => {}
        }
        all.push(token.clone());
    }
    if let Some(inside) = around.last_mut() {
        inside.end(&mut all)?;
    }
    Ok(all)
}

/// Where the colon stands behind the name that a token is.
fn colon(tokens: &[TokenWithSpan], name: usize) -> Option<usize> {
    next(tokens, name + 1).filter(|(_, token)| token.token == Token::Colon).map(|(at, _)| at)
}

/// Whether a word ends the result of a SELECT: not that of WITHIN GROUP, nor of `* EXCEPT (..)`.
fn ends_result(tokens: &[TokenWithSpan], at: usize) -> bool {
    let Some(token) = tokens.get(at).filter(|token| is_one_of(token, AFTER_RESULT)) else { return false };
    match last_before(tokens, at) {
        Some(before) if is_word(token, "GROUP") => !is_word(before, "WITHIN"),
        Some(before) if is_word(token, "FROM") => !is_word(before, "DISTINCT"),
        Some(before) if is_word(token, "EXCEPT") => before.token != Token::Mul,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_stand_behind_what_they_name() {
        for (sql, expected) in [
            ("SELECT a: 1, \"b c\": x + 1 FROM t", "SELECT 1 AS a, x + 1 AS \"b c\" FROM t"),
            ("SELECT DISTINCT a: b FROM t ORDER BY a", "SELECT DISTINCT b AS a FROM t ORDER BY a"),
            ("SELECT x, a: (SELECT b: 2), {'k': 1}", "SELECT x, (SELECT 2 AS b) AS a, {'k': 1}"),
            ("FROM t SELECT a: l[1:2], b: x::INT", "FROM t SELECT l[1:2] AS a, x::INT AS b"),
            (
                "SELECT t.limit, a: t.from + t . where, b: 2, t.select, c: 3 FROM t",
                "SELECT t.limit, t.from + t.where AS a, 2 AS b, t.select, 3 AS c FROM t",
            ),
            (
                "SELECT a: x IS DISTINCT FROM y, * EXCEPT (z), b: percentile_cont(0.5) WITHIN GROUP (ORDER BY x) UNION ALL SELECT c: 1",
                "SELECT x IS DISTINCT FROM y AS a, * EXCEPT (z), percentile_cont(0.5) WITHIN GROUP (ORDER BY x) AS b UNION ALL SELECT 1 AS c",
            ),
        ] {
            assert_eq!(crate::dialect::parse(sql).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn a_name_of_nothing_is_told_so() {
        for (sql, name, column) in [
            ("SELECT a: 1, b:", "b", 14),
            ("SELECT a: /* nothing */, b", "a", 8),
            ("SELECT 1, (SELECT \"b c\": )", "\"b c\"", 19),
            ("FROM pool SELECT x:", "x", 18),
            ("SELECT x: FROM pool", "x", 8),
        ] {
            let error = crate::dialect::parse(sql).expect_err(sql).to_string();
            let expected = format!("there is no expression behind `{name}:` (line 1, column {column})");
            assert!(error.contains(&expected), "{sql}: {error}");
        }
    }
}
