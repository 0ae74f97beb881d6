//! The token stream of a text: statements apart, and small liberties of DuckDB taken out.

use std::ops::Range;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Word};

use super::grammar::Grammar;

/// The statements of a text, without those that are empty. Each has as many lines and blanks before it as the
/// text has, so that places in messages are those of the text. Text that cannot be cut into tokens is one
/// statement, which says why when it runs.
pub fn statements(text: &str) -> Vec<String> {
    let Ok(tokens) = Tokenizer::new(&Grammar, text).tokenize_with_location() else {
        return vec![text.to_owned()];
    };
    let mut found = Vec::new();
    let mut open: Option<(Location, Location)> = None;
    for token in &tokens {
        match &token.token {
            Token::SemiColon => found.extend(open.take()),
            Token::Whitespace(_) | Token::EOF => {}
            _ => open = Some((open.map_or(token.span.start, |(start, _)| start), token.span.end)),
        }
    }
    found.extend(open);
    let places = LineStarts::new(text);
    found.into_iter().map(|(start, end)| places.statement(text, start, end)).collect()
}

/// Where the lines of a text begin.
struct LineStarts(Vec<usize>);

impl LineStarts {
    fn new(text: &str) -> Self {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(after).collect())
    }

    /// The byte at a place; lines and columns count from 1, columns in characters.
    fn byte(&self, text: &str, place: Location) -> usize {
        let number = |n: u64| usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX);
        let start = self.0.get(number(place.line)).copied().unwrap_or(text.len());
        let rest = text.get(start..).unwrap_or_default();
        rest.char_indices().nth(number(place.column)).map_or(text.len(), |(at, _)| start + at)
    }

    fn statement(&self, text: &str, start: Location, end: Location) -> String {
        let Range { start: from, end: to } = self.byte(text, start)..self.byte(text, end);
        let repeated = |what: &str, n: u64| what.repeat(usize::try_from(n.saturating_sub(1)).unwrap_or(0));
        let body = text.get(from..to).unwrap_or_default();
        format!("{}{}{body}", repeated("\n", start.line), repeated(" ", start.column))
    }
}

/// What takes the place of the tokens from one on, and where the last of these is.
pub(super) type Replacement = (Vec<TokenWithSpan>, usize);

/// The tokens with what a form gives in the place of those that it begins with.
pub(super) fn replaced(
    tokens: &[TokenWithSpan],
    form: impl Fn(&[TokenWithSpan], usize) -> Option<Replacement>,
) -> Vec<TokenWithSpan> {
    let (mut all, mut from) = (Vec::with_capacity(tokens.len()), 0);
    while let Some(token) = tokens.get(from) {
        match form(tokens, from) {
            Some((made, last)) => {
                all.extend(made);
                from = last + 1;
            }
            None => {
                all.push(token.clone());
                from += 1;
            }
        }
    }
    all
}

/// Nothing in the place of a comma behind a value that ends a list; before FROM the parser knows such a comma.
pub(super) fn last_comma(tokens: &[TokenWithSpan], at: usize) -> Option<Replacement> {
    tokens.get(at).filter(|token| token.token == Token::Comma)?;
    next(tokens, at + 1).filter(|(_, behind)| closes(behind))?;
    last_before(tokens, at).filter(|before| {
        !matches!(before.token, Token::LParen | Token::LBracket | Token::LBrace | Token::Comma)
    })?;
    Some((Vec::new(), at))
}

/// `FILTER (condition)` as `FILTER (WHERE condition)`.
pub(super) fn filter(tokens: &[TokenWithSpan], at: usize) -> Option<Replacement> {
    tokens.get(at).filter(|token| is_word(token, "FILTER"))?;
    last_before(tokens, at).filter(|token| token.token == Token::RParen)?;
    let (open, token) = next(tokens, at + 1).filter(|(_, token)| token.token == Token::LParen)?;
    next(tokens, open + 1).filter(|(_, token)| !is(token, Keyword::WHERE))?;
    let mut all = tokens.get(at..=open)?.to_vec();
    all.extend(made(&["WHERE"], token.span));
    Some((all, open))
}

/// `AS [NOT] MATERIALIZED (` as `AS (`, which gives the same rows.
pub(super) fn materialized(tokens: &[TokenWithSpan], at: usize) -> Option<Replacement> {
    let before = tokens.get(at).filter(|token| is_word(token, "AS"))?;
    let (mut last, mut word) = next(tokens, at + 1)?;
    if is_word(word, "NOT") {
        (last, word) = next(tokens, last + 1)?;
    }
    if !is_word(word, "MATERIALIZED") {
        return None;
    }
    next(tokens, last + 1).filter(|(_, token)| token.token == Token::LParen)?;
    Some((vec![before.clone()], last))
}

/// `LATERAL unnest(` as `unnest(`, which has the columns of the tables before it as well.
pub(super) fn lateral(tokens: &[TokenWithSpan], at: usize) -> Option<Replacement> {
    tokens.get(at).filter(|token| is_word(token, "LATERAL"))?;
    let (function, _) = next(tokens, at + 1).filter(|(_, token)| is_word(token, "UNNEST"))?;
    next(tokens, function + 1).filter(|(_, token)| token.token == Token::LParen)?;
    Some((Vec::new(), at))
}

/// `a ** b` as `a ^ b`, which is the same power.
pub(super) fn power(tokens: &[TokenWithSpan], at: usize) -> Option<Replacement> {
    let [first, second] = tokens.get(at..at + 2)? else { return None };
    let is_power = first.token == Token::Mul && second.token == Token::Mul;
    let span = Span { end: second.span.end, ..first.span };
    is_power.then(|| (vec![TokenWithSpan { token: Token::Caret, span }], at + 1))
}

/// `INTERVAL (3) DAY` as `INTERVAL 3 DAY`: the parser takes `INTERVAL (3)` for a type with three digits.
pub(super) fn interval(tokens: &[TokenWithSpan], at: usize) -> Option<Replacement> {
    tokens.get(at).filter(|token| is_word(token, "INTERVAL"))?;
    let behind = |from: usize, wanted: fn(&TokenWithSpan) -> bool| {
        next(tokens, from + 1).filter(|(_, token)| wanted(token)).map(|(place, _)| place)
    };
    let open = behind(at, |token| token.token == Token::LParen)?;
    let number = behind(open, |token| matches!(token.token, Token::Number(..)))?;
    let close = behind(number, |token| token.token == Token::RParen)?;
    behind(close, is_unit)?;
    let kept = (at..close).filter(|place| *place != open);
    Some((kept.filter_map(|place| tokens.get(place).cloned()).collect(), close))
}

/// `ROLLUP ((a) + 1, b)` as `ROLLUP (((a) + 1), b)`: the parser takes parentheses at the beginning of an item
/// for those of several keys.
pub(super) fn grouping(tokens: &[TokenWithSpan], at: usize) -> Option<Replacement> {
    let word = tokens.get(at).filter(|token| is_one_of(token, "CUBE ROLLUP SETS"))?;
    last_before(tokens, at).filter(|token| token.token == Token::Comma || is_one_of(token, "BY GROUPING"))?;
    let (open, _) = next(tokens, at + 1).filter(|(_, token)| token.token == Token::LParen)?;
    let (mut all, mut from) = (tokens.get(at..=open)?.to_vec(), open + 1);
    loop {
        let ends = |token: &TokenWithSpan| token.token == Token::Comma || closes(token);
        let (end, token) = outside(tokens, from).find(|(_, token)| ends(token))?;
        let goes_on = opens_with_part(tokens, from, end);
        let around = |sign: &str| if goes_on { made(&[sign], word.span) } else { Vec::new() };
        all.extend(around("("));
        all.extend_from_slice(tokens.get(from..end)?);
        all.extend(around(")"));
        all.push(token.clone());
        match token.token {
            Token::Comma => from = end + 1,
            Token::RParen => return Some((all, end)),
            _ => return None,
        }
    }
}

/// Whether what stands between two places begins with parentheses and goes on behind them.
fn opens_with_part(tokens: &[TokenWithSpan], from: usize, end: usize) -> bool {
    let open = next(tokens, from).filter(|(_, token)| token.token == Token::LParen);
    let close = open.and_then(|(open, _)| outside(tokens, open + 1).find(|(_, token)| closes(token)));
    let behind = close.and_then(|(close, _)| next(tokens, close + 1));
    behind.is_some_and(|(behind, _)| behind < end)
}

/// The first token from a place on that is not white space, and its place.
pub(super) fn next(tokens: &[TokenWithSpan], from: usize) -> Option<(usize, &TokenWithSpan)> {
    let written =
        |(_, token): &(usize, &TokenWithSpan)| !matches!(token.token, Token::Whitespace(_) | Token::EOF);
    tokens.iter().enumerate().skip(from).find(written)
}

/// The last token before a place that is not white space.
pub(super) fn last_before(tokens: &[TokenWithSpan], place: usize) -> Option<&TokenWithSpan> {
    tokens.get(..place)?.iter().rev().find(|token| !matches!(token.token, Token::Whitespace(_)))
}

/// The tokens from a place on, with their places, outside of brackets that open there.
pub(super) fn outside(
    tokens: &[TokenWithSpan],
    from: usize,
) -> impl Iterator<Item = (usize, &TokenWithSpan)> {
    let mut depth = 0usize;
    tokens.iter().enumerate().skip(from).filter(move |(_, token)| match token.token {
        Token::LParen | Token::LBracket | Token::LBrace => {
            depth += 1;
            false
        }
        Token::RParen | Token::RBracket | Token::RBrace if depth > 0 => {
            depth -= 1;
            false
        }
        // A statement ends here, whatever was left open.
        Token::SemiColon | Token::EOF => true,
        _ => depth == 0,
    })
}

/// Whether a token ends what stands in brackets; the parser sees whether they are of one kind.
pub(super) fn closes(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::RParen | Token::RBracket | Token::RBrace)
}

pub(super) fn is(token: &TokenWithSpan, keyword: Keyword) -> bool {
    matches!(&token.token, Token::Word(Word { keyword: found, quote_style: None, .. }) if *found == keyword)
}

/// Whether a token is a word out of a text of them.
pub(super) fn is_one_of(token: &TokenWithSpan, words: &str) -> bool {
    words.split(' ').any(|word| is_word(token, word))
}

pub(super) fn is_any(token: &TokenWithSpan, words: &[&str]) -> bool {
    words.iter().any(|word| is_word(token, word))
}

/// Whether a token is this word, whatever its case.
pub(super) fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

/// Words and signs as tokens at the place of another. Words that begin with a digit are numbers.
pub(super) fn made(words: &[&str], span: Span) -> Vec<TokenWithSpan> {
    let token = |word: &str| match word {
        "(" => Token::LParen,
        ")" => Token::RParen,
        "*" => Token::Mul,
        word if word.starts_with(|c: char| c.is_ascii_digit()) => Token::Number(word.to_owned(), false),
        word => match word.strip_prefix('"').and_then(|quoted| quoted.strip_suffix('"')) {
            Some(quoted) => Token::make_word(quoted, Some('"')),
            None => Token::make_word(word, None),
        },
    };
    let space = || Token::Whitespace(datafusion::sql::sqlparser::tokenizer::Whitespace::Space);
    let spaced = words.iter().flat_map(|word| [token(word), space()]);
    spaced.map(|token| TokenWithSpan { token, span }).collect()
}

/// Words behind which one that is an operator elsewhere is a name.
pub(super) const BEFORE_NAMES: [&str; 5] = ["AS", "SELECT", "DISTINCT", "BY", "WHERE"];

/// Units of an interval, in the singular.
const UNITS: &str = "MILLENNIUM CENTURY DECADE YEAR QUARTER MONTH WEEK DAY HOUR MINUTE SECOND MILLISECOND \
    MICROSECOND NANOSECOND";

pub(super) fn is_unit(token: &TokenWithSpan) -> bool {
    let Token::Word(word) = &token.token else { return false };
    let word = word.value.to_ascii_uppercase();
    let known = |word: &str| UNITS.split(' ').any(|unit| unit == word);
    known(&word) || word.strip_suffix('S').is_some_and(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens_of(sql: &str) -> Vec<TokenWithSpan> {
        Tokenizer::new(&Grammar, sql).tokenize_with_location().unwrap()
    }

    fn text(tokens: &[TokenWithSpan]) -> String {
        tokens.iter().map(|token| token.token.to_string()).collect()
    }

    #[test]
    fn forms_of_others_are_put_into_the_usual_one() {
        for (sql, expected) in [
            ("count(*) FILTER (a > 1)", "count(*) FILTER (WHERE a > 1)"),
            ("count(*) FILTER (WHERE a)", "count(*) FILTER (WHERE a)"),
            ("SELECT filter (a)", "SELECT filter (a)"),
            ("WITH t AS MATERIALIZED (SELECT 1)", "WITH t AS (SELECT 1)"),
            ("WITH t AS NOT MATERIALIZED (SELECT 1)", "WITH t AS (SELECT 1)"),
            ("SELECT materialized FROM t", "SELECT materialized FROM t"),
            ("FROM t, LATERAL unnest (t.l)", "FROM t,  unnest (t.l)"),
            ("FROM t, LATERAL (SELECT 1), lateral", "FROM t, LATERAL (SELECT 1), lateral"),
        ] {
            let usual = replaced(&replaced(&replaced(&tokens_of(sql), filter), materialized), lateral);
            assert_eq!(text(&usual), expected);
        }
    }

    #[test]
    fn a_comma_may_end_a_list() {
        for (sql, expected) in [
            ("x IN (1, 2,) AND [1,\n] = f(2 ,)", "x IN (1, 2) AND [1\n] = f(2 )"),
            ("{'a': 1,}", "{'a': 1}"),
            ("f(,), f(1,,), (1,) x", "f(,), f(1,,), (1) x"),
        ] {
            assert_eq!(text(&replaced(&tokens_of(sql), last_comma)), expected);
        }
        assert_eq!(crate::dialect::parse("SELECT a, FROM t").unwrap().to_string(), "SELECT a FROM t");
    }

    #[test]
    fn an_interval_of_a_number_needs_no_parentheses() {
        for (sql, expected) in [
            ("INTERVAL (3) DAY + INTERVAL(n) HOUR", "INTERVAL 3 DAY + INTERVAL(n) HOUR"),
            ("x::INTERVAL (3) AS y, interval (3)", "x::INTERVAL (3) AS y, interval (3)"),
        ] {
            assert_eq!(text(&replaced(&tokens_of(sql), interval)), expected);
        }
    }

    #[test]
    fn keys_of_groups_may_begin_with_parentheses() {
        for (sql, expected) in [
            ("BY ROLLUP ((a) + 1, b)", "BY ROLLUP (( (a) + 1) , b)"),
            ("BY a, CUBE(b, (x->>'a')::INT)", "BY a, CUBE(b,(  (x->>'a')::INT) )"),
            ("GROUPING SETS ((l)[1], (a, b), ())", "GROUPING SETS (( (l)[1]) , (a, b), ())"),
            ("BY ROLLUP ((a, b), ((a) + 1), (c) )", "BY ROLLUP ((a, b), ((a) + 1), (c) )"),
            ("SELECT cube((a) + 1), rollup, SETS ((a) + 1", "SELECT cube((a) + 1), rollup, SETS ((a) + 1"),
        ] {
            assert_eq!(text(&replaced(&tokens_of(sql), grouping)), expected);
        }
    }

    #[test]
    fn two_stars_are_a_power() {
        for (sql, expected) in [("2**3 ** 4", "2^3 ^ 4"), ("2 * *, * 3", "2 * *, * 3"), ("***", "^*")] {
            assert_eq!(text(&replaced(&tokens_of(sql), power)), expected);
        }
    }

    #[test]
    fn statements_keep_their_places() {
        let text = "-- first; comment\nSELECT 'a;b';\n;; SELECT \"x;\" /* ; */ FROM t -- end";
        assert_eq!(statements(text), ["\nSELECT 'a;b'", "\n\n   SELECT \"x;\" /* ; */ FROM t"]);
        assert_eq!(statements(" \n-- nothing\n"), Vec::<String>::new());
        assert_eq!(statements("SELECT 'open"), ["SELECT 'open"]);
        assert_eq!(statements("SELECT 'é'; SELECT 2"), ["SELECT 'é'", "            SELECT 2"]);
    }
}
