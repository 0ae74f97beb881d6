//! A feature part: the description of a feature, and the segments that hold its vectors.

use super::Extra;
use super::entry::{Entry, deserialize_with_extra};
use super::file::{Link, ROTATED_SIGNS, SIGN_ROWS, TOKENS, require};
use super::page::{Order, PageReader, PageWriter, Pages};
use super::part::{Part, mismatch};
use crate::error::StorageError;
use gstore_core::{DType, Digest, FeatureAttrs, FeatureDesc, Granularity, RowSet};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::ops::Range;
use uuid::Uuid;

/// Where a segment's entry notes the indexes of the files before it.
const INDEXES: &str = "indexes";

/// Whether all rows that were asked for are there, as the job that published the feature left it. Rows that
/// were added to the dataset since are not looked at; `Snapshot::coverage` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureState {
    /// Rows are missing that were asked for.
    Building,
    /// Every row that was asked for is there.
    Complete,
}

/// A segment as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SegmentEntry {
    /// Its name.
    pub uuid: Uuid,
    /// Its first row.
    pub first_row: u64,
    /// One past its last row.
    pub end_row: u64,
    /// How many rows it has; fewer than the range where there are gaps.
    pub rows: u64,
    /// Length of the file in bytes.
    pub len: u64,
    /// Bytes after the last block: the end marker, the footer, its length and the magic.
    pub tail_len: u64,
    /// XXH3-128 of those bytes. They hold the digests of all others.
    pub footer_digest: Digest,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Extra,
}

deserialize_with_extra!(SegmentEntry {
    uuid: Uuid,
    first_row: u64,
    end_row: u64,
    rows: u64,
    len: u64,
    tail_len: u64,
    footer_digest: Digest,
});

impl SegmentEntry {
    /// Where the rows lie.
    pub fn range(&self) -> Range<u64> {
        self.first_row..self.end_row
    }

    /// Whether every row of the range is there.
    pub(crate) fn is_dense(&self) -> bool {
        self.end_row.checked_sub(self.first_row) == Some(self.rows)
    }

    /// Headers of the indexes that the files had of which its own was written, by kind; null where one could
    /// not be read. An index goes with its file, and this says how to make it again.
    pub fn indexes_before(&self) -> Option<&Extra> {
        self.extra.get(INDEXES)?.as_object()
    }

    pub(crate) fn note_indexes(&mut self, headers: Extra) {
        if !headers.is_empty() {
            self.extra.insert(INDEXES.to_owned(), Value::Object(headers));
        }
    }
}

/// Puts the segments of a feature into their order.
pub(crate) fn sort_segments(segments: &mut [SegmentEntry]) {
    segments.sort_unstable_by_key(|s| (s.first_row, s.uuid));
}

impl Entry for SegmentEntry {
    fn rows(&self) -> Range<u64> {
        self.range()
    }
}

/// A feature in a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeaturePart {
    pub(crate) version: u32,
    pub(crate) requires: Vec<String>,
    /// Number of its folder.
    pub number: u32,
    /// Its key.
    pub key: String,
    /// What the key is the digest of.
    pub desc: FeatureDesc,
    /// Further attributes.
    pub attrs: FeatureAttrs,
    /// Whether rows are missing.
    pub state: FeatureState,
    /// Its segments, by first row. No row is in two of them.
    pub segments: Vec<SegmentEntry>,
    /// Files that hold the older ones.
    #[serde(default, skip_serializing_if = "Pages::is_empty")]
    pub(crate) segments_pages: Pages<SegmentEntry>,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Extra,
}

impl FeaturePart {
    pub(crate) fn new(number: u32, desc: FeatureDesc, attrs: FeatureAttrs) -> Self {
        FeaturePart {
            version: super::VERSION,
            requires: Vec::new(),
            number,
            key: desc.key(),
            desc,
            attrs,
            state: FeatureState::Building,
            segments: Vec::new(),
            segments_pages: Pages::default(),
            extra: Extra::new(),
        }
    }

    /// How many rows it has.
    pub fn rows(&self) -> u64 {
        self.segments.iter().fold(0u64, |n, s| n.saturating_add(s.rows))
    }

    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().fold(0u64, |n, s| n.saturating_add(s.len))
    }

    /// The ranges its segments span, without opening one. Where a segment has gaps this is more than the rows
    /// that are there; [`FeaturePart::has_gaps`] says so, and `FeatureReader::row_set` gives the exact set.
    pub fn row_ranges(&self) -> RowSet {
        RowSet::from_ranges(self.segments.iter().map(SegmentEntry::range))
    }

    /// Whether some segment lacks rows inside its range.
    pub fn has_gaps(&self) -> bool {
        self.segments.iter().any(|s| !s.is_dense())
    }

    /// `dataset/label`, as messages name it.
    pub fn display_name(&self) -> String {
        format!("{}/{}", self.desc.dataset, self.attrs.label)
    }
}

impl Part for FeaturePart {
    fn stem(&self) -> String {
        format!("feature-{}", self.number)
    }

    fn pages(&self) -> Vec<&Link> {
        self.segments_pages.links().collect()
    }

    fn unfold(&mut self, like: Option<&Self>, reader: &mut PageReader<'_>) -> Result<(), StorageError> {
        let of = format!("feature {}", self.display_name());
        let like = like.map(|l| &l.segments_pages);
        reader.complete(&of, Order::Rows, &mut self.segments, &mut self.segments_pages, like)
    }

    fn fold(&mut self, writer: &mut PageWriter<'_>) -> Result<(), StorageError> {
        writer.split(Order::Rows, &mut self.segments, &mut self.segments_pages)?;
        writer.note(&mut self.requires);
        require(&mut self.requires, TOKENS, self.desc.granularity == Granularity::Token);
        require(&mut self.requires, SIGN_ROWS, self.desc.dtype == DType::I1);
        require(&mut self.requires, ROTATED_SIGNS, !self.desc.rotation.is_none());
        Ok(())
    }

    fn problem(&self) -> Option<(String, String, String)> {
        let key = self.desc.key();
        if key != self.key {
            return Some(("key of the feature".into(), key, self.key.clone()));
        }
        if let Some(p) = self.attrs.groups_problem(self.desc.dim()) {
            return mismatch("module groups", "groups that cover every coordinate once", p);
        }
        let mut first = 0;
        for s in &self.segments {
            let span = s.end_row.saturating_sub(s.first_row);
            if s.rows == 0 || s.rows > span {
                return mismatch(format!("rows of segment {}", s.uuid), format!("1 to {span}"), s.rows);
            }
            if s.first_row < first {
                let what = format!("first row of segment {}", s.uuid);
                return mismatch(what, format!("{first} or more"), s.first_row);
            }
            first = s.first_row;
            if s.tail_len >= s.len {
                let what = format!("tail of segment {}", s.uuid);
                return mismatch(what, format!("less than {} bytes", s.len), s.tail_len);
            }
        }
        None
    }
}
