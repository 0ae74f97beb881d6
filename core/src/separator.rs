//! Detection of the delimiter of a table of text that was opened with another one.

/// What separates the columns of a header that is one column with this delimiter and more with another.
pub fn separator(header: &str, delimiter: u8) -> Option<&'static str> {
    let is_name =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || "_- ".contains(c));
    let others = [(b',', ',', "commas"), (b';', ';', "`;`"), (b'\t', '\t', "tabs"), (b'|', '|', "`|`")];
    others.into_iter().filter(|(byte, ..)| *byte != delimiter).find_map(|(_, sign, called)| {
        let is_header =
            header.contains(sign) && header.split(sign).all(|part| is_name(part.trim_matches('"')));
        is_header.then_some(called)
    })
}
