//! Counts with their nouns, singular or plural, and of bytes, texts on one line, beginnings of long texts and
//! lists, errors of files.

/// `1 row`, `2 rows`.
pub fn many(n: u64, noun: &str) -> String {
    many_of(n, noun, &format!("{noun}s"))
}

/// The same where more is not just an `s`, as with verbs.
pub fn many_of(n: u64, one: &str, several: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { several })
}

/// A number of bytes: `15 B`, `1.46 KiB`, `3.00 GiB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = (bytes | 1).ilog2() / 10;
    let digits = if unit == 0 { 0 } else { 2 };
    format!("{:.digits$} {}", bytes as f64 / 1024f64.powi(unit as i32), UNITS[unit as usize])
}

/// What an error of a file says, without the path that `tempfile` adds: a hidden name tells a user nothing.
pub fn without_path(error: &std::io::Error) -> String {
    let said = error.to_string();
    said.split(" at path ").next().unwrap_or_default().to_owned()
}

/// A text on one line: a blank for each run of white space, and none at the ends.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Words in lines that fit; one that is too long stands alone.
pub fn wrapped<W: AsRef<str>>(
    words: impl IntoIterator<Item = W>,
    fits: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        let word = word.as_ref();
        match lines.last_mut() {
            Some(line) if fits(&format!("{line} {word}")) => line.extend([" ", word]),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The first `most` characters of a text, and dots where it has more.
pub fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", text.split_at(end).0),
        None => text.to_owned(),
    }
}

/// The first `most` of some names with commas between them, and dots where there are more.
pub fn first_of<T: AsRef<str>>(names: impl IntoIterator<Item = T>, most: usize) -> String {
    let mut names = names.into_iter();
    let first: Vec<T> = names.by_ref().take(most).collect();
    let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
    let more = if names.next().is_some() { ", ..." } else { "" };
    first.join(", ") + more
}

#[cfg(test)]
mod tests {
    use super::{first_of, human_bytes, many, many_of, one_line, shortened, wrapped};

    #[test]
    fn white_space_is_folded() {
        assert_eq!(one_line(" a\n\tb  c\r\n"), "a b c");
        assert_eq!(one_line(" \n"), "");
    }

    #[test]
    fn words_stand_in_lines_that_fit() {
        let lines = wrapped(["a", "bc", "defgh", "i"], |line| line.len() <= 4);
        assert_eq!(lines, ["a bc", "defgh", "i"]);
        assert!(wrapped(Vec::<String>::new(), |_| true).is_empty());
    }

    #[test]
    fn long_lists_end_in_dots() {
        assert_eq!([first_of(["a", "b"], 2), first_of(["a", "b", "c"], 2)], ["a, b", "a, b, ..."]);
        assert_eq!(first_of(Vec::<String>::new(), 2), "");
    }

    #[test]
    fn long_texts_end_in_dots() {
        assert_eq!([shortened("\u{e4}bc", 3), shortened("\u{e4}bcd", 2)], ["\u{e4}bc", "\u{e4}b..."]);
        assert_eq!(shortened("", 0), "");
    }

    #[test]
    fn bytes_are_told_in_the_largest_unit_of_which_there_is_one() {
        let told = [0, 15, 1023, 1024, 1500, 3 << 30, u64::MAX].map(human_bytes);
        assert_eq!(told, ["0 B", "15 B", "1023 B", "1.00 KiB", "1.46 KiB", "3.00 GiB", "16.00 EiB"]);
    }

    #[test]
    fn one_is_alone() {
        assert_eq!([many(0, "row"), many(1, "row"), many(2, "row")], ["0 rows", "1 row", "2 rows"]);
        assert_eq!([many_of(1, "pass", "passes"), many_of(2, "pass", "passes")], ["1 pass", "2 passes"]);
    }
}
