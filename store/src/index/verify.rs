//! Verifying an index: every byte before the footer, which was compared when it was opened.

use super::file::{IndexFile, OpenSection};
use super::footer::{HEAD, MAGIC, aligned, remedy};
use crate::ahead::BlockBuffer;
use crate::error::{Damage, StorageError};
use crate::vfs::VfsRead;
use gstore_core::Remedy;

impl IndexFile {
    /// Reads every byte; whether each is as it was written. An index that was removed or replaced since it
    /// was opened has nothing wrong.
    pub fn is_sound(&self) -> bool {
        let mut sound = true;
        self.verify(&mut BlockBuffer::new(), |_| sound = false);
        sound
    }

    /// Reads every byte before the footer and passes every problem to `report`. An index that was removed or
    /// replaced since it was opened has none.
    pub(crate) fn verify(&self, scratch: &mut BlockBuffer, mut report: impl FnMut(StorageError)) {
        let file = match self.open_again() {
            Ok(Some(file)) => file,
            Ok(None) => return,
            Err(e) => return report(e),
        };
        let mut head = [0; HEAD as usize];
        head.iter_mut().zip(MAGIC).for_each(|(to, from)| *to = *from);
        if let Err(e) = self.expect(&*file, 0, &head) {
            report(e);
        }
        for section in &self.sections {
            for c in 0..section.info.digests.len() {
                if let Err(e) = self.reread(&*file, section, c, scratch) {
                    report(e);
                }
            }
            let end = section.info.offset + section.info.len;
            if let Err(e) = self.expect(&*file, end, &vec![0; (aligned(end) - end) as usize]) {
                report(e);
            }
        }
    }

    fn reread(
        &self,
        file: &dyn VfsRead,
        section: &OpenSection,
        chunk: usize,
        scratch: &mut BlockBuffer,
    ) -> Result<(), StorageError> {
        let span = section.info.span(&(chunk..chunk + 1));
        let buffer = scratch.resize(usize::try_from(span.end - span.start).unwrap_or(0));
        self.fill(Some(file), &span, buffer)?;
        self.compare(section, chunk..chunk + 1, buffer)
    }

    /// Compares bytes between sections with what they must be.
    fn expect(&self, file: &dyn VfsRead, at: u64, expected: &[u8]) -> Result<(), StorageError> {
        let mut found = vec![0; expected.len()];
        file.read_at(&mut found, at).map_err(|e| self.io(e))?;
        match found.iter().zip(expected).enumerate().find(|(_, (a, b))| a != b) {
            None => Ok(()),
            Some((i, (found, expected))) => {
                let byte = |b: &u8| format!("{b:02x}");
                let what = "a byte between sections";
                let damage = Damage::new(self.file(), what, byte(expected), byte(found));
                Err(damage.at(at + i as u64).affecting(remedy(Remedy::INDEX)).into())
            }
        }
    }
}
