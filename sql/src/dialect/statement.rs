//! Parsing of a statement: its tokens in the words of the parser, within the limits of [`guard`].

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::{
    differs, first, free, lambdas, named, nulls, numbers, pivot, refused, sample, summarized, tokens,
};
use crate::error::{SqlError, SqlErrorKind};
use crate::guard;

/// Most levels of nesting, as the parser of statements has it.
const NESTING: usize = 50;

/// Parses one statement and refuses what is not a small read-only query.
pub(crate) fn parse(sql: &str) -> Result<Statement, SqlError> {
    parse_below(sql, 0)
}

/// The same of a text whose places are those that it has below so many lines.
pub(crate) fn parse_below(sql: &str, lines: u64) -> Result<Statement, SqlError> {
    let generic = GenericDialect {};
    let mut tokens = tokens_of(sql)?;
    guard::check_begun(&tokens)?;
    for token in &mut tokens {
        token.span.start.line += lines;
        token.span.end.line += lines;
    }
    let mut statements = DFParserBuilder::new(tokens)
        .with_dialect(&generic)
        .build()
        .and_then(|mut p| p.parse_statements())
        .map_err(|e| SqlError::from_datafusion(e, &[]))?;
    let mut statement = match (statements.pop_front(), statements.is_empty()) {
        (Some(one), true) => one,
        (None, _) => return Err(SqlError::new(SqlErrorKind::Syntax, "there is no statement".into())),
        (Some(_), false) => return Err(SqlError::refused("only one statement is allowed here".into())),
    };
    guard::check(&statement)?;
    differs::put(&mut statement);
    lambdas::put(&mut statement);
    pivot::put(&mut statement)?;
    Ok(statement)
}

/// The tokens of a text of bearable size.
fn tokens_of(sql: &str) -> Result<Vec<TokenWithSpan>, SqlError> {
    guard::check_length(sql)?;
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize_with_location()
        .map_err(|e| SqlError::new(SqlErrorKind::Syntax, e.message).at(e.location.line, e.location.column))?;
    guard::check_operators(&tokens)?;
    understood(tokens)
}

/// The tokens of a statement as the parser understands them.
fn understood(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, SqlError> {
    let tokens = lambdas::tokens(numbers::tokens(tokens)?)?;
    refused::check(&tokens)?;
    let tokens = tokens::powers(tokens);
    let tokens = tokens::usual(tokens::plain(nulls::tokens(differs::tokens(free::tokens(tokens)))));
    pivot::tokens(summarized::tokens(named::tokens(sample::tokens(first::tokens(tokens))?)))
}

/// Whether a text is one expression, as it can stand after WHERE.
///
/// # Errors
/// Any other text: one that ends the expression early would mean something else inside a statement.
pub fn check_condition(text: &str) -> Result<(), SqlError> {
    let mut parser = Parser::new(&GenericDialect {})
        .with_recursion_limit(NESTING)
        .with_tokens_with_locations(tokens_of(text)?);
    parser.parse_expr().map_err(|e| SqlError::from_datafusion(e.into(), &[]))?;
    let after = parser.peek_token();
    match after.token {
        Token::EOF => Ok(()),
        token => {
            let place = after.span.start;
            let why = format!("syntax error at {token}: the condition ends before it");
            Err(SqlError::new(SqlErrorKind::Syntax, why).at(place.line, place.column))
        }
    }
}
