//! Verifying an index: every byte before the footer, which was compared when it was opened.

use super::file::IndexFile;
use super::footer::{HEAD, MAGIC, aligned, remedy};
use crate::error::{Damage, StorageError};
use crate::segment::BlockBuffer;
use crate::vfs::VfsRead;
use std::io::ErrorKind;
use std::ops::Range;

impl IndexFile {
    /// Reads every byte; whether each is as it was written. An index that was removed or replaced since it was opened has nothing wrong.
    pub fn is_sound(&self) -> bool {
        let mut sound = true;
        self.verify(&mut BlockBuffer::new(), |_| sound = false);
        sound
    }

    /// Reads every byte before the footer and passes every problem to `report`. An index that was removed or replaced since it was
    /// opened has none.
    pub(crate) fn verify(&self, scratch: &mut BlockBuffer, mut report: impl FnMut(StorageError)) {
        let file = match self.open_file() {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return,
            Err(e) => return report(self.io(e)),
        };
        if self.is_replaced(&*file) {
            return;
        }
        let mut head = [0; HEAD as usize];
        if let Some(start) = head.first_chunk_mut() {
            *start = *MAGIC;
        }
        if let Err(e) = self.expect(&*file, 0, &head) {
            report(e);
        }
        for (s, info) in self.infos().iter().enumerate() {
            for c in 0..info.digests.len() {
                if let Err(e) = self.reread(&*file, s, info.span(&(c..c + 1)), c, scratch) {
                    report(e);
                }
            }
            let end = info.offset + info.len;
            let zeros = [0; HEAD as usize];
            let gap = zeros.get(..(aligned(end) - end) as usize).unwrap_or_default();
            if let Err(e) = self.expect(&*file, end, gap) {
                report(e);
            }
        }
    }

    fn reread(
        &self,
        file: &dyn VfsRead,
        section: usize,
        span: Range<u64>,
        chunk: usize,
        scratch: &mut BlockBuffer,
    ) -> Result<(), StorageError> {
        let buffer = scratch.resize(usize::try_from(span.end - span.start).unwrap_or(0));
        file.read_at(buffer, span.start).map_err(|e| self.io(e))?;
        self.compare(section, chunk..chunk + 1, buffer)
    }

    /// Compares bytes between sections with what they must be.
    fn expect(&self, file: &dyn VfsRead, at: u64, expected: &[u8]) -> Result<(), StorageError> {
        let mut found = vec![0; expected.len()];
        file.read_at(&mut found, at).map_err(|e| self.io(e))?;
        match found.iter().zip(expected).position(|(a, b)| a != b) {
            None => Ok(()),
            Some(i) => {
                let byte = |b: &[u8]| format!("{:02x}", b.get(i).copied().unwrap_or_default());
                let what = "a byte between sections";
                let damage = Damage::new(self.file(), what, byte(expected), byte(&found));
                Err(damage.at(at + i as u64).affecting(remedy()).into())
            }
        }
    }
}
