//! `receipt.json`: description of a finished shard, with the digest of every file in it.
//!
//! Invariants
//! - the last line but one of the file holds the XXH3-128 of all bytes before that digest
//! - a receipt that was parsed is sound: its files have plain names, their rows are rows of the shard, no row
//!   is in two files of a feature
//! - parsing allocates a small multiple of the input and never fails but with an error

mod check;
mod text;

use crate::error::ReceiptError;
use crate::job::{JobFeature, ShardNote, encoding_name, segment_name};
use crate::manifest::{Extra, FileEntry, RunUpdate, SegmentEntry};
use gstore_core::{EncodingSpec, RowSet};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// A finished shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub(super) version: u32,
    pub(super) requires: Vec<String>,
    /// Store, snapshot, dataset and number of the shard.
    #[serde(flatten)]
    pub note: ShardNote,
    /// First row and one past the last of all shards, in order.
    pub split: Vec<[u64; 2]>,
    /// The rows that this shard is for, as ranges: those of its part of the split that the snapshot had.
    pub rows: Vec<[u64; 2]>,
    /// The command, for the history.
    pub command: String,
    /// What was computed, canonically; shards of one job have the same.
    pub identity: Value,
    /// The features.
    pub features: Vec<JobFeature>,
    /// The encodings whose token counts it has.
    pub encodings: Vec<ReceiptEncoding>,
    /// Checkpoints for a run.
    pub run: Option<RunUpdate>,
    /// The files.
    pub files: Vec<ReceiptFile>,
    /// XXH3-128 of `samples.xxh3`, which says what samples the rows were.
    pub samples: String,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Extra,
    /// XXH3-128 of the file before this digest.
    #[serde(skip)]
    pub digest: String,
}

/// An encoding of a receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceiptEncoding {
    /// Key of its description.
    pub key: String,
    /// The description.
    pub spec: EncodingSpec,
    /// Short name.
    pub label: String,
}

/// What a file of a shard is of.
pub(crate) enum FileContent<'a> {
    Feature(&'a JobFeature, &'a SegmentEntry),
    Encoding(&'a ReceiptEncoding, &'a FileEntry),
}

/// A file of a shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ReceiptFile {
    /// Vectors.
    Segment {
        /// Its name in the folder.
        name: String,
        /// Place of its feature in the receipt, from 0.
        feature: usize,
        /// Exactly which rows it has.
        rows: Vec<[u64; 2]>,
        /// Length, footer digest and the like.
        entry: SegmentEntry,
    },
    /// Token counts.
    Encoding {
        /// Its name in the folder.
        name: String,
        /// Place of its encoding in the receipt, from 0.
        encoding: usize,
        /// Length, digests and rows.
        entry: FileEntry,
    },
}

impl ReceiptFile {
    /// Its name in the folder.
    pub fn name(&self) -> &str {
        match self {
            ReceiptFile::Segment { name, .. } | ReceiptFile::Encoding { name, .. } => name,
        }
    }

    /// Its name in the store.
    pub(crate) fn uuid(&self) -> Uuid {
        match self {
            ReceiptFile::Segment { entry, .. } => entry.uuid,
            ReceiptFile::Encoding { entry, .. } => entry.uuid,
        }
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            ReceiptFile::Segment { entry, .. } => entry.len,
            ReceiptFile::Encoding { entry, .. } => entry.len,
        }
    }

    /// Its rows.
    pub fn row_set(&self) -> RowSet {
        match self {
            ReceiptFile::Segment { rows, .. } => RowSet::from_pairs(rows),
            ReceiptFile::Encoding { entry, .. } => RowSet::from_range(entry.range()),
        }
    }

    /// The name that a file of this kind must have.
    fn expected_name(&self) -> String {
        match self {
            ReceiptFile::Segment { feature, entry, .. } => segment_name(*feature, entry.uuid),
            ReceiptFile::Encoding { entry, .. } => encoding_name(entry.uuid),
        }
    }
}

impl Receipt {
    /// It with its digest, and its text, checked as its readers will.
    pub(super) fn sealed(mut self) -> Result<(Receipt, Vec<u8>), ReceiptError> {
        let (text, digest) = text::write(&self)?;
        self.digest = digest;
        Self::parse(&text)?;
        Ok((self, text))
    }

    /// Reads a receipt.
    ///
    /// # Errors
    /// Anything but the bytes of a sound receipt.
    pub fn parse(bytes: &[u8]) -> Result<Receipt, ReceiptError> {
        let receipt = text::read(bytes)?;
        match check::problem(&receipt) {
            None => Ok(receipt),
            Some(problem) => Err(ReceiptError::Bad(problem)),
        }
    }

    /// Its files, each with what it is of. In a receipt that was parsed every file is of something.
    pub(crate) fn contents(&self) -> impl Iterator<Item = (&ReceiptFile, FileContent<'_>)> {
        self.files.iter().filter_map(|file| {
            let of = match file {
                ReceiptFile::Segment { feature, entry, .. } => {
                    FileContent::Feature(self.features.get(*feature)?, entry)
                }
                ReceiptFile::Encoding { encoding, entry, .. } => {
                    FileContent::Encoding(self.encodings.get(*encoding)?, entry)
                }
            };
            Some((file, of))
        })
    }

    /// The rows that the shard is for.
    pub fn row_set(&self) -> RowSet {
        RowSet::from_pairs(&self.rows)
    }

    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0u64, |n, f| n.saturating_add(f.bytes()))
    }
}
