//! A job at work: writers for its files, and sealing them.

use super::folder::{Content, JobFolder, encoding_name, note_name, segment_name, unfinished};
use super::plan::{JobFeature, JobPlan, SealedEncoding};
use crate::encodings::EncodingWriter;
use crate::error::{StorageError, WriteError};
use crate::manifest::{EncodingEntry, VERSION};
use crate::segment::{SealedSegment, SegmentWriter};
use crate::store::{Snapshot, Store};
use gstore_core::{EncodingSpec, RowSet};
use std::sync::Arc;
use uuid::Uuid;

/// A job. Dropped without [`Job::publish`] or [`Job::abandon`], its sealed files wait for the next start.
#[derive(Debug)]
pub struct Job {
    pub(crate) store: Store,
    pub(crate) folder: JobFolder,
    pub(super) id: String,
    pub(crate) plan: JobPlan,
    pub(super) resumed: bool,
    /// The snapshot that was current when the job started.
    pub(crate) base: Arc<Snapshot>,
    /// Sealed segments of each feature.
    pub(crate) sealed: Vec<Vec<SealedSegment>>,
    /// Rows of each feature that are published.
    pub(super) published: Vec<RowSet>,
    pub(crate) encodings: Vec<SealedEncoding>,
    pub(super) discarded: Vec<String>,
}

impl Job {
    /// Its id; the same for the same identity.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it goes on from the files of an earlier process.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// The snapshot that was current when it started.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.base
    }

    /// The features it writes.
    pub fn features(&self) -> &[JobFeature] {
        &self.plan.features
    }

    /// Files of an earlier process that were damaged or no longer needed, and were removed.
    pub fn discarded(&self) -> &[String] {
        &self.discarded
    }

    /// Sealed segments of a feature. Those of an earlier process were verified, footer and every block.
    pub fn sealed(&self, feature: usize) -> &[SealedSegment] {
        self.sealed.get(feature).map_or(&[], Vec::as_slice)
    }

    /// Rows of a feature that need not be computed: published ones and sealed ones.
    pub fn rows_done(&self, feature: usize) -> RowSet {
        let published = self.published.get(feature).cloned().unwrap_or_default();
        self.sealed(feature).iter().fold(published, |done, s| done.union(&s.rows))
    }

    /// Starts a segment of a feature.
    pub fn segment_writer(&mut self, feature: usize) -> Result<SegmentWriter, WriteError> {
        let Some(f) = self.plan.features.get(feature) else { return Err(WriteError::WrongFeature(feature)) };
        let uuid = Uuid::new_v4();
        let path = self.folder.path_of(&unfinished(&segment_name(feature, uuid)));
        SegmentWriter::create(self.store.env().vfs(), &path, uuid, &f.desc, &f.attrs)
    }

    /// Finishes a segment and makes it part of the job's progress.
    pub fn seal(&mut self, feature: usize, writer: SegmentWriter) -> Result<(), WriteError> {
        let belongs = self.plan.features.get(feature).is_some_and(|f| f.desc == *writer.desc())
            && writer.path().parent() == self.folder.path_of("x").parent();
        let Some(sealed) = self.sealed.get(feature).filter(|_| belongs) else {
            return Err(WriteError::WrongFeature(feature));
        };
        let before = self.published.get(feature).into_iter().chain(sealed.iter().map(|s| &s.rows));
        let rows = before.fold(RowSet::new(), |both, s| both.union(&s.intersection(writer.row_set())));
        if !rows.is_empty() {
            return Err(WriteError::Overlap { rows });
        }
        let segment = writer.finish()?;
        self.adopt(feature, segment)
    }

    /// Makes a finished segment part of the job's progress. It lies in the job's folder, with `.part` at the end of its name.
    pub(crate) fn adopt(&mut self, feature: usize, mut segment: SealedSegment) -> Result<(), WriteError> {
        let Some(sealed) = self.sealed.get_mut(feature) else {
            return Err(WriteError::WrongFeature(feature));
        };
        let name = segment_name(feature, segment.uuid());
        self.folder.seal(&name)?;
        segment.path = self.folder.path_of(&name);
        sealed.push(segment);
        Ok(())
    }

    /// Starts a file of token counts.
    pub fn encoding_writer(
        &mut self,
        dataset: &str,
        spec: EncodingSpec,
        label: &str,
    ) -> Result<EncodingWriter, WriteError> {
        let uuid = Uuid::new_v4();
        let path = self.folder.path_of(&unfinished(&encoding_name(uuid)));
        Ok(EncodingWriter::new(
            self.store.env().shared_vfs(),
            path,
            uuid,
            dataset.to_owned(),
            spec,
            label.to_owned(),
        ))
    }

    /// Finishes a file of token counts and makes it part of the job's progress.
    pub fn seal_encoding(&mut self, writer: EncodingWriter) -> Result<(), WriteError> {
        if writer.path().parent() != self.folder.path_of("x").parent() {
            return Err(WriteError::WrongFeature(0));
        }
        let (dataset, spec, label) = (writer.dataset.clone(), writer.spec.clone(), writer.label.clone());
        let file = writer.finish()?;
        self.adopt_encoding(dataset, EncodingEntry::of_file(spec, label, file))
    }

    /// Makes a finished file of token counts part of the job's progress, as [`Job::adopt`] does. The entry has that one file.
    pub(crate) fn adopt_encoding(
        &mut self,
        dataset: String,
        encoding: EncodingEntry,
    ) -> Result<(), WriteError> {
        let note = SealedEncoding { version: VERSION, requires: Vec::new(), dataset, encoding };
        let Some(uuid) = note.file().map(|f| f.uuid) else { return Err(WriteError::Empty) };
        // The note first: a file without one would be taken for a leftover, a note without its file is one.
        self.folder.write(&note_name(uuid), &note)?;
        self.folder.seal(&encoding_name(uuid))?;
        self.encodings.push(note);
        Ok(())
    }

    /// Rows whose token counts need not be computed: published ones and sealed ones.
    pub fn encoding_rows_done(&self, dataset: &str, key: &str) -> RowSet {
        let published =
            self.base.dataset(dataset).ok().and_then(|d| d.encoding(key)).map(EncodingEntry::rows);
        let sealed = self.encodings.iter().filter(|e| e.dataset == dataset && e.encoding.key == key);
        sealed.fold(published.unwrap_or_default(), |done, e| done.union(&e.encoding.rows()))
    }

    /// Removes what was begun and not sealed: after a failure nothing goes on from it, and it may be what fills the disk. Writers of the job
    /// that are still open fail from then on.
    pub fn discard_unfinished(&self) -> Result<(), StorageError> {
        let unfinished = |name: &&String| Content::of(name) == Content::Leftover;
        self.folder.list()?.iter().filter(unfinished).try_for_each(|name| self.folder.remove(name))
    }

    /// Bytes of the sealed files, which wait for the next start.
    pub fn sealed_bytes(&self) -> u64 {
        let segments: u64 = self.sealed.iter().flatten().map(SealedSegment::bytes).sum();
        let counts: u64 = self.encodings.iter().filter_map(SealedEncoding::file).map(|file| file.len).sum();
        segments + counts
    }

    /// Removes the job with all its files.
    pub fn abandon(self) -> Result<(), StorageError> {
        self.folder.delete()
    }
}
