//! Names in messages: the nearest known one, and lists of them.

use std::fmt::Display;

/// The candidate nearest to `name`, upper and lower case taken as equal, if it is near enough to
/// be a slip of the finger.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<(String, &str)> = candidates.into_iter().map(|c| (c.to_lowercase(), c)).collect();
    let lower =
        gstore_store::nearest(&name.to_lowercase(), known.iter().map(|(l, _)| l.as_str()))?.to_string();
    // One letter is within two slips of any other short name.
    let near = lower.chars().count().min(name.chars().count()) > 1;
    known.iter().find(|(l, _)| *l == lower).map(|(_, c)| *c).filter(|_| near)
}

/// The candidate of this name: as it is written, or in any case where only one fits.
pub(crate) fn in_any_case<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let mut found: Vec<&str> = candidates.into_iter().filter(|c| c.to_lowercase() == lower).collect();
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [only] => Some(*only),
        several => several.iter().copied().find(|c| *c == name),
    }
}

/// The question after a misspelt name whose nearest known one is `near`.
pub fn did_you_mean(near: &str) -> String {
    format!("did you mean `{near}`?")
}

/// `a`, `b`, `c`: names side by side.
pub(crate) fn quoted<T: Display>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// `a`, `b` and `c`, for messages that list names.
pub fn listing<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|n| format!("`{n}`")).collect();
    match names.split_last() {
        None => "none".to_string(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_a_stranger_is_not() {
        let names = ["within", "Across", "fold", "sim"];
        assert_eq!(nearest("wihtin", names), Some("within"));
        assert_eq!(nearest("ACROS", names), Some("Across"));
        assert_eq!(nearest("temperature", names), None);
        assert_eq!(nearest("x", ["k"]), None);
        assert_eq!(nearest("wihtin", names).map(did_you_mean).as_deref(), Some("did you mean `within`?"));
    }

    #[test]
    fn a_name_is_found_in_any_case_where_only_one_fits() {
        let names = ["Source", "day", "Day", "Source"];
        assert_eq!(in_any_case("source", names), Some("Source"));
        assert_eq!(in_any_case("day", names), Some("day"));
        assert_eq!(in_any_case("DAY", names), None);
        assert_eq!(in_any_case("sourc", names), None);
    }

    #[test]
    fn lists_read_as_prose() {
        assert_eq!(listing([]), "none");
        assert_eq!(listing(["a"]), "`a`");
        assert_eq!(listing(["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
