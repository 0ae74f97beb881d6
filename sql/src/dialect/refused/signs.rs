//! Operators and clauses of others that stand behind a value or `*`.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::super::tokens::{is_any, next};

/// What is said of a token in its place.
pub(super) fn refused(
    tokens: &[TokenWithSpan],
    at: usize,
    before: Option<&TokenWithSpan>,
) -> Option<&'static str> {
    let (token, before) = (tokens.get(at)?, before?);
    let is_at = match &token.token {
        Token::AtSign => true,
        Token::Word(word) => word.quote_style.is_none() && word.value.starts_with('@'),
        _ => false,
    };
    if is_at {
        return Some("@x is written abs(x), and a parameter $x");
    }
    let is_factorial = matches!(before.token, Token::Number(..) | Token::RParen);
    if is_factorial && token.token == Token::ExclamationMark {
        return Some("x! is written factorial(x)");
    }
    let is_text = |token: &TokenWithSpan| matches!(token.token, Token::SingleQuotedString(_));
    if is_text(before) && is_text(token) {
        return Some("two texts stand next to each other: 'a' || 'b' joins them, 'a' AS b names the first");
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
