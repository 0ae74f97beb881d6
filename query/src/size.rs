//! Byte counts in messages, and what is cut into runs by size.

use std::ops::Range;

/// What is needed and what is allowed, in one unit in which neither is nothing: the first
/// rounded up, the second down.
pub(crate) fn needed_and_allowed(needed: u64, allowed: u64) -> (String, String) {
    let units = [(1u64 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(unit, _)| allowed >= *unit && needed >= *unit);
    let (unit, name) = unit.unwrap_or((1, "bytes"));
    (format!("{} {name}", needed.div_ceil(unit)), format!("{} {name}", allowed / unit))
}

/// Units that follow one another as runs of at most `most` together, or of a single one; `joins` says whether a
/// unit may be in the run of the one before it.
pub(crate) fn runs(
    sizes: impl Iterator<Item = u64>,
    most: u64,
    joins: impl Fn(usize) -> bool,
) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut size = 0u64;
    for (at, own) in sizes.enumerate() {
        size = size.saturating_add(own);
        match runs.last_mut().filter(|_| size <= most && joins(at)) {
            Some(run) => run.end = at + 1,
            None => {
                runs.push(at..at + 1);
                size = own;
            }
        }
    }
    runs
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
