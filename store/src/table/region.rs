//! Runs of bytes with their expected digests.

use crate::manifest::{CHUNK, FileEntry};
use crate::vfs::VfsRead;
use gstore_core::Digest;
use std::io;
use std::ops::Range;
use xxhash_rust::xxh3::Xxh3;

/// Bytes that are read and hashed at a time.
const AT_A_TIME: u64 = 1 << 20;

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

/// Why the bytes of a span were not all read and passed on.
pub(crate) enum SpanFailure<E> {
    Read(io::Error),
    /// What took them failed.
    Sink(E),
}

/// Hashes a span of a file and passes its bytes on, some at a time. `buffer` is memory that is used again.
pub(crate) fn hash_span<E>(
    file: &dyn VfsRead,
    span: Range<u64>,
    buffer: &mut Vec<u8>,
    mut sink: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Xxh3, SpanFailure<E>> {
    let (mut hash, mut at) = (Xxh3::new(), span.start);
    while at < span.end {
        let n = (span.end - at).min(AT_A_TIME);
        buffer.resize(buffer.len().max(n as usize), 0);
        let bytes = buffer.split_at_mut(n as usize).0;
        file.read_at(bytes, at).map_err(SpanFailure::Read)?;
        hash.update(bytes);
        sink(bytes).map_err(SpanFailure::Sink)?;
        at += n;
    }
    Ok(hash)
}
