//! Snapshot names as users write them: a number or a tag.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

/// Not the name of a snapshot or a tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", why(.0))]
pub struct SnapshotNameError(String);

fn why(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return format!("{text} is a number, and a tag must not be one: it would be taken for a snapshot");
    }
    format!(
        "{text:?} names no snapshot: use a number, or a tag of 1 to 64 of the characters a-z, 0-9, `.`, `_` and `-` that begins with a letter or digit"
    )
}

/// A tag: 1 to 64 of `a-z`, `0-9`, `.`, `_`, `-`, beginning with a letter or digit, and not a number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TagName(String);

impl TagName {
    const MAX: usize = 64;
}

impl TryFrom<String> for TagName {
    type Error = SnapshotNameError;

    fn try_from(text: String) -> Result<Self, SnapshotNameError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        let sound = text.len() <= Self::MAX
            && text.bytes().all(allowed)
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && !text.bytes().all(|b| b.is_ascii_digit());
        if sound { Ok(TagName(text)) } else { Err(SnapshotNameError(text)) }
    }
}

impl FromStr for TagName {
    type Err = SnapshotNameError;

    fn from_str(text: &str) -> Result<Self, SnapshotNameError> {
        Self::try_from(text.to_owned())
    }
}

impl From<TagName> for String {
    fn from(name: TagName) -> String {
        name.0
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
            Err(_) => text.parse().map(SnapshotName::Tag),
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
    }
}
