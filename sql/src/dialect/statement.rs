//! Parsing of a statement: its tokens in the words of the parser, within the limits of [`guard`].

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::grammar::Grammar;
use super::tokens::{Replacement, is_any, is_word, next, replaced};
use super::{
    first, free, globs, lambdas, named, numbers, pivot, places, refused, repeated, sample, summarize, tokens,
};
use crate::error::{SqlError, SqlErrorKind};
use crate::guard;
use crate::positions::TextPosition;
use crate::translate::nested_too_deeply;
use crate::walk::inner;

/// Most levels of nesting, as the parser of statements has it.
const NESTING: usize = 50;

/// Words with which clauses begin.
const CLAUSES: [&str; 8] = ["FETCH", "GROUP", "HAVING", "LIMIT", "OFFSET", "ORDER", "QUALIFY", "WHERE"];

/// What takes the place of a form that begins at a token, if one does.
type Form = fn(&[TokenWithSpan], usize) -> Option<Replacement>;

/// Forms of DuckDB, none of which stands in another, and what takes their place.
const FORMS: [Form; 6] = [
    tokens::power,
    tokens::interval,
    tokens::last_comma,
    tokens::filter,
    tokens::materialized,
    tokens::lateral,
];

/// Parses one statement and refuses what is not a small read-only query.
pub(crate) fn parse(sql: &str) -> Result<Statement, SqlError> {
    parse_below(sql, 0)
}

/// The same of a text whose places are those that it has below so many lines.
pub(crate) fn parse_below(sql: &str, lines: u64) -> Result<Statement, SqlError> {
    let mut tokens = tokens_of(sql)?;
    guard::check_begun(&tokens)?;
    for token in &mut tokens {
        token.span.start.line += lines;
        token.span.end.line += lines;
    }
    let (clause, is_deep, open) = (clause_as_name(&tokens), is_too_deep(&tokens), unclosed(&tokens));
    let mut statements = DFParserBuilder::new(tokens)
        .with_dialect(&Grammar)
        .build()
        .and_then(|mut p| p.parse_statements())
        .map_err(|e| {
            let quoted = |word: String| {
                format!("`{word}` begins a clause: put it in double quotes if it is a name, \"{word}\"")
            };
            match SqlError::from_datafusion(e, &[]) {
                error if error.kind() == SqlErrorKind::Syntax && is_deep => nested_too_deeply(),
                error if error.message().ends_with(": expected )") && open.is_some() => {
                    SqlError::new(SqlErrorKind::Syntax, "`(` is not closed".into()).at(open)
                }
                error if error.kind() == SqlErrorKind::Syntax => error.or_hint(clause.map(quoted)),
                error => error,
            }
        })?;
    let mut statement = match (statements.pop_front(), statements.is_empty()) {
        (Some(one), true) => one,
        (None, _) => return Err(SqlError::new(SqlErrorKind::Syntax, "there is no statement".into())),
        (Some(_), false) => return Err(SqlError::refused("only one statement is allowed here".into())),
    };
    guard::check(&statement)?;
    if let Some(sql) = inner(&mut statement) {
        refused::check_clauses(sql)?;
    }
    lambdas::put(&mut statement)?;
    places::put(&mut statement)?;
    pivot::put(&mut statement)?;
    Ok(statement)
}

/// A word that begins a clause and stands where a column is meant: an item of a
/// list, or the last before FROM.
fn clause_as_name(tokens: &[TokenWithSpan]) -> Option<String> {
    let is_behind_item =
        |after: &TokenWithSpan| matches!(after.token, Token::Comma | Token::RParen) || is_word(after, "FROM");
    let mut before: Option<&TokenWithSpan> = None;
    for (i, token) in tokens.iter().enumerate() {
        if matches!(token.token, Token::Whitespace(_)) {
            continue;
        }
        // There the parser takes it for the name that it is.
        let is_name = before.is_some_and(|before| before.token == Token::Period || is_word(before, "AS"));
        if !is_name && is_any(token, &CLAUSES) && next(tokens, i + 1).is_some_and(|(_, t)| is_behind_item(t))
        {
            return Some(token.token.to_string().to_lowercase());
        }
        before = Some(token);
    }
    None
}

/// Where the last parenthesis begins that is not closed. The parser takes a subquery without its end for a table
/// in parentheses, and finds the error in it.
fn unclosed(tokens: &[TokenWithSpan]) -> Option<TextPosition> {
    let mut open = Vec::new();
    for token in tokens {
        match token.token {
            Token::LParen => open.push((token.span.start.line, token.span.start.column)),
            Token::RParen => {
                open.pop();
            }
            _ => {}
        }
    }
    open.pop()
}

/// Whether a text goes down further than the parser, which then takes the word of a CASE around for a name, and
/// finds an error somewhere else.
fn is_too_deep(tokens: &[TokenWithSpan]) -> bool {
    let mut levels: Vec<usize> = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        // The statement and its query are levels as well, and so is a subquery in its parentheses.
        let around = levels.last().copied().unwrap_or(2);
        if token.token == Token::LParen {
            let is_query = next(tokens, i + 1).is_some_and(|(_, t)| is_any(t, &["SELECT", "WITH"]));
            levels.push(around + 1 + usize::from(is_query));
        } else if is_word(token, "CASE") {
            levels.push(around + 1);
        } else if token.token == Token::RParen || is_word(token, "END") {
            levels.pop();
        }
        if levels.last().is_some_and(|level| *level >= NESTING) {
            return true;
        }
    }
    false
}

/// The tokens of a text of bearable size.
fn tokens_of(sql: &str) -> Result<Vec<TokenWithSpan>, SqlError> {
    guard::check_length(sql)?;
    let mut tokens = Tokenizer::new(&Grammar, sql).tokenize_with_location().map_err(|e| {
        let why = match e.message.as_str() {
            "Unterminated string literal" => "the text that begins here is not closed: add a '".to_owned(),
            _ => e.message,
        };
        SqlError::new(SqlErrorKind::Syntax, why).at((e.location.line, e.location.column))
    })?;
    // What reads tokens looks past blanks again and again.
    let is_blank = |token: &TokenWithSpan| matches!(token.token, Token::Whitespace(_));
    tokens.dedup_by(|token, before| is_blank(token) && is_blank(before));
    guard::check_operators(&tokens)?;
    repeated::check_depth(&tokens)?;
    let tokens = understood(super::chained::tokens(tokens))?;
    repeated::check(&tokens)?;
    Ok(tokens)
}

/// The tokens of a statement as the parser understands them.
fn understood(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, SqlError> {
    let tokens = replaced(&lambdas::tokens(numbers::tokens(tokens)?)?, globs::pattern);
    refused::check(&tokens)?;
    let usual = |tokens: &[TokenWithSpan], at: usize| FORMS.iter().find_map(|form| form(tokens, at));
    let tokens = replaced(&replaced(&free::tokens(tokens), usual), tokens::grouping);
    pivot::tokens(summarize::tokens(named::tokens(sample::tokens(first::tokens(tokens))?)?))
}

/// Whether a text is one expression, as it can stand after WHERE.
///
/// # Errors
/// Any other text: one that ends the expression early would mean something else inside a statement.
pub fn check_condition(text: &str) -> Result<(), SqlError> {
    if text.trim().is_empty() {
        let why = "the condition is empty: write one, such as source = 'scraped'";
        return Err(SqlError::new(SqlErrorKind::Syntax, why.to_owned()));
    }
    let tokens = tokens_of(text)?;
    if let Some((name, at)) = tokens.iter().find_map(parameter) {
        let why = format!("a condition has no parameters, and this one has {name}");
        return Err(SqlError::invalid(why).at((at.line, at.column)));
    }
    let mut parser = Parser::new(&Grammar).with_recursion_limit(NESTING).with_tokens_with_locations(tokens);
    let condition = parser.parse_expr().map_err(|e| SqlError::from_datafusion(e.into(), &[]))?;
    refused::check_clauses(&condition)?;
    let after = parser.peek_token();
    match after.token {
        Token::EOF => Ok(()),
        token => {
            let place = after.span.start;
            let why = format!("syntax error at {token}: the condition ends before it");
            Err(SqlError::new(SqlErrorKind::Syntax, why).at((place.line, place.column)))
        }
    }
}

/// The name of a parameter, and its place.
fn parameter(token: &TokenWithSpan) -> Option<(&str, Location)> {
    match &token.token {
        Token::Placeholder(name) => Some((name, token.span.start)),
        _ => None,
    }
}

/// WHERE with a condition as its own lines, from the second on, so that a comment at its end hides nothing.
pub fn where_clause(condition: &str) -> String {
    format!("WHERE (\n{condition}\n)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_in_a_row_are_one_token() {
        let count = |sql: &str| tokens_of(sql).expect(sql).len();
        assert_eq!(count("SELECT \n\t /* a */ -- b\n 1"), count("SELECT 1"));
    }

    #[test]
    fn a_condition_is_an_expression_of_its_own() {
        for good in [
            "a = 1",
            "(a = ')') OR \")\" = 'it''s ('",
            "a -- )\n = 1",
            "a /* ) */ = (1)",
            "f('x', (2))",
            r"a = E'it\'s :)'",
            "/* a /* b */ ) */ a < 3",
            "a LIKE $$%:)$$",
        ] {
            let checked = check_condition(good);
            assert!(checked.is_ok(), "{good}: {checked:?}");
        }
        for (bad, why) in [
            ("", "the condition is empty: write one"),
            (" \n", "the condition is empty: write one"),
            ("1=1) or (1=1", "syntax error at ): the condition ends before it (line 1, column 4)"),
            ("(a = 1", "syntax error at the end: expected )"),
            ("a = 1; b", "syntax error at ;: the condition ends before it (line 1, column 6)"),
        ] {
            let error = check_condition(bad).expect_err(bad);
            assert_eq!(error.kind(), SqlErrorKind::Syntax, "{bad}");
            assert!(error.to_string().starts_with(why), "{error}");
        }
    }

    #[test]
    fn what_is_nested_too_deeply_is_told_so() {
        for (start, end, levels) in
            [("CASE WHEN true THEN ", " END", 48), ("CASE WHEN (SELECT ", ") THEN 1 END", 16)]
        {
            let nested = |levels| format!("SELECT {}1{}", start.repeat(levels), end.repeat(levels));
            assert!(parse(&nested(levels - 1)).is_ok(), "{start}");
            let error = parse(&nested(levels)).expect_err(start).to_string();
            assert!(error.contains("nested too deeply: 50 levels"), "{error}");
        }
        let wrong = parse("SELECT CASE WHEN true THEN 1 1 END").expect_err("a number too many").to_string();
        assert!(wrong.contains("syntax error"), "{wrong}");
    }

    #[test]
    fn depth_is_limited_before_forms_are_looked_for() {
        let error = parse(&format!("SELECT {}", "list_filter(".repeat(64))).expect_err("deep").to_string();
        assert!(error.contains("nested too deeply"), "{error}");
    }

    #[test]
    fn there_are_as_many_samples_and_pivots_as_tables() {
        for table in
            ["t TABLESAMPLE 1", "(FROM t USING SAMPLE 1)", "(PIVOT t ON a)", "t PIVOT (sum(b) FOR a IN (1))"]
        {
            let of = |count: usize| parse(&format!("SELECT * FROM {}", vec![table; count].join(", ")));
            assert!(of(100).is_ok(), "{table}");
            let error = of(101).expect_err(table).to_string();
            assert!(error.contains("more than 100 samples") || error.contains("names 101 tables"), "{error}");
        }
    }

    #[test]
    fn a_clause_in_the_place_of_a_column_is_proposed_as_a_name() {
        for (sql, name) in [
            ("SELECT id, group FROM tickets", "\"group\""),
            ("SELECT row, limit FROM pool", "\"limit\""),
            ("SELECT id, Order FROM pool", "\"order\""),
            ("SELECT id FROM pool ORDER BY id GROUP BY id", "\"group\"; the order of clauses is"),
        ] {
            let error = parse(sql).expect_err(sql).to_string();
            assert!(error.contains(name), "{sql}: {error}");
        }
        let other = parse("SELECT id AS limit, t.group FROM t WHERE").expect_err("no condition").to_string();
        assert!(!other.contains("if it is a name"), "{other}");
    }
}
