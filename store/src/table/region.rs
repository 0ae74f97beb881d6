//! Runs of bytes with the digests that they must have.

use crate::manifest::{CHUNK, FileEntry};
use xxhash_rust::xxh3::Xxh3;

/// What bytes must hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Digest {
    Xxh64(u64),
    Xxh128(u128),
}

impl Digest {
    /// The digest of the same kind of what was hashed, and whether it is this one.
    pub(crate) fn compare(self, hash: &Xxh3) -> Result<(), (String, String)> {
        let (expected, found) = match self {
            Digest::Xxh64(d) => (format!("{d:016x}"), format!("{:016x}", hash.digest())),
            Digest::Xxh128(d) => (format!("{d:032x}"), format!("{:032x}", hash.digest128())),
        };
        if expected == found { Ok(()) } else { Err((expected, found)) }
    }
}

/// Consecutive bytes of a file.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    pub len: u64,
    pub digest: Digest,
    /// What is lost if they are damaged, in words.
    pub lost: String,
}

/// The MiBs of a Parquet file. `of` says what its rows are rows of.
pub(crate) fn regions(entry: &FileEntry, of: &str) -> Vec<Region> {
    let lost = format!("rows {}..{} of {of} cannot be read, or some of them", entry.first_row, entry.end_row);
    let starts = (0..entry.len).step_by(CHUNK as usize);
    starts
        .zip(&entry.chunks)
        .map(|(start, digest)| Region {
            len: CHUNK.min(entry.len - start),
            digest: Digest::Xxh64(*digest),
            lost: lost.clone(),
        })
        .collect()
}
