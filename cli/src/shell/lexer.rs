//! The pieces of SQL text as an editor needs them: where texts, comments and statements end.

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A name or a keyword.
    Word,
    /// A name in double quotes.
    Name,
    /// A text in single quotes.
    Text,
    Number,
    Comment,
    /// `=>`, or one other character.
    Sign,
    End,
}

/// A piece of a text, from a byte up to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    /// Its first byte.
    pub from: usize,
    /// The byte behind it.
    pub to: usize,
    /// Whether its end is in the text; an open text or comment reaches to the end of all.
    pub closed: bool,
}

impl Token {
    pub fn of<'a>(&self, text: &'a str) -> &'a str {
        &text[self.from..self.to]
    }
}

/// The pieces of a text, without the blanks between them.
pub fn pieces(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let (kind, length, closed) = first(c, &text[at..]);
        found.push(Token { kind, from: at, to: at + length, closed });
        at += length;
    }
    found
}

/// Kind and length of the piece that a text begins with, and whether it is closed.
fn first(c: char, rest: &str) -> (TokenKind, usize, bool) {
    match c {
        '\'' => quoted(rest, c, TokenKind::Text),
        '"' => quoted(rest, c, TokenKind::Name),
        '-' if rest.starts_with("--") => match rest.find('\n') {
            Some(end) => (TokenKind::Comment, end, true),
            None => (TokenKind::Comment, rest.len(), false),
        },
        '/' if rest.starts_with("/*") => match rest[2..].find("*/") {
            Some(end) => (TokenKind::Comment, end + 4, true),
            None => (TokenKind::Comment, rest.len(), false),
        },
        ';' => (TokenKind::End, 1, true),
        '=' if rest.starts_with("=>") => (TokenKind::Sign, 2, true),
        c if c.is_ascii_digit() => (TokenKind::Number, run(rest, |c| is_word(c) || c == '.'), true),
        c if is_word(c) => (TokenKind::Word, run(rest, is_word), true),
        c => (TokenKind::Sign, c.len_utf8(), true),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn run(rest: &str, belongs: impl Fn(char) -> bool) -> usize {
    rest.find(|c| !belongs(c)).unwrap_or(rest.len())
}

/// A quotation, in which a doubled quote stands for one.
fn quoted(rest: &str, quote: char, kind: TokenKind) -> (TokenKind, usize, bool) {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return (kind, at + 1, true);
        }
    }
    (kind, rest.len(), false)
}

/// Whether a text ends with the end of a statement, or holds nothing but comments.
pub fn is_complete(text: &str) -> bool {
    let pieces = pieces(text);
    let open = |piece: &Token| !piece.closed && !piece.of(text).starts_with("--");
    if pieces.last().is_some_and(open) {
        return false;
    }
    pieces
        .iter()
        .rev()
        .find(|piece| piece.kind != TokenKind::Comment)
        .is_none_or(|last| last.kind == TokenKind::End)
}

/// [`is_complete`] of a text that ends with this line and was not complete before it, unless it is the first.
/// Only a line that can end something has the whole text taken apart, as statements may have many lines.
pub fn is_complete_with(text: &str, line: &str) -> bool {
    let can_end = text.len() == line.len() || line.contains(';') || line.contains("*/");
    can_end && is_complete(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_ends_nothing_need_not_be_looked_at() {
        for text in [
            "SELECT 1,\n2\n-- ;\n;\nSELECT 3; -- done\n\n-- none\n/* a\n; */\nSELECT 4",
            "SELECT ';\n--'\n;\nSELECT \";\n*/\"; /* ;\n\n--\n*/ -- x\n\nSELECT 1; SELECT\n\n2;",
        ] {
            let mut held = String::new();
            for line in text.split_inclusive('\n') {
                held.push_str(line);
                let complete = is_complete(&held);
                assert_eq!(is_complete_with(&held, line), complete, "{held:?}");
                if complete {
                    held.clear();
                }
            }
        }
    }

    #[test]
    fn texts_and_comments_hide_what_is_in_them() {
        let text = "SELECT 'it''s;', \"a;b\" -- no; end\n/* ; */ FROM f(k => 1.5);";
        let kinds: Vec<(TokenKind, &str)> = pieces(text).iter().map(|p| (p.kind, p.of(text))).collect();
        assert_eq!(
            kinds,
            [
                (TokenKind::Word, "SELECT"),
                (TokenKind::Text, "'it''s;'"),
                (TokenKind::Sign, ","),
                (TokenKind::Name, "\"a;b\""),
                (TokenKind::Comment, "-- no; end"),
                (TokenKind::Comment, "/* ; */"),
                (TokenKind::Word, "FROM"),
                (TokenKind::Word, "f"),
                (TokenKind::Sign, "("),
                (TokenKind::Word, "k"),
                (TokenKind::Sign, "=>"),
                (TokenKind::Number, "1.5"),
                (TokenKind::Sign, ")"),
                (TokenKind::End, ";"),
            ]
        );
    }

    #[test]
    fn a_statement_ends_at_its_semicolon() {
        for complete in
            ["SELECT 1;", "SELECT ';' ;\n", "SELECT 1; -- done", "", "  ", "-- nothing", "SELECT 'é';"]
        {
            assert!(is_complete(complete), "{complete:?}");
        }
        for open in ["SELECT 1", "SELECT ';", "SELECT 1; SELECT", "SELECT 1 -- ;", "SELECT 1; /* ", "\";"] {
            assert!(!is_complete(open), "{open:?}");
        }
    }
}
