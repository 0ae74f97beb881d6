//! Formatting of byte counts in messages.

/// What is needed and what is allowed, in one unit in which neither is nothing: the first
/// rounded up, the second down.
pub(crate) fn needed_and_allowed(needed: u64, allowed: u64) -> (String, String) {
    let units = [(1u64 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(unit, _)| allowed >= *unit && needed >= *unit);
    let (unit, name) = unit.unwrap_or((1, "bytes"));
    (format!("{} {name}", needed.div_ceil(unit)), format!("{} {name}", allowed / unit))
}

#[cfg(test)]
mod tests {
    use super::needed_and_allowed;

    #[test]
    fn neither_number_is_nothing_nor_are_they_equal_where_one_is_more() {
        for (needed, allowed, says) in [
            (3 << 20, 2 << 20, ("3 MiB", "2 MiB")),
            ((2 << 20) + 1, 2 << 20, ("3 MiB", "2 MiB")),
            (9 << 20, 1024, ("9216 KiB", "1 KiB")),
            (1025, 1000, ("1025 bytes", "1000 bytes")),
        ] {
            let (needed, allowed) = needed_and_allowed(needed, allowed);
            assert_eq!((needed.as_str(), allowed.as_str()), says);
        }
    }
}
