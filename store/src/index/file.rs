//! An index, open for reading.
//!
//! Invariants
//! - the map is of the file whose footer was read, and stays when another file gets its name
//!   or when it is removed
//! - a chunk counts as verified once its digest agreed in an ordinary read of that very file, or, if the name
//!   leads elsewhere by now, in the map
//! - no descriptor is held

use super::footer::{Footer, SectionInfo, TRAILER, Tail, remedy};
use crate::ahead::{FileIdentity, ScannedFile};
use crate::error::{Damage, StorageError};
use crate::layout::NamedFile;
use crate::map::FileMap;
use crate::vfs::{VfsRead, if_there};
use gstore_core::{Digest, Remedy};
use serde_json::Value;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use uuid::Uuid;

/// An index of a segment. Can be shared between threads. Opening it reads its footer; sections are verified
/// when they are first touched.
///
/// Memory: the header, and 17 bytes for each chunk; sections are read from the file or seen in a map.
#[derive(Debug)]
pub struct IndexFile {
    own: NamedFile,
    pub(super) footer: Footer,
    tail_start: u64,
    pub(super) map: Arc<FileMap>,
    pub(super) sections: Vec<OpenSection>,
}

/// A section, and which of its chunks agreed with their digests.
#[derive(Debug)]
pub(super) struct OpenSection {
    pub info: SectionInfo,
    verified: Vec<AtomicBool>,
}

impl OpenSection {
    fn new(info: SectionInfo) -> Self {
        let verified = info.digests.iter().map(|_| AtomicBool::new(false)).collect();
        OpenSection { info, verified }
    }

    pub(super) fn is_verified(&self, chunks: Range<usize>) -> bool {
        // What the flag is about never changes, so nothing has to be seen in order.
        self.verified.get(chunks).is_some_and(|flags| flags.iter().all(|f| f.load(Ordering::Relaxed)))
    }
}

impl IndexFile {
    pub(super) fn new(
        own: NamedFile,
        (footer, sections): (Footer, Vec<SectionInfo>),
        tail: &Tail,
        map: FileMap,
    ) -> Self {
        let sections = sections.into_iter().map(OpenSection::new).collect();
        IndexFile { own, footer, tail_start: tail.start, map: Arc::new(map), sections }
    }

    /// The file, relative to the store.
    pub fn file(&self) -> &str {
        &self.own.name
    }

    /// Its kind.
    pub fn kind(&self) -> &str {
        &self.footer.kind
    }

    /// Its segment.
    pub fn segment(&self) -> Uuid {
        self.footer.segment
    }

    /// Metadata of the builder.
    pub fn header(&self) -> &Value {
        &self.footer.header
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.map.as_bytes().len() as u64
    }

    /// XXH3-128 of footer and trailer: no two builds have the same.
    pub fn digest(&self) -> Digest {
        Digest::of(self.mapped_tail())
    }

    /// Names of the sections, in their order.
    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().map(|s| &*s.info.name)
    }

    /// Footer and trailer as the map has them.
    pub(super) fn mapped_tail(&self) -> &[u8] {
        self.mapped(self.tail_start..self.bytes())
    }

    /// Bytes of the map; none beyond its end.
    pub(super) fn mapped(&self, span: Range<u64>) -> &[u8] {
        let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        self.map.as_bytes().get(at(span.start)..at(span.end)).unwrap_or_default()
    }

    /// The file, if its name still leads to it.
    pub(super) fn open_again(&self) -> Result<Option<Box<dyn VfsRead>>, StorageError> {
        let file = if_there(self.own.vfs.open(&self.own.path)).map_err(|e| self.io(e))?;
        Ok(file.filter(|file| !self.is_replaced(&**file)))
    }

    /// Fills a buffer with a span of the file, from the map where the name leads elsewhere by now.
    pub(super) fn fill(
        &self,
        file: Option<&dyn VfsRead>,
        span: &Range<u64>,
        buffer: &mut [u8],
    ) -> Result<(), StorageError> {
        match file {
            Some(file) => file.read_at(buffer, span.start).map_err(|e| self.io(e)),
            None => {
                copy(self.mapped(span.clone()), buffer);
                Ok(())
            }
        }
    }

    /// Whether this is another whole index than the one that is mapped.
    pub(super) fn is_replaced(&self, file: &dyn VfsRead) -> bool {
        let mut trailer = [0; TRAILER as usize];
        let own = self.bytes().saturating_sub(TRAILER);
        if file.read_at(&mut trailer, own).is_ok() && trailer == self.mapped(own..self.bytes()) {
            return false;
        }
        // One that does not end like an index is ours, damaged.
        let other = file.len().ok().and_then(|len| Tail::read(file, &self.own.name, len).ok());
        other.is_some_and(|tail| tail.bytes != self.mapped_tail())
    }

    /// Compares the digests of chunks with their bytes.
    pub(super) fn compare(
        &self,
        section: &OpenSection,
        chunks: Range<usize>,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        let info = &section.info;
        let mut parts = bytes.chunks(usize::try_from(info.chunk).unwrap_or(usize::MAX));
        let own =
            info.digests.iter().zip(&section.verified).enumerate().skip(chunks.start).take(chunks.len());
        for (c, (expected, flag)) in own {
            // Bytes that are not there agree with no digest.
            let found = parts.next().map(Digest::of);
            if found != Some(*expected) {
                let what = format!("digest of chunk {c} of section {}", info.name);
                let found = found.map_or_else(|| "nothing".to_owned(), |found| found.to_string());
                let damage = Damage::new(&self.own.name, what, expected, found);
                return Err(damage.at(info.span(&(c..c + 1)).start).affecting(remedy(Remedy::INDEX)).into());
            }
            flag.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What reads of it ahead need to know.
    pub(super) fn source(&self) -> ScannedFile<'_> {
        ScannedFile { own: &self.own, map: &self.map, is_kept: true, file: self }
    }

    pub(super) fn io(&self, e: std::io::Error) -> StorageError {
        match e.kind() {
            ErrorKind::UnexpectedEof => {
                let expected = format!("{} bytes", self.bytes());
                Damage::new(&self.own.name, "the file", expected, e).affecting(remedy(Remedy::INDEX)).into()
            }
            _ => StorageError::io(format!("read {}", self.own.name), e),
        }
    }
}

impl FileIdentity for IndexFile {
    fn is_other(&self, file: &dyn VfsRead) -> bool {
        self.is_replaced(file)
    }
}

/// Copies bytes, as many as there are.
pub(super) fn copy(from: &[u8], to: &mut [u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}
