//! Opening an index by the name of its segment.

use super::file::IndexFile;
use super::footer::{Tail, remedy};
use super::places::index_file;
use super::state::{IndexState, StaleIndex};
use crate::error::{Damage, ReadError, StorageError};
use crate::layout::{Env, NamedFile};
use crate::manifest::{Extra, SegmentEntry};
use crate::segment::{FeatureReader, SegmentRef};
use crate::vfs::if_there;
use gstore_core::{Digest, Remedy};
use serde_json::Value;
use std::collections::BTreeSet;
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

    /// Header of the index that the files had of which a segment was written, null where it could not be
    /// read.
    pub fn index_before(&self, segment: &SegmentRef, kind: &str) -> Option<&Value> {
        let entry = self.part().segments.get(segment.place())?;
        entry.indexes_before().filter(|_| entry.uuid == segment.uuid())?.get(kind)
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
        return Err(Damage::new(name, "what it is", expected, found).affecting(remedy(Remedy::INDEX)).into());
    }
    if file.footer.segment_digest != wanted.digest {
        let (expected, found) = (wanted.digest.to_string(), file.footer.segment_digest.to_string());
        return Ok(IndexState::Stale(StaleIndex { file: name, expected, found }));
    }
    Ok(IndexState::Ready(Box::new(file)))
}

/// Headers of the indexes of some segments, by kind: of several that of the segment with the most rows, null
/// where none can be read. `kinds`: those that are looked for.
pub(crate) fn headers(env: &Env, segments: &[SegmentEntry], kinds: &BTreeSet<String>) -> Extra {
    let before = segments.iter().filter_map(SegmentEntry::indexes_before).flat_map(Extra::keys);
    let kinds: BTreeSet<&String> = kinds.iter().chain(before).collect();
    let of_kind = |kind: &String| {
        let found = segments.iter().filter_map(|segment| Some((header(env, segment, kind)?, segment.rows)));
        let (header, _) = found.max_by_key(|(header, rows)| (!header.is_null(), *rows))?;
        Some((kind.clone(), header))
    };
    kinds.into_iter().filter_map(of_kind).collect()
}

/// Header of a segment's index; where it was not made again yet, that of the files before.
fn header(env: &Env, segment: &SegmentEntry, kind: &str) -> Option<Value> {
    match open(env, IndexKey { segment: segment.uuid, digest: segment.footer_digest, kind }) {
        Ok(IndexState::Ready(file)) => Some(file.header().clone()),
        Ok(IndexState::Missing) => segment.indexes_before()?.get(kind).cloned(),
        Ok(IndexState::Stale(_)) | Err(_) => Some(Value::Null),
    }
}

/// Reads the footer and maps the file, both of one and the same file; `None` if it is gone.
pub(crate) fn open_whole(own: NamedFile) -> Result<Option<IndexFile>, StorageError> {
    let NamedFile { vfs, path, name } = &own;
    // Each further attempt means that another process replaced the file in between.
    const ATTEMPTS: usize = 5;
    let io = |e| StorageError::io(format!("open {name}"), e);
    for _ in 0..ATTEMPTS {
        let lost = |e| StorageError::of_lost(name, "an index", Some(remedy(Remedy::INDEX)), e);
        let Some(file) = if_there(vfs.open(path)).map_err(lost)? else { return Ok(None) };
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
