//! Detection of the delimiter of a table of text that was opened with another one.

/// What separates the columns of a header that is one column with this delimiter and more with another, and
/// what that is called.
pub fn separator(header: &str, delimiter: u8) -> Option<(u8, &'static str)> {
    let others = [(b',', "commas"), (b';', "`;`"), (b'\t', "tabs"), (b'|', "`|`")];
    others.into_iter().find(|(sign, _)| {
        let sign = char::from(*sign);
        sign != char::from(delimiter) && header.contains(sign) && header.split(sign).all(is_name)
    })
}

/// Whether a part of a header is the name of a column, and no piece of a sentence or of another column.
fn is_name(part: &str) -> bool {
    let name = part.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(part);
    let closed = name.matches('(').count() == name.matches(')').count();
    !name.is_empty() && closed && name.chars().all(|c| c.is_alphanumeric() || "_- .:/%#()".contains(c))
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
