//! Writer that accepts everything in silence after its first error.

use std::io::{Seek, SeekFrom, Write};

/// A file that takes what it is given in silence after an error. A `ZipWriter` ends its archive when it is
/// dropped, and prints the second error of a full disk in its own words.
///
/// After the error it stands at its end, as if all that it was given were there: the archive's last entry is
/// ended a second time, and its length is how far the file stands behind the entry's beginning.
pub(super) struct UntilError<W> {
    inner: W,
    failed: bool,
    /// Where the next byte goes, or would go.
    at: u64,
    /// The end of all that was taken.
    end: u64,
}

impl<W> UntilError<W> {
    /// A file at its beginning.
    pub fn new(inner: W) -> Self {
        Self { inner, failed: false, at: 0, end: 0 }
    }

    pub fn into_inner(self) -> W {
        self.inner
    }

    /// What the file did; notes that it failed.
    fn noted<T>(&mut self, done: std::io::Result<T>) -> std::io::Result<T> {
        if done.is_err() {
            self.failed = true;
            self.at = self.end;
        }
        done
    }
}

impl<W: Write> Write for UntilError<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = match self.failed {
            true => bytes.len(),
            false => {
                let written = self.inner.write(bytes);
                self.noted(written)?
            }
        };
        self.at += written as u64;
        self.end = self.end.max(self.at);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.failed {
            return Ok(());
        }
        let flushed = self.inner.flush();
        self.noted(flushed)
    }
}

impl<W: Seek> Seek for UntilError<W> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.at = match (self.failed, to) {
            (false, to) => {
                let at = self.inner.seek(to);
                self.noted(at)?
            }
            (true, SeekFrom::Start(at)) => at,
            (true, SeekFrom::Current(by)) => self.at.saturating_add_signed(by),
            (true, SeekFrom::End(by)) => self.end.saturating_add_signed(by),
        };
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, ErrorKind, Result};

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;

    /// A file that does so much, and then nothing any more.
    struct Failing {
        inner: Cursor<Vec<u8>>,
        left: usize,
    }

    impl Failing {
        fn go_on(&mut self) -> Result<&mut Cursor<Vec<u8>>> {
            self.left = self.left.checked_sub(1).ok_or(ErrorKind::StorageFull)?;
            Ok(&mut self.inner)
        }
    }

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            self.go_on()?.write(bytes)
        }

        fn flush(&mut self) -> Result<()> {
            self.go_on()?.flush()
        }
    }

    impl Seek for Failing {
        fn seek(&mut self, to: SeekFrom) -> Result<u64> {
            self.go_on()?.seek(to)
        }
    }

    #[test]
    fn an_archive_is_ended_without_another_error_after_any() {
        for left in 0.. {
            let mut zip = ZipWriter::new(UntilError::new(Failing { inner: Cursor::default(), left }));
            let mut entry = |name: &str| {
                let options = SimpleFileOptions::default()
                    .compression_method(CompressionMethod::Stored)
                    .with_alignment(64);
                zip.start_file(name, options)?;
                zip.write_all(&[7; 100])
            };
            if entry("a").and_then(|()| entry("b")).is_ok() {
                assert!(left > 10, "nothing failed");
                return;
            }
            // Dropping it ends it as well, and could only print an error.
            let ended = zip.finish();
            assert!(ended.is_ok(), "after {left}: {:?}", ended.err());
        }
    }
}
