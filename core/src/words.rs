//! Counts with their nouns, singular or plural, and the beginnings of long texts.

/// `1 row`, `2 rows`.
pub fn many(n: u64, noun: &str) -> String {
    many_of(n, noun, &format!("{noun}s"))
}

/// The same where more is not just an `s`, as with verbs.
pub fn many_of(n: u64, one: &str, several: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { several })
}

/// The first `most` characters of a text, and dots where it has more.
pub fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", text.split_at(end).0),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{many, many_of, shortened};

    #[test]
    fn long_texts_end_in_dots() {
        assert_eq!([shortened("\u{e4}bc", 3), shortened("\u{e4}bcd", 2)], ["\u{e4}bc", "\u{e4}b..."]);
        assert_eq!(shortened("", 0), "");
    }

    #[test]
    fn one_is_alone() {
        assert_eq!([many(0, "row"), many(1, "row"), many(2, "row")], ["0 rows", "1 row", "2 rows"]);
        assert_eq!([many_of(1, "pass", "passes"), many_of(2, "pass", "passes")], ["1 pass", "2 passes"]);
    }
}
