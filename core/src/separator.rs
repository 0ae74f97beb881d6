//! Detection of the delimiter of a table of text that was opened with another one.

/// What separates the columns of a header that is one column with this delimiter and more with another, and
/// what that is called.
pub fn separator(header: &str, delimiter: u8) -> Option<(u8, &'static str)> {
    let others = [(b',', "commas"), (b';', "`;`"), (b'\t', "tabs"), (b'|', "`|`")];
    others.into_iter().find(|(sign, _)| *sign != delimiter && has_columns(header, char::from(*sign)))
}

/// Whether a header has several columns with this sign between them, at least half of them with plain names.
fn has_columns(header: &str, sign: char) -> bool {
    let mut in_quotes = false;
    let parts = header.split(|c: char| {
        in_quotes ^= c == '"';
        c == sign && !in_quotes
    });
    let (mut plain, mut unusual) = (0, 0);
    for part in parts {
        if is_plain_name(part) {
            plain += 1;
        } else if is_unusual_name(part) {
            unusual += 1;
        } else {
            return false;
        }
    }
    plain + unusual > 1 && plain >= unusual
}

/// Whether a part of a header is the name of a column, and no piece of a sentence or of another column.
fn is_plain_name(part: &str) -> bool {
    let name = part.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(part);
    let is_plain = |c: char| c.is_alphanumeric() || "_- .:/%#()".contains(c);
    !name.is_empty() && is_closed(name) && name.chars().all(is_plain)
}

/// The same of a name with other characters: what separates columns stands only in quotes.
fn is_unusual_name(part: &str) -> bool {
    match part.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => !quoted.is_empty() && !quoted.replace("\"\"", "").contains('"'),
        None => {
            let is_apart = part.contains(['"', ',', ';', '\t', '|']);
            !part.is_empty() && !is_apart && part.trim() == part && is_closed(part)
        }
    }
}

/// Whether every parenthesis is closed.
fn is_closed(name: &str) -> bool {
    name.matches('(').count() == name.matches(')').count()
}

#[cfg(test)]
mod tests {
    use super::separator;

    #[test]
    fn one_other_sign_stands_between_names() {
        for (header, delimiter, found) in [
            ("id;x", b',', Some((b';', "`;`"))),
            ("\"id\";\"x y\";\"size (cm)\"", b',', Some((b';', "`;`"))),
            ("id\tx", b',', Some((b'\t', "tabs"))),
            ("id|p.x|100%", b',', Some((b'|', "`|`"))),
            ("id,x", b'\t', Some((b',', "commas"))),
            ("id;text;what's it?", b',', Some((b';', "`;`"))),
            ("id;\"the \"\"text\"\"\"", b',', Some((b';', "`;`"))),
            ("id;text;\"size, in cm\"", b',', Some((b';', "`;`"))),
            ("id,\"a;b\",c", b'\t', Some((b',', "commas"))),
            ("id,\"a;b\",c", b',', None),
            ("id,\"a;b\";c", b',', None),
            ("id;x,y", b',', None),
            ("Is it so? Say yes; say no; or nothing!", b',', None),
            ("Text (a;b;c;d)", b',', None),
            ("id", b',', None),
            ("id;x|y", b',', None),
            ("\"a;b\"", b',', None),
            ("Text (a; b)", b',', None),
            ("id;;x", b',', None),
        ] {
            assert_eq!(separator(header, delimiter), found, "{header}");
        }
    }
}
