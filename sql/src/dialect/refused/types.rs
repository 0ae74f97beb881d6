//! Types that casts do not have, and their replacements.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::super::tokens::{is_word, next};

/// Their names, and what is said of each.
const TYPES: [(&str, &str); 2] = [
    (
        "STRUCT",
        "a cast to STRUCT(..) is written field by field: {'a': x.a::INT, 'b': x.b::TEXT}, of JSON {'a': (x->>'a')::INT}",
    ),
    ("MAP", "there is no type MAP(..): a key of a JSON object is x->>'key', and json_keys(x) are all keys"),
];

/// What is said of a word that is the type of a cast.
pub(super) fn refused(
    tokens: &[TokenWithSpan],
    at: usize,
    before: Option<&TokenWithSpan>,
) -> Option<&'static str> {
    let is_type = before.is_some_and(|token| token.token == Token::DoubleColon || is_word(token, "AS"));
    let (_, after) = next(tokens, at + 1).filter(|_| is_type)?;
    let token = tokens.get(at).filter(|_| after.token == Token::LParen)?;
    TYPES.iter().find(|(name, _)| is_word(token, name)).map(|(_, says)| *says)
}
