//! Memory maps of published files. The only unsafe code of this crate.
//!
//! Invariants
//! - a map is made only of a published file whose length equals what the catalog says
//! - published files are never written to or truncated, only unlinked
//! - a map keeps no descriptor, except of a file that belongs to others and that this process may not write:
//!   of the pages of such a file the system says that all are in memory, unless they are read

#![allow(unsafe_code)]

use crate::buffer::AlignedBuffer;
use memmap2::Mmap;
use std::io;
use std::ops::Range;

/// The bytes of a whole file, mapped or, in tests without a real file, in memory. Starts
/// on a 64-byte boundary.
#[derive(Debug)]
pub struct FileMap {
    source: MappedBytes,
    /// Whether it is taken for one whose pages are not in memory, whatever the system says.
    out: bool,
    /// Its descriptor, where only reads say what is in memory.
    #[cfg(target_os = "linux")]
    reads: Option<others::Reads>,
}

#[derive(Debug)]
enum MappedBytes {
    Map(Mmap),
    Memory(AlignedBuffer),
}

/// Bytes of the longest range whose pages the system is asked for in one call.
const SHORT: usize = 64 << 10;

/// As many pages, wherever they begin.
#[cfg(target_os = "linux")]
const PAGES: usize = SHORT / 4096 + 1;

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
        Ok(FileMap {
            source: MappedBytes::Map(map),
            out: false,
            #[cfg(target_os = "linux")]
            reads: others::is_of_others(file).then(|| others::Reads::new(file)).flatten(),
        })
    }

    /// The same view of bytes in memory.
    pub fn from_bytes(bytes: &[u8]) -> FileMap {
        let mut buffer = AlignedBuffer::new();
        buffer.resize(bytes.len()).copy_from_slice(bytes);
        FileMap {
            source: MappedBytes::Memory(buffer),
            out: false,
            #[cfg(target_os = "linux")]
            reads: None,
        }
    }

    /// The same that counts as not in memory: for tests of what is read from disk.
    #[doc(hidden)]
    pub fn out_of_memory(self) -> FileMap {
        FileMap { out: true, ..self }
    }

    /// The file's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.source {
            MappedBytes::Map(m) => m,
            MappedBytes::Memory(b) => b.as_bytes(),
        }
    }

    /// Whether a range seems to be in memory: a short one by all of its pages, a long one by a few. Where the
    /// system does not say, it does.
    pub(crate) fn is_in_memory(&self, range: &Range<usize>) -> bool {
        // A page has 4 KiB or more.
        let pages = (range.len() / 4096 + 1).min(4);
        let Some(last) = range.end.checked_sub(1).filter(|last| *last < self.as_bytes().len()) else {
            return true;
        };
        let step = last.saturating_sub(range.start) / (pages - 1).max(1);
        let is_there = match range.len() <= SHORT {
            true => self.are_pages_in_memory(range.start..last + 1),
            false => (0..pages).all(|i| {
                let at = range.start + step * i;
                self.are_pages_in_memory(at..at + 1)
            }),
        };
        !self.out && is_there && self.do_reads_find(range, pages)
    }

    /// Whether what reads say agrees, where the map alone tells nothing.
    #[cfg(target_os = "linux")]
    fn do_reads_find(&self, range: &Range<usize>, pages: usize) -> bool {
        self.reads.as_ref().is_none_or(|reads| (0..pages).all(|_| reads.find(range)))
    }

    #[cfg(not(target_os = "linux"))]
    fn do_reads_find(&self, _: &Range<usize>, _: usize) -> bool {
        true
    }

    /// Whether all pages of a range of at most [`SHORT`] bytes are in memory.
    #[cfg(target_os = "linux")]
    fn are_pages_in_memory(&self, range: Range<usize>) -> bool {
        let MappedBytes::Map(map) = &self.source else { return true };
        let start = range.start / page_size() * page_size();
        let end = range.end.min(map.len());
        let mut states = [1u8; PAGES];
        let pages = end.saturating_sub(start).div_ceil(page_size());
        if pages == 0 || pages > PAGES {
            return true;
        }
        // SAFETY: a map starts on a page, and the range ends inside it; one byte is written for each of its
        // pages. If another thread unmapped it meanwhile, which the borrow excludes, the call would fail.
        let said = unsafe {
            libc::mincore(map.as_ptr().add(start).cast_mut().cast(), end - start, states.as_mut_ptr())
        };
        said != 0 || states.iter().all(|state| state & 1 == 1)
    }

    #[cfg(not(target_os = "linux"))]
    fn are_pages_in_memory(&self, _: Range<usize>) -> bool {
        true
    }

    /// Asks the system to read a range into its memory, without waiting for it. A hint.
    pub(crate) fn will_need(&self, range: &Range<usize>) {
        if let MappedBytes::Map(map) = &self.source {
            // Nothing depends on it.
            let _ = map.advise_range(memmap2::Advice::WillNeed, range.start, range.len());
        }
    }

    /// Reads a range into the system's memory, as far as it can be.
    pub(crate) fn populate(&self, range: &Range<usize>) -> io::Result<()> {
        match &self.source {
            #[cfg(target_os = "linux")]
            MappedBytes::Map(map) => {
                map.advise_range(memmap2::Advice::PopulateRead, range.start, range.len())
            }
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

/// Files of others. Since Linux 5.2 `mincore` says of a file that the process neither owns nor may write that
/// all of it is in memory, lest it show what others read.
#[cfg(target_os = "linux")]
mod others {
    use rustix::fs::{Access, Advice, AtFlags, CWD, accessat, fadvise};
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    use rustix::process::{Resource, geteuid, getrlimit};
    use std::fs::File;
    use std::io::IoSliceMut;
    use std::ops::Range;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Of the descriptors that the process may have, the part that maps keep: a quarter.
    const SHARE: u64 = 4;

    /// How many are kept.
    static KEPT: AtomicU64 = AtomicU64::new(0);

    /// How many pages were asked for.
    static ASKED: AtomicU64 = AtomicU64::new(0);

    /// Whether `mincore` tells nothing of a file. A process that may do as an owner does is among those that
    /// are told; taken for another it asks once more.
    pub(super) fn is_of_others(file: &File) -> bool {
        let is_own = file.metadata().is_ok_and(|found| found.uid() == geteuid().as_raw());
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        !is_own && accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_err()
    }

    /// A descriptor for reads that do not wait.
    #[derive(Debug)]
    pub(super) struct Reads(File);

    impl Reads {
        /// `None` where maps have their share of the descriptors: nothing is then known of the file.
        pub(super) fn new(file: &File) -> Option<Self> {
            let most = getrlimit(Resource::Nofile).current.map_or(u64::MAX, |most| most / SHARE);
            let next = |kept: u64| (kept < most).then_some(kept + 1);
            KEPT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
            let Ok(own) = file.try_clone() else {
                KEPT.fetch_sub(1, Ordering::Relaxed);
                return None;
            };
            // Of a page that is missing the system begins to read that one, and would also those behind it.
            let _ = fadvise(&own, 0, None, Advice::Random);
            Some(Self(own))
        }

        /// Whether a page of a range is in memory, as far as that is known. Each time it is another one: the
        /// system begins to read a missing page that is asked for, which then tells nothing of the others.
        pub(super) fn find(&self, range: &Range<usize>) -> bool {
            let drawn = gstore_core::mix(ASKED.fetch_add(1, Ordering::Relaxed));
            let at = range.start as u64 + drawn % (range.len() as u64).max(1);
            let mut byte = [0];
            let read = preadv2(&self.0, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT);
            // Anything else is said of the file system or the kernel, not of the page.
            read != Err(Errno::AGAIN)
        }
    }

    impl Drop for Reads {
        fn drop(&mut self) {
            KEPT.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl AsRef<[u8]> for FileMap {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const LEN: usize = 1 << 20;

    /// A file that was written out and is not in memory; `None` where the system keeps it there.
    fn forgotten(folder: &std::path::Path) -> Option<fs_err::File> {
        let path = folder.join("file");
        fs_err::write(&path, vec![7; LEN]).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let file = fs_err::File::open(&path).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let map = FileMap::open(file.file(), LEN as u64).unwrap();
        (!map.is_in_memory(&(0..LEN))).then_some(file)
    }

    fn is_out_until_it_is_read(map: &FileMap) {
        // Asking begins to read a page and must not make the rest of them seem read.
        for _ in 0..10 {
            assert!(!map.is_in_memory(&(0..LEN)));
        }
        map.populate(&(0..LEN)).unwrap();
        assert!(map.is_in_memory(&(0..LEN)));
    }

    #[test]
    fn a_short_range_is_asked_for_page_by_page() {
        let folder = tempfile::tempdir().unwrap();
        let Some(file) = forgotten(folder.path()) else { return };
        let map = FileMap::open(file.file(), LEN as u64).unwrap();
        let place = 3 * SHORT + 5000;
        assert!(!map.is_in_memory(&(place..place + 1)));
        // Only the pages of its end are missing.
        map.populate(&(0..4 * SHORT)).unwrap();
        assert!(map.is_in_memory(&(place..place + SHORT / 2)));
        assert!(map.is_in_memory(&(0..4 * SHORT)));
        if !map.is_in_memory(&(4 * SHORT..4 * SHORT + 1)) {
            assert!(!map.is_in_memory(&(place..4 * SHORT + 1)));
        }
    }

    #[test]
    fn reads_that_do_not_wait_tell_what_is_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let Some(file) = forgotten(folder.path()) else { return };
        let mut map = FileMap::open(file.file(), LEN as u64).unwrap();
        assert!(map.reads.is_none(), "an own file");
        map.reads = others::Reads::new(file.file());
        assert!(!map.do_reads_find(&(0..LEN), 4));
        is_out_until_it_is_read(&map);
    }

    /// Needs the rights to be somebody else; without them there is nothing to test.
    #[test]
    fn a_file_of_somebody_else_is_not_taken_for_one_in_memory() {
        const OWNER: u32 = 1;
        const READER: u32 = 65_534;
        let folder = tempfile::tempdir().unwrap();
        let Some(file) = forgotten(folder.path()) else { return };
        if std::os::unix::fs::fchown(file.file(), Some(OWNER), None).is_err() {
            return;
        }
        let read = std::thread::spawn(move || {
            // SAFETY: changes whom this thread is for files, which ends with it.
            unsafe { libc::setfsuid(READER) };
            // SAFETY: no user has the number -1: the call changes nothing and returns the current one.
            if u32::try_from(unsafe { libc::setfsuid(u32::MAX) }) != Ok(READER) {
                return;
            }
            is_out_until_it_is_read(&FileMap::open(file.file(), LEN as u64).unwrap());
        });
        read.join().unwrap();
    }
}
