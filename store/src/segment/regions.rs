//! All bytes of a segment with the digests that they must have: for whoever copies the file without reading its rows.

use super::file::{SegmentFile, lost};
use crate::error::{Damage, StorageError};
use crate::manifest::SegmentEntry;
use crate::table::{Digest, Region};

impl SegmentFile {
    /// The head, each block and the tail, in order.
    pub(crate) fn regions(&self, entry: &SegmentEntry) -> Result<Vec<Region>, StorageError> {
        let hex = |what: &str, text: &str| match (text.len() == 32).then(|| u128::from_str_radix(text, 16)) {
            Some(Ok(digest)) => Ok(Digest::Xxh128(digest)),
            _ => Err(Damage::new(&self.name, what, "32 hex digits", format!("{text:?}"))),
        };
        let region = |len: u64, digest, rows| Region { len, digest, lost: lost(rows, &self.label) };
        let mut out = Vec::with_capacity(self.blocks.len() + 2);
        out.push(region(self.head_len, hex("digest of the head", &self.head_digest)?, entry.range()));
        for b in &self.blocks {
            out.push(region(b.len() as u64, Digest::Xxh128(b.digest), b.first..b.end));
        }
        let tail = hex("digest of the footer", &entry.footer_digest)?;
        out.push(region(entry.tail_len, tail, entry.range()));
        Ok(out)
    }
}
