//! Operators and clauses of others that stand behind a value or `*`.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::super::tokens::{is_word, next};

/// What is said of a token in its place.
pub(super) fn refused(
    tokens: &[TokenWithSpan],
    at: usize,
    before: Option<&TokenWithSpan>,
) -> Option<&'static str> {
    let (token, before) = (tokens.get(at)?, before?);
    if token.token == Token::CaretAt {
        return Some("x ^@ 'text' is written starts_with(x, 'text')");
    }
    let is_text = |token: &TokenWithSpan| matches!(token.token, Token::SingleQuotedString(_));
    if is_text(before) && is_text(token) {
        return Some("two texts stand next to each other: 'a' || 'b' joins them, 'a' AS b names the first");
    }
    let (_, after) = next(tokens, at + 1)?;
    if before.token == Token::Mul && is_word(token, "RENAME") && after.token == Token::LParen {
        return Some("* RENAME (a AS b) is written * EXCLUDE (a), a AS b");
    }
    if is_word(before, "IN") && matches!(token.token, Token::Word(_)) && is_list(tokens, at) {
        return Some("x IN list is written list_contains(list, x)");
    }
    let is_name_like = ["LIKE", "ILIKE", "GLOB"].iter().any(|word| is_word(token, word));
    if before.token == Token::Mul && is_name_like && is_text(after) {
        return Some("* LIKE 's%' is written COLUMNS('^s'), with a regular expression");
    }
    let is_pattern = matches!(after.token, Token::SingleQuotedString(_) | Token::Placeholder(_));
    let is_operator = ["RLIKE", "REGEXP"].iter().any(|word| is_word(token, word));
    (is_operator && is_pattern)
        .then_some("x RLIKE 'pattern' is written x ~ 'pattern', and NOT RLIKE x !~ 'pattern'")
}

/// Whether a word behind IN is a list: none in the call of `position(a IN b)`, in SHOW, and as the call of `unnest`.
fn is_list(tokens: &[TokenWithSpan], at: usize) -> bool {
    let is_shown = next(tokens, 0).is_some_and(|(_, first)| is_word(first, "SHOW"));
    if is_shown || tokens.get(at).is_some_and(|token| is_word(token, "UNNEST")) {
        return false;
    }
    let mut open = 0usize;
    let before = tokens.get(..at).unwrap_or_default();
    let mut outer = before.iter().rev().filter(|token| !matches!(token.token, Token::Whitespace(_)));
    while let Some(token) = outer.next() {
        match token.token {
            Token::RParen => open += 1,
            Token::LParen if open == 0 => {
                return !outer.next().is_some_and(|name| is_word(name, "POSITION"));
            }
            Token::LParen => open -= 1,
            _ => {}
        }
    }
    true
}
