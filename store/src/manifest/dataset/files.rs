//! Files of a dataset: samples, bitmaps of deleted rows, and the list of deleted ids.

use super::super::Extra;
use super::super::entry::{Entry, deserialize_with_extra};
use super::super::part::mismatch;
use gstore_core::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ops::Range;
use uuid::Uuid;

/// A Parquet file and the digests of its bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileEntry {
    /// Its name.
    pub uuid: Uuid,
    /// Its first row.
    pub first_row: u64,
    /// One past its last row.
    pub end_row: u64,
    /// How many rows it has.
    pub rows: u64,
    /// Its length in bytes.
    pub len: u64,
    /// XXH3-64 of every started MiB, in order; in the file one text of 16 hex digits each.
    #[serde(serialize_with = "write_chunks")]
    pub chunks: Vec<u64>,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Extra,
}

deserialize_with_extra!(FileEntry {
    uuid: Uuid,
    first_row: u64,
    end_row: u64,
    rows: u64,
    len: u64,
    chunks: Chunks,
});

/// Digests as they are in the file: one text.
struct Chunks(Vec<u64>);

impl From<Chunks> for Vec<u64> {
    fn from(chunks: Chunks) -> Self {
        chunks.0
    }
}

impl<'de> Deserialize<'de> for Chunks {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let bad = || serde::de::Error::custom("chunk digests must be 16 hex digits each");
        if !text.is_ascii() || !text.len().is_multiple_of(16) {
            return Err(bad());
        }
        let number = |i: usize| text.get(i..i + 16).and_then(|t| u64::from_str_radix(t, 16).ok());
        let chunks = (0..text.len()).step_by(16).map(|i| number(i).ok_or_else(bad)).collect::<Result<_, _>>();
        chunks.map(Chunks)
    }
}

/// Bytes covered by one digest of [`FileEntry::chunks`].
pub(crate) const CHUNK: u64 = 1 << 20;

impl FileEntry {
    /// Where the rows lie.
    pub fn range(&self) -> Range<u64> {
        self.first_row..self.end_row
    }

    pub(crate) fn problem(&self) -> Option<(String, String, String)> {
        let file = self.uuid;
        if self.rows == 0 || self.end_row.checked_sub(self.first_row) != Some(self.rows) {
            let expected = format!("{}..{} without gaps", self.first_row, self.end_row);
            return mismatch(format!("rows of file {file}"), expected, format!("{} rows", self.rows));
        }
        let chunks = self.len.div_ceil(CHUNK);
        if self.chunks.len() as u64 != chunks {
            return mismatch(format!("digests of file {file}"), chunks.to_string(), self.chunks.len());
        }
        None
    }
}

impl Entry for FileEntry {
    fn rows(&self) -> Range<u64> {
        self.range()
    }
}

/// Rows that one change deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneEntry {
    /// Name of the bitmap.
    pub uuid: Uuid,
    /// How many rows it has.
    pub rows: u64,
    /// Length of the file in bytes.
    pub len: u64,
    /// XXH3-128 of its bytes.
    pub digest: Digest,
    /// Whether nothing is left of the rows but their numbers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub purged: bool,
    /// Whether a newer row has, or had, the id of each row: it was replaced, or its id was added again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub superseded: bool,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The list of deleted ids that no sample file has any more, as salted digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedIdsEntry {
    /// Name of the list.
    pub uuid: Uuid,
    /// How many ids it has.
    pub ids: u64,
    /// Length of the file in bytes.
    pub len: u64,
    /// XXH3-128 of its tail, which has the digests of its pages.
    pub digest: Digest,
    /// What every id is hashed with.
    pub salt: Uuid,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Extra,
}

fn write_chunks<S: Serializer>(chunks: &[u64], s: S) -> Result<S::Ok, S::Error> {
    let mut text = String::with_capacity(chunks.len() * 16);
    for c in chunks {
        text.push_str(&format!("{c:016x}"));
    }
    s.serialize_str(&text)
}
