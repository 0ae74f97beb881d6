//! Memory maps of published files. The only unsafe code of this crate.
//!
//! Invariants
//! - a map is made only of a published file whose length equals what the catalog says
//! - published files are never written to or truncated, only unlinked

#![allow(unsafe_code)]

use crate::vfs::AlignedBuffer;
use memmap2::Mmap;
use std::io;
use std::ops::Range;

/// The bytes of a whole file, mapped or, in tests without a real file, in memory. Starts
/// on a 64-byte boundary.
#[derive(Debug)]
pub struct FileMap {
    source: Source,
    /// Whether it is taken for one whose pages are not in memory, whatever the system says.
    out: bool,
}

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
        Ok(FileMap { source: Source::Map(map), out: false })
    }

    /// The same view of bytes in memory.
    pub fn from_bytes(bytes: &[u8]) -> FileMap {
        let mut buffer = AlignedBuffer::new();
        buffer.resize(bytes.len()).copy_from_slice(bytes);
        FileMap { source: Source::Memory(buffer), out: false }
    }

    /// The same that counts as not in memory: for tests of what is read from disk.
    #[doc(hidden)]
    pub fn out_of_memory(self) -> FileMap {
        FileMap { out: true, ..self }
    }

    /// The file's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.source {
            Source::Map(m) => m,
            Source::Memory(b) => b.as_bytes(),
        }
    }

    /// Whether a range seems to be in memory, by a few of its pages. Where the system does not say, it does.
    pub(crate) fn is_in_memory(&self, range: &Range<usize>) -> bool {
        // A page has 4 KiB or more.
        let pages = (range.len() / 4096 + 1).min(4);
        let Some(last) = range.end.checked_sub(1).filter(|last| *last < self.as_bytes().len()) else {
            return true;
        };
        let step = last.saturating_sub(range.start) / (pages - 1).max(1);
        !self.out && (0..pages).all(|i| self.is_page_in_memory(range.start + step * i))
    }

    #[cfg(target_os = "linux")]
    fn is_page_in_memory(&self, at: usize) -> bool {
        let Source::Map(map) = &self.source else { return true };
        if at >= map.len() {
            return true;
        }
        let start = at / page_size() * page_size();
        let mut state = 0u8;
        // SAFETY: a map starts on a page, and this page begins inside it; for one page one byte is written.
        // If another thread unmapped it meanwhile, which the borrow excludes, the call would fail.
        let said = unsafe { libc::mincore(map.as_ptr().add(start).cast_mut().cast(), 1, &mut state) };
        said != 0 || state & 1 == 1
    }

    #[cfg(not(target_os = "linux"))]
    fn is_page_in_memory(&self, _: usize) -> bool {
        true
    }

    /// Asks the system to read a range into its memory, without waiting for it. A hint.
    pub(crate) fn will_need(&self, range: &Range<usize>) {
        if let Source::Map(map) = &self.source {
            // Nothing depends on it.
            let _ = map.advise_range(memmap2::Advice::WillNeed, range.start, range.len());
        }
    }

    /// Reads a range into the system's memory, as far as it can be.
    pub(crate) fn populate(&self, range: &Range<usize>) -> io::Result<()> {
        match &self.source {
            #[cfg(target_os = "linux")]
            Source::Map(map) => map.advise_range(memmap2::Advice::PopulateRead, range.start, range.len()),
            _ => Ok(()),
        }
    }
}

#[cfg(target_os = "linux")]
fn page_size() -> usize {
    use std::sync::OnceLock;
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(|| {
        // SAFETY: asks for a number of the system.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size).ok().filter(|size| *size > 0).unwrap_or(4096)
    })
}

impl AsRef<[u8]> for FileMap {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}
