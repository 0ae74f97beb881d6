//! Numbers with `_` between their digits, and those of other bases: `1_000`, `0x1F`, `0b101`, `0o17`.
//!
//! The tokenizer ends a number before what follows, and the parser takes that for a heading: `SELECT 1_000`
//! would be 1, headed `_000`.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{SqlError, SqlErrorKind};

/// The tokens with each such number as one token of decimal digits.
///
/// # Errors
/// A number with letters right behind it that belong to none: `5abc`.
pub(super) fn tokens(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, SqlError> {
    let mut all: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    // Where the tokens behind the last number begin.
    let mut next_at = 0;
    for (i, token) in tokens.iter().enumerate() {
        if i < next_at {
            continue;
        }
        all.push(token.clone());
        let Some(mut written) = begun(token) else { continue };
        next_at = i + 1;
        while let Some(part) = tokens.get(next_at).and_then(|token| part(token, next_at > i + 1)) {
            written.push_str(part);
            next_at += 1;
        }
        if next_at == i + 1 && matches!(token.token, Token::Number(..)) {
            continue;
        }
        let place = token.span.start;
        let Some(number) = decimal(&written) else {
            let error = SqlError::new(SqlErrorKind::Syntax, format!("`{written}` is not a number"));
            let hint = match (is_table(&tokens, i), written.starts_with("0x")) {
                (true, _) => {
                    format!("put a name that begins with a digit in double quotes: \"{written}\"")
                }
                (_, true) => "write bytes as x'1F'; a number has up to 32 hexadecimal digits".to_owned(),
                (_, false) => {
                    "write AS before a name that follows a number; digits are separated by one `_`, as in 1_000"
                        .to_owned()
                }
            };
            return Err(error.hint(hint).at((place.line, place.column)));
        };
        if let Some(last) = all.last_mut() {
            last.token = Token::Number(number, false);
            last.span.end = tokens.get(next_at - 1).map_or(last.span.end, |token| token.span.end);
        }
    }
    Ok(all)
}

/// Whether a token is where the name of a table is.
fn is_table(tokens: &[TokenWithSpan], at: usize) -> bool {
    let mut before = tokens.iter().take(at).rev().map(|token| &token.token);
    let before = before.find(|token| !matches!(token, Token::Whitespace(_)));
    matches!(before, Some(Token::Word(word)) if matches!(word.keyword, Keyword::FROM | Keyword::JOIN))
}

/// The text of a token that begins a number. The tokenizer has one token for `0x1F`, a number, and for
/// `x'1F'`, which is a character longer.
fn begun(token: &TokenWithSpan) -> Option<String> {
    let length = token.span.end.column.saturating_sub(token.span.start.column);
    match &token.token {
        Token::Number(number, _) => Some(number.clone()),
        Token::HexStringLiteral(digits) if length == digits.len() as u64 + 2 => Some(format!("0x{digits}")),
        _ => None,
    }
}

/// The text of a token that goes on with a number; `is_later`: there is one before it. A keyword is none:
/// `1AND`.
fn part(token: &TokenWithSpan, is_later: bool) -> Option<&str> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() && word.keyword == Keyword::NoKeyword => {
            Some(&word.value)
        }
        Token::Number(fraction, false) if is_later && fraction.starts_with('.') => Some(fraction),
        _ => None,
    }
}

/// A number in decimal digits, if it is one.
fn decimal(written: &str) -> Option<String> {
    let bytes = written.as_bytes();
    let is_hex = written.starts_with("0x") || written.starts_with("0X");
    let of_base = |byte: &u8| if is_hex { byte.is_ascii_hexdigit() } else { byte.is_ascii_digit() };
    let is_digit = |at: usize| bytes.get(at).is_some_and(of_base);
    let has_digits = |at: usize| at.checked_sub(1).is_some_and(is_digit) && is_digit(at + 1);
    if written.match_indices('_').any(|(at, _)| !has_digits(at)) {
        return None;
    }
    let digits = written.replace('_', "");
    for (radix, signs) in [(16, ["0x", "0X"]), (8, ["0o", "0O"]), (2, ["0b", "0B"])] {
        if let Some(digits) = signs.iter().find_map(|sign| digits.strip_prefix(*sign)) {
            return u128::from_str_radix(digits, radix).ok().map(|number| number.to_string());
        }
    }
    digits.parse::<f64>().is_ok().then_some(digits)
}

#[cfg(test)]
mod tests {
    use crate::dialect::parse;

    #[test]
    fn numbers_are_read_to_their_end() {
        for (sql, expected) in [
            ("SELECT 1_000, 1_000_000 + 1", "SELECT 1000, 1000000 + 1"),
            ("SELECT a / 1_0.2_5 FROM t LIMIT 1_0", "SELECT a / 10.25 FROM t LIMIT 10"),
            ("SELECT 1_0e3 AS a, 2.5_0", "SELECT 10e3 AS a, 2.50"),
            ("SELECT 0x1F + 0XfF, 0b1_01, 0o17", "SELECT 31 + 255, 5, 15"),
            ("SELECT 0xFF_FF", "SELECT 65535"),
            ("SELECT x'1F', 1 _000", "SELECT X'1F', 1 AS _000"),
            ("SELECT 1 FROM t WHERE a = 1AND b = 2", "SELECT 1 FROM t WHERE a = 1 AND b = 2"),
            ("SELECT t._1, l[1:2], a.b1 FROM t", "SELECT t._1, l[1:2], a.b1 FROM t"),
        ] {
            assert_eq!(parse(sql).unwrap().to_string(), expected);
        }
        for (sql, written) in [
            ("SELECT 5abc", "5abc"),
            ("SELECT 2e3x", "2e3x"),
            ("SELECT 1__0", "1__0"),
            ("SELECT 1_", "1_"),
            ("SELECT 0b12", "0b12"),
            ("SELECT 0x", "0x"),
            ("SELECT 1_000e", "1_000e"),
            ("SELECT 1_e5", "1_e5"),
            ("SELECT 1e_5", "1e_5"),
            ("SELECT 0_b1", "0_b1"),
        ] {
            let error = parse(sql).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{written}` is not a number (line 1, column 8)")), "{error}");
        }
        for (sql, column) in [
            ("SELECT 1 FROM 2024_news", 15),
            ("SELECT 1 FROM t JOIN /* the news */ 2024_news USING (id)", 37),
        ] {
            let error = parse(sql).unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("`2024_news` is not a number (line 1, column {column})"))
            );
            assert!(error.to_string().contains("in double quotes: \"2024_news\""), "{error}");
        }
    }
}
