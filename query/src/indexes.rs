//! What sketches and graphs have in common: each is an index beside a segment, vouched for by nothing but itself.

use gstore_store::{BlockBuffer, IndexFile};

/// Bytes that are compared with a digest together: small records, single codes, vectors and nodes are read.
pub(crate) const CHUNK: u64 = 64 << 10;

/// What there is of an index of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A file that fits, by its footer; its sections were not read.
    Usable,
    /// A file that is damaged, or of another state of the segment: a build makes it anew.
    Unusable,
    /// Nothing.
    Missing,
}

/// Whether every byte of the sections agrees with its digest.
pub(crate) fn is_sound(file: &IndexFile) -> bool {
    let mut scratch = BlockBuffer::new();
    file.sections().all(|name| {
        let Ok(section) = file.section(name) else { return false };
        let piece = section.chunk_len().max(CHUNK);
        (0..section.len().div_ceil(piece)).all(|i| {
            let range = i * piece..((i + 1) * piece).min(section.len());
            section.read(range, &mut scratch).is_ok()
        })
    })
}
