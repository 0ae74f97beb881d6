//! Opening an index by the name of its segment.

use super::file::IndexFile;
use super::footer::{Tail, remedy};
use super::places::index_file;
use super::state::{IndexState, StaleIndex};
use crate::error::{Damage, ReadError, StorageError};
use crate::layout::{Env, NamedFile};
use crate::segment::{FeatureReader, SegmentRef};
use crate::vfs::if_there;
use gstore_core::Digest;
use std::io::ErrorKind;
use uuid::Uuid;

/// An index that is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexKey<'a> {
    pub segment: Uuid,
    /// Digest of the segment's footer, as the catalog has it.
    pub digest: Digest,
    pub kind: &'a str,
}

impl FeatureReader {
    /// The index of a segment, if there is one that can be used. Reads its footer.
    ///
    /// # Errors
    /// A segment of another reader; damage; an index that a newer gstore wrote.
    pub fn index(&self, segment: &SegmentRef, kind: &str) -> Result<Option<IndexFile>, ReadError> {
        Ok(self.index_state(segment, kind)?.ready())
    }

    /// The same, telling an index that is not there from one that is stale.
    ///
    /// # Errors
    /// Those of [`FeatureReader::index`].
    pub fn index_state(&self, segment: &SegmentRef, kind: &str) -> Result<IndexState, ReadError> {
        self.own(segment)?;
        let wanted = IndexKey { segment: segment.uuid(), digest: segment.digest(), kind };
        Ok(open(&self.env, wanted)?)
    }
}

/// Opens the index of a segment, if there is one. Reads its footer; sections are compared with their
/// digests when they are read.
pub(crate) fn open(env: &Env, wanted: IndexKey<'_>) -> Result<IndexState, StorageError> {
    let name = index_file(wanted.segment, wanted.kind);
    // Asked first: that there is none is no sign of a snapshot that was collected.
    let file = if env.exists(&name)? { open_whole(env.file(&name))? } else { None };
    let Some(file) = file else { return Ok(IndexState::Missing) };
    if file.segment() != wanted.segment || file.kind() != wanted.kind {
        let expected = format!("the {} of segment {}", wanted.kind, wanted.segment);
        let found = format!("the {} of segment {}", file.kind(), file.segment());
        return Err(Damage::new(name, "what it is", expected, found).affecting(remedy()).into());
    }
    if file.footer.segment_digest != wanted.digest {
        let (expected, found) = (wanted.digest.to_string(), file.footer.segment_digest.to_string());
        return Ok(IndexState::Stale(StaleIndex { file: name, expected, found }));
    }
    Ok(IndexState::Ready(Box::new(file)))
}

/// Reads the footer and maps the file, both of one and the same file; `None` if it is gone.
pub(crate) fn open_whole(own: NamedFile) -> Result<Option<IndexFile>, StorageError> {
    let NamedFile { vfs, path, name } = &own;
    // Each further attempt means that another process replaced the file in between.
    const ATTEMPTS: usize = 5;
    let io = |e| StorageError::io(format!("open {name}"), e);
    for _ in 0..ATTEMPTS {
        let Some(file) = if_there(vfs.open(path)).map_err(io)? else { return Ok(None) };
        let len = file.len().map_err(io)?;
        let tail = Tail::read(&*file, name, len)?;
        let footer = tail.footer(name)?;
        match vfs.map(path, len) {
            Ok(map) => {
                let opened = IndexFile::new(own.clone(), footer, &tail, map);
                if opened.mapped_tail() == tail.bytes {
                    return Ok(Some(opened));
                }
            }
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => {}
            Err(e) => return Err(io(e)),
        }
    }
    let detail = "another file was put in its place each time it was opened; try again";
    Err(io(std::io::Error::other(detail)))
}
