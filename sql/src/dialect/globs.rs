//! `x GLOB 'a*'` and `* LIKE 'a%'` in the words for regular expressions.

use std::str::Chars;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::tokens::{BEFORE_NAMES, Replacement, is_any, is_word, last_before, made, next};

/// Any number of characters, exactly one, and none at all; a line break is a character.
const MANY: &str = "(?s:.*)";
const ONE: &str = "(?s:.)";
const NONE: &str = "[a&&b]";

/// `SIMILAR TO` in the place of GLOB, and `COLUMNS('..')` in that of `* LIKE`.
pub(super) fn pattern(tokens: &[TokenWithSpan], at: usize) -> Option<Replacement> {
    let last = last_before(tokens, at)?;
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
            other => matches!(other, Token::RParen | Token::RBracket | Token::SingleQuotedString(_)),
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
            other => made.push_str(&only(other)),
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
            '[' => made.push_str(&of_set(&mut chars).unwrap_or_else(|| NONE.to_owned())),
            '\\' => made.push_str(&chars.next().map_or_else(|| NONE.to_owned(), only)),
            other => made.push_str(&only(other)),
        }
    }
    made
}

/// The regular expression of a set such as `[!a-c]` behind its bracket: a bracket that comes first is a
/// character of it. `None` if it has no end.
fn of_set(chars: &mut Chars<'_>) -> Option<String> {
    let rest = chars.as_str();
    let (is_without, rest) = rest.strip_prefix('!').map_or((false, rest), |rest| (true, rest));
    let (end, _) = rest.char_indices().skip(1).find(|(_, c)| *c == ']')?;
    let (set, behind) = rest.split_at(end);
    *chars = behind.chars();
    chars.next();
    let (mut set, mut made) = (set.chars(), String::new());
    while let Some(from) = set.next() {
        let mut ahead = set.clone();
        match (ahead.next(), ahead.next()) {
            (Some('-'), Some(to)) => {
                set = ahead;
                // Of a range that ends before it begins nothing is.
                if from <= to {
                    made.push_str(&format!("{}-{}", only(from), only(to)));
                }
            }
            _ => made.push_str(&only(from)),
        }
    }
    Some(match (made.is_empty(), is_without) {
        (true, true) => ONE.to_owned(),
        (true, false) => NONE.to_owned(),
        (false, true) => format!("[^{made}]"),
        (false, false) => format!("[{made}]"),
    })
}

/// The regular expression of a character.
fn only(c: char) -> String {
    regex::escape(c.encode_utf8(&mut [0; 4]))
}

#[cfg(test)]
mod tests {
    use crate::dialect::parse;

    #[test]
    fn patterns_are_regular_expressions() {
        for (sql, expected) in [
            ("SELECT a FROM t WHERE a GLOB 'x*.?'", r"SELECT a FROM t WHERE a SIMILAR TO 'x(?s:.*)\.(?s:.)'"),
            ("SELECT a NOT GLOB '[!a-c][]x]\\*'", r"SELECT a NOT SIMILAR TO '[^a-c][\]x]\*'"),
            ("SELECT a GLOB '[!]b][^a-]'", r"SELECT a SIMILAR TO '[^\]b][\^a\-]'"),
            ("SELECT a GLOB '[c-a][!c-a]['", r"SELECT a SIMILAR TO '[a&&b](?s:.)[a&&b]'"),
            ("SELECT glob FROM t WHERE glob = 'a'", "SELECT glob FROM t WHERE glob = 'a'"),
            ("SELECT * LIKE 'a_b.%' FROM t", r"SELECT COLUMNS('(?s)^a.b\..*$') FROM t"),
            ("SELECT a, * ILIKE 'x%', 2 * b FROM t", "SELECT a, COLUMNS('(?is)^x.*$'), 2 * b FROM t"),
        ] {
            assert_eq!(parse(sql).unwrap().to_string(), expected);
        }
    }
}
