//! Colours of SQL while it is typed.

use super::dot::is_dot;
use super::lexer::{TokenKind, pieces};
use super::words::{is_keyword, table_function};

const END: &str = "\x1b[0m";

/// The text in colours; its characters stay as they are.
pub fn coloured(text: &str) -> String {
    if is_dot(text) {
        return format!("\x1b[36m{text}{END}");
    }
    let mut out = String::with_capacity(text.len() * 2);
    let mut at = 0;
    for piece in pieces(text) {
        let own = piece.of(text);
        out.push_str(&text[at..piece.from]);
        let colour = match piece.kind {
            TokenKind::Word if is_keyword(own) => "\x1b[1;34m",
            TokenKind::Word if table_function(own).is_some() => "\x1b[35m",
            TokenKind::Text => "\x1b[32m",
            TokenKind::Number => "\x1b[36m",
            TokenKind::Comment => "\x1b[2m",
            _ => "",
        };
        match colour {
            "" => out.push_str(own),
            colour => out.push_str(&format!("{colour}{own}{END}")),
        }
        at = piece.to;
    }
    out.push_str(&text[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_change_no_character() {
        let text = "select 'a' , 1 FROM influence(x) -- é\n ;";
        let drawn = coloured(text);
        assert!(drawn.contains("\x1b[1;34mselect\x1b[0m \x1b[32m'a'\x1b[0m , \x1b[36m1\x1b[0m"), "{drawn:?}");
        let mut plain = String::new();
        for part in drawn.split('\x1b') {
            plain.push_str(if part.starts_with('[') {
                part.split_once('m').map_or("", |(_, rest)| rest)
            } else {
                part
            });
        }
        assert_eq!(plain, text);
        assert_eq!(coloured(".help"), "\x1b[36m.help\x1b[0m");
    }
}
