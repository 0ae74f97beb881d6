//! Runs of bytes with their expected digests.

use crate::manifest::{CHUNK, FileEntry};
use gstore_core::Digest;
use xxhash_rust::xxh3::Xxh3;

/// What bytes must hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Expected {
    /// A chunk of a Parquet file: XXH3-64.
    Chunk(u64),
    /// Anything else.
    Digest(Digest),
}

impl Expected {
    /// The digest of the same kind of what was hashed.
    pub(crate) fn of_hashed(self, hash: &Xxh3) -> Expected {
        match self {
            Expected::Chunk(_) => Expected::Chunk(hash.digest()),
            Expected::Digest(_) => Expected::Digest(Digest::of_hashed(hash)),
        }
    }

    /// Whether what was hashed has this digest; else both, in words.
    pub(crate) fn compare(self, hash: &Xxh3) -> Result<(), (String, String)> {
        let found = self.of_hashed(hash);
        if self == found { Ok(()) } else { Err((self.text(), found.text())) }
    }

    fn text(self) -> String {
        match self {
            Expected::Chunk(digest) => format!("{digest:016x}"),
            Expected::Digest(digest) => digest.to_string(),
        }
    }
}

/// Consecutive bytes of a file.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    pub len: u64,
    pub digest: Expected,
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
            digest: Expected::Chunk(*digest),
            lost: lost.clone(),
        })
        .collect()
}
