//! Byte ranges of a segment and their expected digests, for copies that do not read its rows.

use super::file::{SegmentFile, lost};
use crate::manifest::SegmentEntry;
use crate::table::{Expected, Region};

impl SegmentFile {
    /// The head, each block and the tail, in order.
    pub(crate) fn regions(&self, entry: &SegmentEntry) -> Vec<Region> {
        let region = |len: u64, digest, rows| {
            let lost = lost(rows, &self.label);
            Region { len, digest: Expected::Digest(digest), lost }
        };
        let mut out = Vec::with_capacity(self.blocks.len() + 2);
        out.push(region(self.head_len, self.head_digest, entry.range()));
        for b in &self.blocks {
            out.push(region(b.len() as u64, b.digest, b.first..b.end));
        }
        out.push(region(entry.tail_len, entry.footer_digest, entry.range()));
        out
    }
}
