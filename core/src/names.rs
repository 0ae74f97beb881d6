//! Names that a user writes and ids that are computed, each checked when it is made.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Deref;

use crate::canonical::hex;

/// Why a text cannot be a name or an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Not `[a-z0-9_]{1,64}`.
    #[error(
        "{0:?} cannot name a dataset, a table or a view: use 1 to 64 of the characters a-z, 0-9 and _, for example \
         {example:?}",
        example = suggest(.0)
    )]
    Dataset(String),
    /// Not 64 lower-case hex digits.
    #[error("{0:?} is not a checkpoint id: expected 64 lower-case hex digits (a BLAKE3 hash)")]
    Checkpoint(String),
}

fn suggest(bad: &str) -> String {
    let mut s: String = bad
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' })
        .take(DatasetName::MAX)
        .collect();
    if s.is_empty() {
        s.push_str("pool");
    }
    s
}

macro_rules! text_type {
    ($name:ident, $check:expr, $error:expr) => {
        impl TryFrom<&str> for $name {
            type Error = NameError;
            fn try_from(text: &str) -> Result<Self, NameError> {
                if $check(text) { Ok(Self(text.to_owned())) } else { Err($error(text.to_owned())) }
            }
        }
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::try_from(text.as_str())
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// The name of a dataset: 1 to 64 of `a-z`, `0-9` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatasetName(String);

impl DatasetName {
    /// The longest name, in characters.
    pub const MAX: usize = 64;

    fn ok(text: &str) -> bool {
        (1..=Self::MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    }
}

text_type!(DatasetName, DatasetName::ok, NameError::Dataset);

/// The id of a checkpoint: the BLAKE3 hash of its weights, as 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CheckpointId(String);

impl CheckpointId {
    fn ok(text: &str) -> bool {
        text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    }

    /// The id of a checkpoint whose weights have this hash.
    pub fn of_hash(hash: &[u8; 32]) -> Self {
        Self(hex(hash))
    }

    /// The first eight digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

text_type!(CheckpointId, CheckpointId::ok, NameError::Checkpoint);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_named_by_a_hash() {
        let id = CheckpointId::of_hash(&[0xa5; 32]);
        assert_eq!(&*id, "a5".repeat(32));
        assert_eq!(CheckpointId::try_from(&*id), Ok(id.clone()));
    }

    #[test]
    fn dataset_names() {
        for good in ["a", "pool", "gsm8k_test", "0"] {
            assert!(DatasetName::try_from(good).is_ok(), "{good}");
        }
        for bad in ["", "Pool", "a-b", "a b", "é", &"x".repeat(65), "../x"] {
            assert!(DatasetName::try_from(bad).is_err(), "{bad}");
        }
        let message = DatasetName::try_from("My-Pool").unwrap_err().to_string();
        assert!(message.contains("\"my_pool\""), "{message}");
    }
}
