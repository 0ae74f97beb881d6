//! Memory maps of published files. The only unsafe code of this crate.
//!
//! Invariants
//! - a map is made only of a published file whose length equals what the catalog says
//! - published files are never written to or truncated, only unlinked

#![allow(unsafe_code)]

use crate::vfs::AlignedBuffer;
use memmap2::Mmap;
use std::io;

/// The bytes of a whole file, mapped or, in tests without a real file, in memory. Starts
/// on a 64-byte boundary.
#[derive(Debug)]
pub struct FileMap(Source);

#[derive(Debug)]
enum Source {
    Map(Mmap),
    Memory(AlignedBuffer),
}

impl FileMap {
    /// Maps a file that must have exactly `len` bytes.
    pub fn open(file: &std::fs::File, len: u64) -> io::Result<FileMap> {
        let actual = file.metadata()?.len();
        if actual != len || len == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the file has {actual} bytes, expected {len}"),
            ));
        }
        // SAFETY: the length was compared with the catalog's just now, and published files are never written
        // to or truncated (docs/design.md, "Publishing"), so the bytes behind the map stay as they are. A
        // file truncated from outside raises SIGBUS, which no Rust code can turn into an error.
        let map = unsafe { Mmap::map(file)? };
        Ok(FileMap(Source::Map(map)))
    }

    /// The same view of bytes in memory.
    pub fn from_bytes(bytes: &[u8]) -> FileMap {
        let mut buffer = AlignedBuffer::new();
        buffer.resize(bytes.len()).copy_from_slice(bytes);
        FileMap(Source::Memory(buffer))
    }

    /// The file's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Source::Map(m) => m,
            Source::Memory(b) => b.as_bytes(),
        }
    }
}

impl AsRef<[u8]> for FileMap {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}
