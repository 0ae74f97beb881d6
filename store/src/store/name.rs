//! Snapshot names as users write them: a number or a tag.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

/// Not the name of a snapshot or a tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SnapshotNameError(String);

/// The characters of a tag.
const OF_TAG: &str =
    "1 to 64 of the characters a-z, 0-9, `.`, `_` and `-`, of which the first is a letter or digit";

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn not_a_tag(text: &str) -> SnapshotNameError {
    SnapshotNameError(match is_number(text) {
        true => format!("{text} is a number, and a tag must not be one: it would be taken for a snapshot"),
        false => format!("{text:?} cannot be a tag: a tag has {OF_TAG}"),
    })
}

fn not_a_snapshot(text: &str) -> SnapshotNameError {
    match is_number(text) {
        true => SnapshotNameError(format!("{text} is too large for the number of a snapshot")),
        false => SnapshotNameError(format!("{text:?} names no snapshot: use a number, or a tag of {OF_TAG}")),
    }
}

/// A tag: 1 to 64 of `a-z`, `0-9`, `.`, `_`, `-`, beginning with a letter or digit, and not a number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagName(String);

impl TagName {
    const MAX: usize = 64;

    /// Words that do something to what other commands name; as tags they would be set by mistake.
    const VERBS: [&'static str; 7] = ["list", "ls", "create", "drop", "delete", "remove", "rm"];

    /// Whether a name is none for a new tag. Stores may have older ones.
    pub fn is_verb(name: &str) -> bool {
        Self::VERBS.contains(&name)
    }
}

impl FromStr for TagName {
    type Err = SnapshotNameError;

    fn from_str(text: &str) -> Result<Self, SnapshotNameError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        let sound = text.len() <= Self::MAX
            && text.bytes().all(allowed)
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && !is_number(text);
        if sound { Ok(TagName(text.to_owned())) } else { Err(not_a_tag(text)) }
    }
}

impl Deref for TagName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A snapshot, as a user names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SnapshotName {
    /// By its number.
    Number(u64),
    /// By a tag.
    Tag(TagName),
}

impl FromStr for SnapshotName {
    type Err = SnapshotNameError;

    fn from_str(text: &str) -> Result<Self, SnapshotNameError> {
        match text.parse() {
            Ok(number) => Ok(SnapshotName::Number(number)),
            Err(_) => text.parse().map(SnapshotName::Tag).map_err(|_| not_a_snapshot(text)),
        }
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotName::Number(n) => n.fmt(f),
            SnapshotName::Tag(tag) => tag.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_tags_are_told_apart() {
        assert_eq!("17".parse(), Ok(SnapshotName::Number(17)));
        for tag in ["v1", "before-cleanup", "2026.11", "7a"] {
            assert!(matches!(tag.parse(), Ok(SnapshotName::Tag(_))), "{tag}");
        }
        for bad in ["", "-x", ".x", "X", "a b", "a/b", "99999999999999999999999", &"x".repeat(65)] {
            assert!(bad.parse::<SnapshotName>().is_err(), "{bad}");
        }
        let number = "5".parse::<TagName>().unwrap_err().to_string();
        assert!(number.contains("a tag must not be one"), "{number}");
        let tag = "a b".parse::<TagName>().unwrap_err().to_string();
        assert!(tag.starts_with("\"a b\" cannot be a tag: a tag has 1 to 64 of"), "{tag}");
        let snapshot = "a b".parse::<SnapshotName>().unwrap_err().to_string();
        assert!(snapshot.starts_with("\"a b\" names no snapshot: use a number, or a tag"), "{snapshot}");
    }
}
