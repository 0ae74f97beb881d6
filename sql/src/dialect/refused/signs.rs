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
    let is_pattern = matches!(after.token, Token::SingleQuotedString(_) | Token::Placeholder(_));
    let is_operator = ["RLIKE", "REGEXP"].iter().any(|word| is_word(token, word));
    (is_operator && is_pattern)
        .then_some("x RLIKE 'pattern' is written x ~ 'pattern', and NOT RLIKE x !~ 'pattern'")
}
