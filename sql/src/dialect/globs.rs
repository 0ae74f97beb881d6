//! `x GLOB 'a*'` and `* LIKE 'a%'` in the words for regular expressions.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::tokens::{is_any, is_word, made, next};

/// Any characters, and any one, line breaks among them.
const MANY: &str = "(?s:.*)";
const ONE: &str = "(?s:.)";

/// Words behind which `glob` is a name.
const BEFORE_NAMES: [&str; 5] = ["AS", "SELECT", "DISTINCT", "BY", "WHERE"];

/// The tokens with `SIMILAR TO` in the place of GLOB, and `COLUMNS('..')` in that of `* LIKE`.
pub(super) fn tokens(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut all: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut before: Option<usize> = None;
    // Where the tokens behind the last pattern begin.
    let mut behind = 0;
    for (i, token) in tokens.iter().enumerate() {
        if i < behind {
            continue;
        }
        let last = before.and_then(|place| tokens.get(place));
        if let Some((words, end)) = last.and_then(|last| put(&tokens, i, last)) {
            all.extend(words);
            behind = end + 1;
            before = Some(end);
            continue;
        }
        all.push(token.clone());
        if !matches!(token.token, Token::Whitespace(_)) {
            before = Some(i);
        }
    }
    all
}

/// What takes the place of the tokens from one on, and the last of these.
fn put(tokens: &[TokenWithSpan], at: usize, last: &TokenWithSpan) -> Option<(Vec<TokenWithSpan>, usize)> {
    let token = tokens.get(at)?;
    let text = |place: usize| match next(tokens, place + 1) {
        Some((end, TokenWithSpan { token: Token::SingleQuotedString(pattern), .. })) => Some((pattern, end)),
        _ => None,
    };
    let quoted =
        |pattern: String| TokenWithSpan { token: Token::SingleQuotedString(pattern), span: token.span };
    if is_word(token, "GLOB") {
        let is_value = match &last.token {
            Token::Word(_) => !is_any(last, &BEFORE_NAMES),
            other => {
                matches!(other, Token::RParen | Token::RBracket | Token::SingleQuotedString(_))
            }
        };
        let (pattern, end) = text(at).filter(|_| is_value)?;
        let mut words = made(&["SIMILAR", "TO"], token.span);
        words.push(quoted(of_glob(pattern)));
        return Some((words, end));
    }
    let is_all =
        token.token == Token::Mul && (last.token == Token::Comma || is_any(last, &["SELECT", "DISTINCT"]));
    let (like, word) = next(tokens, at + 1).filter(|_| is_all)?;
    let flags = match word {
        word if is_word(word, "LIKE") => "(?s)",
        word if is_word(word, "ILIKE") => "(?is)",
        _ => return None,
    };
    let (pattern, end) = text(like)?;
    let mut words = made(&["COLUMNS", "("], token.span);
    words.push(quoted(format!("{flags}^{}$", of_like(pattern))));
    words.extend(made(&[")"], token.span));
    Some((words, end))
}

/// The regular expression of a pattern of LIKE.
fn of_like(pattern: &str) -> String {
    let mut made = String::new();
    for c in pattern.chars() {
        match c {
            '%' => made.push_str(".*"),
            '_' => made.push('.'),
            other => made.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    made
}

/// The regular expression of a pattern of GLOB.
fn of_glob(pattern: &str) -> String {
    let mut made = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => made.push_str(MANY),
            '?' => made.push_str(ONE),
            '[' if chars.clone().skip(1).any(|c| c == ']') => {
                made.push('[');
                for (i, c) in chars.by_ref().enumerate().take_while(|(i, c)| *i == 0 || *c != ']') {
                    match c {
                        '!' | '^' if i == 0 => made.push('^'),
                        '[' | ']' | '\\' | '^' | '&' | '~' => made.extend(['\\', c]),
                        other => made.push(other),
                    }
                }
                made.push(']');
            }
            '\\' => made.extend(chars.next().map(|c| regex::escape(c.encode_utf8(&mut [0; 4])))),
            other => made.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use crate::dialect::parse;

    #[test]
    fn patterns_are_regular_expressions() {
        for (sql, expected) in [
            ("SELECT a FROM t WHERE a GLOB 'x*.?'", r"SELECT a FROM t WHERE a SIMILAR TO 'x(?s:.*)\.(?s:.)'"),
            ("SELECT a NOT GLOB '[!a-c][]x]\\*['", r"SELECT a NOT SIMILAR TO '[^a-c][\]x]\*\['"),
            ("SELECT glob FROM t WHERE glob = 'a'", "SELECT glob FROM t WHERE glob = 'a'"),
            ("SELECT * LIKE 'a_b.%' FROM t", r"SELECT COLUMNS('(?s)^a.b\..*$') FROM t"),
            ("SELECT a, * ILIKE 'x%', 2 * b FROM t", "SELECT a, COLUMNS('(?is)^x.*$'), 2 * b FROM t"),
        ] {
            assert_eq!(parse(sql).unwrap().to_string(), expected);
        }
    }
}
