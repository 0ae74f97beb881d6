//! Direct reads (`O_DIRECT`), in whole sectors.
//!
//! They read at the rate of the disk. The page cache would first need a page for every 4 KiB, which on some
//! virtual machines takes longer than the disk; on others the system's own reads ahead are faster.

use super::VfsRead;
use std::io;
use std::path::Path;

/// Opens a file for such reads, where the system and its file system have them.
#[cfg(target_os = "linux")]
pub(super) fn open(path: &Path) -> io::Result<Option<Box<dyn VfsRead>>> {
    use fs_err::os::unix::fs::OpenOptionsExt;
    // The bits of a flag, as `open` takes them.
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    match fs_err::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some(Box::new(linux::OsDirect(file)))),
        // What a file system without them says.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(None),
        Err(e) => Err(e),
    }
}

/// The same elsewhere.
#[cfg(not(target_os = "linux"))]
pub(super) fn open(_: &Path) -> io::Result<Option<Box<dyn VfsRead>>> {
    Ok(None)
}

#[cfg(target_os = "linux")]
mod linux {
    use super::VfsRead;
    use crate::buffer::{AlignedBuffer, SECTOR};
    use std::io;
    use std::ops::Range;

    pub(super) struct OsDirect(pub(super) fs_err::File);

    impl VfsRead for OsDirect {
        fn len(&self) -> io::Result<u64> {
            Ok(self.0.metadata()?.len())
        }

        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            let mut buffer = AlignedBuffer::new();
            self.read_span(&mut buffer, offset..offset.saturating_add(buf.len() as u64))?;
            buf.copy_from_slice(buffer.as_bytes());
            Ok(())
        }

        fn read_span(&self, buffer: &mut AlignedBuffer, span: Range<u64>) -> io::Result<()> {
            use std::os::unix::fs::FileExt;
            let Some((sectors, from)) = buffer.around(&span) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            fill(sectors, span.end - from, |rest, done| self.0.file().read_at(rest, from + done))
        }
    }

    /// Reads into sectors until at least `needed` bytes are there. `read` gets the rest of them, and how many
    /// bytes are before it.
    pub(super) fn fill(
        sectors: &mut [u8],
        needed: u64,
        mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    ) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = sectors.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match read(rest, done as u64) {
                Ok(n) => {
                    done += n;
                    // A part of a sector is read at the end of the file only.
                    if n == 0 || n % SECTOR != 0 {
                        break;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        match done as u64 >= needed {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AlignedBuffer, OsVfs, Vfs};
    use std::io::ErrorKind;

    /// What a system may answer: less than was asked for, nothing, an interruption, an error.
    #[cfg(target_os = "linux")]
    #[test]
    fn reads_that_stop_early_go_on_or_fail() {
        use super::linux::fill;
        use std::io;
        let answers = |answers: Vec<io::Result<usize>>, needed: u64| {
            let (mut sectors, mut places) = (vec![0; 3 * 4096], Vec::new());
            let mut answers = answers.into_iter();
            let filled = fill(&mut sectors, needed, |rest, done| {
                places.push((rest.len(), done));
                answers.next().unwrap()
            });
            (filled.map_err(|e| e.kind()), places)
        };
        let interrupted = || Err(ErrorKind::Interrupted.into());
        assert_eq!(answers(vec![Ok(12_288)], 12_000), (Ok(()), vec![(12_288, 0)]));
        let (filled, places) = answers(vec![Ok(4096), interrupted(), Ok(8192)], 12_000);
        assert_eq!((filled, places), (Ok(()), vec![(12_288, 0), (8192, 4096), (8192, 4096)]));
        // The file ends inside a sector: behind what is needed, and before.
        assert_eq!(answers(vec![Ok(8192), Ok(100)], 8292).0, Ok(()));
        assert_eq!(answers(vec![Ok(8192), Ok(100)], 8293).0, Err(ErrorKind::UnexpectedEof));
        assert_eq!(answers(vec![Ok(4096), Ok(0)], 4097).0, Err(ErrorKind::UnexpectedEof));
        let fails = |kind: ErrorKind| answers(vec![Ok(4096), Err(kind.into())], 8000).0;
        assert_eq!(fails(ErrorKind::InvalidInput), Err(ErrorKind::InvalidInput));
        assert_eq!(answers(vec![Err(io::Error::from_raw_os_error(5))], 1).1, [(12_288, 0)]);
    }

    #[test]
    fn spans_of_a_file_that_ends_inside_a_sector_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..3 * 4096 + 777u32).map(|i| (i * i % 251) as u8).collect();
        fs_err::write(&path, &bytes).unwrap();
        // Where there are no such reads, as on some file systems in memory, ordinary ones have to agree.
        let file = match OsVfs.open_direct(&path).unwrap() {
            Some(file) => file,
            None => OsVfs.open(&path).unwrap(),
        };
        assert_eq!(file.len().unwrap(), bytes.len() as u64);
        let mut buffer = AlignedBuffer::new();
        for (start, end) in [(0, bytes.len()), (64, 4160), (4096, 8192), (8191, 8193), (12_288, 13_065)] {
            file.read_span(&mut buffer, start as u64..end as u64).unwrap();
            assert_eq!(buffer.as_bytes(), &bytes[start..end]);
            let mut part = vec![0; end - start];
            file.read_at(&mut part, start as u64).unwrap();
            assert_eq!(part, bytes[start..end]);
        }
        for span in [12_000..13_066, 20_000..20_001] {
            let error = file.read_span(&mut buffer, span).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        }
    }
}
