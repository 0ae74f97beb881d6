//! Counts with their nouns, singular or plural.

/// `1 row`, `2 rows`.
pub fn many(n: u64, noun: &str) -> String {
    many_of(n, noun, &format!("{noun}s"))
}

/// The same where more is not just an `s`, as with verbs.
pub fn many_of(n: u64, one: &str, several: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { several })
}

#[cfg(test)]
mod tests {
    use super::{many, many_of};

    #[test]
    fn one_is_alone() {
        assert_eq!([many(0, "row"), many(1, "row"), many(2, "row")], ["0 rows", "1 row", "2 rows"]);
        assert_eq!([many_of(1, "pass", "passes"), many_of(2, "pass", "passes")], ["1 pass", "2 passes"]);
    }
}
