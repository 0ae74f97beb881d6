//! Shard numbers, written `i/n`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// More shards than this would make receipts long and shards pointless.
const MOST: u32 = 100_000;

/// Shard `index` of `count`, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Numbers")]
pub struct ShardIndex {
    index: u32,
    count: u32,
}

#[derive(Deserialize)]
struct Numbers {
    index: u32,
    count: u32,
}

/// Not a shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardIndexError {
    /// Not two numbers.
    #[error("{0:?} is not a shard; write i/n, for example 2/8 for the second of eight")]
    Form(String),
    /// A number outside of the range.
    #[error("{index}/{count} is not a shard: shards are numbered from 1 to the number of shards{}", hint(*.index, *.count))]
    Range {
        /// The shard.
        index: u32,
        /// Of how many.
        count: u32,
    },
    /// Too many shards.
    #[error("{0} shards are too many; at most {MOST} are possible")]
    Many(u32),
}

fn hint(index: u32, count: u32) -> String {
    match (index, count) {
        (_, 0) => ", and there is at least one".to_owned(),
        (0, n) => format!(", so the first is 1/{n}"),
        (_, n) => format!(", so the last is {n}/{n}"),
    }
}

impl ShardIndex {
    /// Shard `index` of `count`.
    ///
    /// # Errors
    /// An index that is not in `1..=count`, or more shards than there can be.
    pub fn new(index: u32, count: u32) -> Result<Self, ShardIndexError> {
        if index == 0 || index > count {
            return Err(ShardIndexError::Range { index, count });
        }
        if count > MOST {
            return Err(ShardIndexError::Many(count));
        }
        Ok(ShardIndex { index, count })
    }

    /// Which one, from 1.
    pub fn index(self) -> u32 {
        self.index
    }

    /// Of how many.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Its place in a list of all shards.
    pub(crate) fn place(self) -> usize {
        self.index.saturating_sub(1) as usize
    }
}

impl TryFrom<Numbers> for ShardIndex {
    type Error = ShardIndexError;

    fn try_from(numbers: Numbers) -> Result<Self, ShardIndexError> {
        Self::new(numbers.index, numbers.count)
    }
}

impl FromStr for ShardIndex {
    type Err = ShardIndexError;

    fn from_str(text: &str) -> Result<Self, ShardIndexError> {
        let number = |t: &str| t.bytes().all(|b| b.is_ascii_digit()).then(|| t.parse().ok()).flatten();
        let numbers = text.split_once('/').and_then(|(i, n)| Some((number(i)?, number(n)?)));
        let (index, count) = numbers.ok_or_else(|| ShardIndexError::Form(text.to_owned()))?;
        Self::new(index, count)
    }
}

impl fmt::Display for ShardIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_shard_is_explained() {
        let parse = |text: &str| text.parse::<ShardIndex>();
        assert_eq!(parse("2/8").map(|s| s.to_string()), Ok("2/8".to_owned()));
        assert_eq!(parse("1/1"), ShardIndex::new(1, 1));
        for (text, says) in [
            ("0/4", "the first is 1/4"),
            ("5/4", "the last is 4/4"),
            ("1/0", "at least one"),
            ("3", "write i/n"),
            ("a/b", "write i/n"),
            ("+1/4", "write i/n"),
            ("1/4/4", "write i/n"),
            ("1/99999999999", "write i/n"),
            ("1/100001", "too many"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
