//! A file being written, with counts and digests of the bytes since the last mark.

use crate::vfs::VfsFile;
use gstore_core::Digest;
use std::io::{self, Write};
use xxhash_rust::xxh3::Xxh3;

pub(crate) struct Sink {
    file: Box<dyn VfsFile>,
    /// Bytes written so far.
    pub(crate) pos: u64,
    hash: Xxh3,
}

impl Sink {
    pub(crate) fn new(file: Box<dyn VfsFile>) -> Self {
        Sink { file, pos: 0, hash: Xxh3::new() }
    }

    /// XXH3-128 of the bytes since the last call; starts over.
    pub(crate) fn take_digest(&mut self) -> Digest {
        let digest = Digest::of_hashed(&self.hash);
        self.hash.reset();
        digest
    }

    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.sync()
    }
}

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.file.write(buf)?;
        self.hash.update(buf.get(..n).unwrap_or(buf));
        self.pos += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
