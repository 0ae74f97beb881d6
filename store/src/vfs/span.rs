//! Reading a span of a file piece by piece.

use super::VfsRead;
use std::io;
use std::ops::Range;
use xxhash_rust::xxh3::Xxh3;

/// Bytes that are read and hashed at a time.
const AT_A_TIME: u64 = 1 << 20;

/// Why the bytes of a span were not all read and passed on.
pub(crate) enum SpanFailure<E> {
    Read(io::Error),
    /// What took them failed.
    Sink(E),
}

impl From<SpanFailure<io::Error>> for io::Error {
    fn from(failure: SpanFailure<io::Error>) -> io::Error {
        let (SpanFailure::Read(e) | SpanFailure::Sink(e)) = failure;
        e
    }
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
