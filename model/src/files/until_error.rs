//! Writer that accepts everything in silence after its first error.

use std::io::{Seek, SeekFrom, Write};

/// A file that takes what it is given in silence after an error. A `ZipWriter` ends its archive when it is
/// dropped, and prints the second error of a full disk in its own words.
pub(super) struct UntilError<W> {
    inner: W,
    failed: bool,
    /// Where the next byte goes, or would go.
    at: u64,
}

impl<W> UntilError<W> {
    /// A file at its beginning.
    pub fn new(inner: W) -> Self {
        Self { inner, failed: false, at: 0 }
    }

    /// The file.
    pub fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: Write> Write for UntilError<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = match self.failed {
            true => bytes.len(),
            false => self.inner.write(bytes).inspect_err(|_| self.failed = true)?,
        };
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.failed {
            return Ok(());
        }
        self.inner.flush().inspect_err(|_| self.failed = true)
    }
}

impl<W: Seek> Seek for UntilError<W> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.at = match (self.failed, to) {
            (false, to) => self.inner.seek(to).inspect_err(|_| self.failed = true)?,
            (true, SeekFrom::Start(at)) => at,
            (true, SeekFrom::Current(by) | SeekFrom::End(by)) => self.at.saturating_add_signed(by),
        };
        Ok(self.at)
    }
}
