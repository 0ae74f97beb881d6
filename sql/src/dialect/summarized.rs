//! `SUMMARIZE` at the beginning of a statement.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::tokens::{is, is_word, made, next};

/// The name that the summarized rows have in the statement, which no table has by chance.
pub(super) const ROWS: &str = "summarize()";

/// A statement that begins with SUMMARIZE, as `WITH "summarize()" AS (..) SELECT * FROM "summarize()"`.
pub(super) fn tokens(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let Some((at, first)) = next(&tokens, 0).filter(|(_, token)| is_word(token, "SUMMARIZE")) else {
        return tokens;
    };
    let span = first.span;
    let queries = [Keyword::SELECT, Keyword::WITH, Keyword::FROM, Keyword::VALUES];
    let query = next(&tokens, at + 1)
        .is_some_and(|(_, t)| t.token == Token::LParen || queries.iter().any(|word| is(t, *word)));
    let quoted = format!("\"{ROWS}\"");
    let mut all = made(&["WITH", &quoted, "AS", "("], span);
    if !query {
        all.extend(made(&["SELECT", "*", "FROM"], span));
    }
    let rest = tokens.into_iter().skip(at + 1);
    all.extend(rest.filter(|token| !matches!(token.token, Token::SemiColon | Token::EOF)));
    all.extend(made(&[")", "SELECT", "*", "FROM", &quoted], span));
    all
}
