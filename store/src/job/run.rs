//! A job at work: writers for its files, and sealing them.

use super::folder::{Content, JobFolder, encoding_name, note_name, unfinished};
use super::plan::{JobFeature, SealedEncoding};
use super::work::FeatureWork;
use crate::encodings::EncodingWriter;
use crate::error::{StorageError, WriteError};
use crate::manifest::EncodingEntry;
use crate::segment::{SealedSegment, SegmentWriter};
use crate::store::{Snapshot, Store};
use gstore_core::{EncodingSpec, RowSet};
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;

/// A job. Dropped without [`Job::publish`] or [`Job::abandon`], its sealed files wait for the next start.
#[derive(Debug)]
pub struct Job {
    pub(crate) store: Store,
    pub(crate) folder: JobFolder,
    pub(super) id: String,
    /// The command, and what it computes.
    pub(crate) command: String,
    pub(crate) identity: Value,
    pub(super) resumed: bool,
    /// The snapshot that was current when the job started.
    pub(crate) base: Arc<Snapshot>,
    /// The features, in the order of the plan.
    pub(crate) work: Vec<FeatureWork>,
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

    /// The features it writes, in the order of its plan: a feature's number is its place here.
    pub fn features(&self) -> Vec<&JobFeature> {
        self.work.iter().map(|work| &work.feature).collect()
    }

    /// Files of an earlier process that were damaged or no longer needed, and were removed.
    pub fn discarded(&self) -> &[String] {
        &self.discarded
    }

    /// Sealed segments of a feature. Those of an earlier process were verified, footer and every block.
    pub fn sealed(&self, feature: usize) -> &[SealedSegment] {
        self.work.get(feature).map_or(&[], |work| &work.sealed)
    }

    /// Rows of a feature that need not be computed: published ones and sealed ones. None of a feature that
    /// the job does not have.
    pub fn rows_done(&self, feature: usize) -> RowSet {
        self.work.get(feature).map_or_else(RowSet::new, FeatureWork::rows_done)
    }

    /// Starts a segment of a feature.
    pub fn segment_writer(&mut self, feature: usize) -> Result<SegmentWriter, WriteError> {
        let work = self.work.get(feature).ok_or(WriteError::WrongFeature(feature))?;
        let uuid = Uuid::new_v4();
        let path = work.unfinished(&self.folder, uuid);
        let JobFeature { desc, attrs } = &work.feature;
        SegmentWriter::create(self.store.env().vfs(), &path, uuid, desc, attrs)
    }

    /// Finishes a segment and makes it part of the job's progress.
    pub fn seal(&mut self, feature: usize, writer: SegmentWriter) -> Result<(), WriteError> {
        // The path names the job, the feature and the file.
        let own = |work: &&mut FeatureWork| writer.path() == work.unfinished(&self.folder, writer.uuid());
        let work = self.work.get_mut(feature).filter(own).ok_or(WriteError::WrongFeature(feature))?;
        let rows = work.rows_done().intersection(writer.row_set());
        if !rows.is_empty() {
            return Err(WriteError::Overlap { rows });
        }
        let segment = writer.finish()?;
        Ok(work.adopt(&self.folder, segment)?)
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
        let vfs = self.store.env().shared_vfs();
        Ok(EncodingWriter::new(vfs, path, uuid, dataset.to_owned(), spec, label.to_owned()))
    }

    /// Finishes a file of token counts and makes it part of the job's progress.
    pub fn seal_encoding(&mut self, writer: EncodingWriter) -> Result<(), WriteError> {
        let (own, uuid) = (self.folder.path_of(&unfinished(&encoding_name(writer.uuid))), writer.uuid);
        if writer.path != own {
            return Err(WriteError::WrongEncoding(uuid));
        }
        let (dataset, spec, label) = (writer.dataset.clone(), writer.spec.clone(), writer.label.clone());
        let filled = writer.filled.clone();
        let file = writer.finish()?;
        Ok(self.adopt_encoding(SealedEncoding { dataset, spec, label, file, filled })?)
    }

    /// Makes a finished file of token counts part of the job's progress. It lies in the job's folder, under
    /// its unfinished name.
    pub(crate) fn adopt_encoding(&mut self, sealed: SealedEncoding) -> Result<(), StorageError> {
        let uuid = sealed.file.uuid;
        // The note first: a file without one would be taken for a leftover, a note without its file is one.
        self.folder.write(&note_name(uuid), &sealed.note())?;
        self.folder.seal(&encoding_name(uuid))?;
        self.encodings.push(sealed);
        Ok(())
    }

    /// Rows whose token counts need not be computed: published ones and sealed ones.
    pub fn encoding_rows_done(&self, dataset: &str, key: &str) -> RowSet {
        // The dataset may be one that this job is the first to write to.
        let published = self.base.dataset(dataset).ok().and_then(|d| d.encoding(key));
        let sealed = self.encodings.iter().filter(|e| e.dataset == dataset && e.spec.key() == key);
        let sealed = RowSet::from_ranges(sealed.map(|e| e.file.range()));
        published.map(EncodingEntry::rows).map_or(sealed.clone(), |rows| rows.union(&sealed))
    }

    /// Removes what was begun and not sealed: after a failure nothing goes on from it, and it may be what
    /// fills the disk. Writers of the job that are still open fail from then on.
    pub fn discard_unfinished(&self) -> Result<(), StorageError> {
        let unfinished = |name: &&String| Content::of(name) == Content::Leftover;
        self.folder.list()?.iter().filter(unfinished).try_for_each(|name| self.folder.remove(name))
    }

    /// Bytes of the sealed files, which wait for the next start.
    pub fn sealed_bytes(&self) -> u64 {
        let segments: u64 = self.work.iter().flat_map(|work| &work.sealed).map(SealedSegment::bytes).sum();
        segments + self.encodings.iter().map(|e| e.file.len).sum::<u64>()
    }

    /// Removes the job with all its files.
    pub fn abandon(self) -> Result<(), StorageError> {
        self.folder.delete()
    }
}
