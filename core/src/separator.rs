//! Separators of delimited text that are not those of its file's ending.

/// What is wrong with a header line that is one column with this delimiter and several with another.
pub fn other_separator(header: &[String], delimiter: u8) -> Option<String> {
    let [only] = header else { return None };
    let is_name =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || "_- ".contains(c));
    let others = [(b',', ',', "commas"), (b';', ';', "`;`"), (b'\t', '\t', "tabs"), (b'|', '|', "`|`")];
    let called =
        others.into_iter().filter(|(byte, ..)| *byte != delimiter).find_map(|(_, sign, called)| {
            let is_header =
                only.contains(sign) && only.split(sign).all(|part| is_name(part.trim_matches('"')));
            is_header.then_some(called)
        })?;
    Some(format!(
        "the columns of its header line are separated by {called}; .csv is read with commas and .tsv with tabs: \
         save it with one of them"
    ))
}

#[cfg(test)]
mod tests {
    use super::other_separator;

    #[test]
    fn a_header_of_one_column_tells_what_separates_several() {
        let told = |header: &[&str], delimiter: u8| {
            let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
            other_separator(&header, delimiter)
        };
        for (header, delimiter, called) in [
            ("id;good", b',', "`;`"),
            ("id\tgood", b',', "tabs"),
            ("id|a b|c-d", b',', "`|`"),
            ("id,good", b'\t', "commas"),
        ] {
            assert!(told(&[header], delimiter).expect(header).contains(called), "{header}");
        }
        for (header, delimiter) in [
            (&["text"][..], b','),
            (&["a;b", "c"], b','),
            (&["what? yes; no."], b','),
            (&["a;"], b','),
            (&["id,good"], b','),
        ] {
            assert_eq!(told(header, delimiter), None, "{header:?}");
        }
    }
}
