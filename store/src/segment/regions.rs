//! All bytes of a segment with the digests that they must have: for whoever copies the file without reading its rows.

use super::file::{SegmentFile, lost};
use crate::error::{Damage, StorageError};
use crate::manifest::SegmentEntry;
use crate::table::{Expected, Region};
use gstore_core::Digest;

impl SegmentFile {
    /// The head, each block and the tail, in order.
    pub(crate) fn regions(&self, entry: &SegmentEntry) -> Result<Vec<Region>, StorageError> {
        let read = |what: &str, text: &str| {
            let digest: Result<Digest, _> = text.parse();
            digest.map_err(|_| Damage::new(&self.name, what, "32 hex digits", format!("{text:?}")))
        };
        let region = |len: u64, digest, rows| {
            let lost = lost(rows, &self.label);
            Region { len, digest: Expected::Digest(digest), lost }
        };
        let mut out = Vec::with_capacity(self.blocks.len() + 2);
        out.push(region(self.head_len, read("digest of the head", &self.head_digest)?, entry.range()));
        for b in &self.blocks {
            out.push(region(b.len() as u64, b.digest, b.first..b.end));
        }
        let tail = read("digest of the footer", &entry.footer_digest)?;
        out.push(region(entry.tail_len, tail, entry.range()));
        Ok(out)
    }
}
