//! Operators and clauses of others that stand behind a value or `*`.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::super::tokens::{is_any, is_word, next};

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
    if is_word(before, "IN") && matches!(token.token, Token::Word(_)) && is_list(tokens, at) {
        return Some("x IN list is written list_contains(list, x)");
    }
    if let Token::Word(word) = &token.token
        && word.quote_style.is_none()
        && word.value.strip_prefix('#').is_some_and(|place| place.parse::<u32>().is_ok())
    {
        return Some(
            "#1 is written as the name of the column; ORDER BY 1 and GROUP BY 1 are by the first column of the result",
        );
    }
    let (_, after) = next(tokens, at + 1)?;
    let is_name_like = is_any(token, &["LIKE", "ILIKE", "GLOB"]);
    if before.token == Token::Mul && is_name_like && is_text(after) {
        return Some("* LIKE 's%' is written COLUMNS('^s'), with a regular expression");
    }
    let is_pattern = matches!(after.token, Token::SingleQuotedString(_) | Token::Placeholder(_));
    let is_operator = is_any(token, &["RLIKE", "REGEXP"]);
    (is_operator && is_pattern)
        .then_some("x RLIKE 'pattern' is written x ~ 'pattern', and NOT RLIKE x !~ 'pattern'")
}

/// What is no list behind IN: a call, and what goes on with a statement behind a column called `in`.
const NO_LIST: [&str; 11] =
    ["UNNEST", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "UNION", "AS", "ASC", "DESC"];

/// Words behind which `in` is a name.
const BEFORE_NAMES: [&str; 5] = ["AS", "SELECT", "DISTINCT", "BY", "WHERE"];

/// Whether a word behind IN is a list: none in the call of `position(a IN b)`, in SHOW, and where `in` is a
/// column.
fn is_list(tokens: &[TokenWithSpan], at: usize) -> bool {
    let is_shown = next(tokens, 0).is_some_and(|(_, first)| is_word(first, "SHOW"));
    if is_shown || tokens.get(at).is_some_and(|token| is_any(token, &NO_LIST)) {
        return false;
    }
    let mut open = 0usize;
    let before = tokens.get(..at).unwrap_or_default();
    let mut outer = before.iter().rev().filter(|token| !matches!(token.token, Token::Whitespace(_)));
    // Behind IN itself.
    let Some(value) = outer.clone().nth(1) else { return false };
    if matches!(value.token, Token::Period | Token::Comma | Token::LParen) || is_any(value, &BEFORE_NAMES) {
        return false;
    }
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
