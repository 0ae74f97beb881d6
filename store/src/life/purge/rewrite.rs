//! Writing the files of a dataset again without rows that are not live, and publishing them.

use super::super::stop_if;
use super::refuse_readers;
use crate::error::{ChangeError, CommitError, ReadError, RewriteError};
use crate::index::{headers, kinds};
use crate::layout::{Env, HeldFolder, encoding_file, sample_file, segment_file};
use crate::manifest::{DatasetPart, FeaturePart, FileEntry, SegmentEntry, sort_segments};
use crate::rewrite::{Watch, has_counts, merge_counts, merge_samples, merge_segments, rows_of, work_folder};
use crate::samples::FILE_BYTES;
use crate::store::{Change, Snapshot, Store, WriterLock, publish};
use gstore_core::{Cancel, RowSet};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Writes files again without rows that are not live.
pub(super) struct Rewrite<'a> {
    env: &'a Arc<Env>,
    folder: HeldFolder,
    pub live: RowSet,
    /// The kinds of indexes that there are: none is made while a purge is at work.
    index_kinds: BTreeSet<String>,
    /// New files, and their places.
    pub moves: Vec<(PathBuf, String)>,
    /// Files that were written again, or are gone.
    pub replaced: usize,
    cancel: Option<&'a Cancel>,
}

impl<'a> Rewrite<'a> {
    pub fn new(env: &'a Arc<Env>, live: RowSet, cancel: Option<&'a Cancel>) -> Result<Self, ChangeError> {
        let (folder, index_kinds) = (work_folder(env)?, kinds(env)?);
        Ok(Rewrite { env, folder, live, index_kinds, moves: Vec::new(), replaced: 0, cancel })
    }

    /// Moves the new files into place and publishes them.
    pub fn publish(
        &self,
        store: &Store,
        lock: &WriterLock,
        base: &Snapshot,
        change: Change,
    ) -> Result<Arc<Snapshot>, ChangeError> {
        self.env.place(&self.moves)?;
        // The last moment at which the purge can be given up, by its caller or in favour of a reader.
        stop_if(self.cancel)?;
        refuse_readers(self.env)?;
        Ok(publish(store, lock, base, change)?)
    }

    /// Sample files with a row of `gone`, and files of token counts that say something of
    /// a row that is not live.
    pub fn dataset(&mut self, part: &mut DatasetPart, gone: &RowSet) -> Result<(), ChangeError> {
        let mut files = Vec::new();
        for file in &part.files {
            stop_if(self.cancel)?;
            if gone.within(file.range()).next().is_none() {
                files.push(file.clone());
                continue;
            }
            let inputs = std::slice::from_ref(file);
            let mut watch = Watch { read: &mut |_| {}, cancel: self.cancel };
            let written = merge_samples(&self.folder, part, inputs, &self.live, FILE_BYTES, &mut watch);
            let written = written.map_err(|e| failed(&format!("dataset {}", part.name), e))?;
            self.placed(&written, |f| sample_file(part.number, f.uuid));
            files.extend(written);
        }
        part.files = files;
        for encoding in &mut part.encodings {
            let of = format!("encoding {} of dataset {}", encoding.label, part.name);
            let mut files = Vec::new();
            for file in &encoding.files {
                stop_if(self.cancel)?;
                let dead = RowSet::from_range(file.range()).difference(&self.live);
                let says = !dead.is_empty()
                    && has_counts(self.env, encoding, file, &dead).map_err(|e| unreadable(&of, e))?;
                if !says {
                    files.push(file.clone());
                    continue;
                }
                let inputs = std::slice::from_ref(file);
                let mut watch = Watch { read: &mut |_| {}, cancel: self.cancel };
                let written =
                    merge_counts(&self.folder, &part.name, encoding, inputs, &self.live, &mut watch);
                let written = written.map_err(|e| failed(&of, e))?;
                self.placed(&written, |f| encoding_file(encoding.number, f.uuid));
                files.extend(written);
            }
            encoding.files = files;
        }
        Ok(())
    }

    /// The feature's part without segments that have rows which are not live; `None` if there is none.
    pub fn feature(&mut self, old: &FeaturePart) -> Result<Option<FeaturePart>, ChangeError> {
        let of = format!("feature {}", old.display_name());
        let mut segments: Vec<SegmentEntry> = Vec::new();
        let before = self.replaced;
        for segment in &old.segments {
            stop_if(self.cancel)?;
            let own = self.env.file(segment_file(old.number, segment.uuid));
            let has_dead = !self.live.covers(segment.range())
                && !rows_of(own, old, segment)
                    .map_err(|e| unreadable(&of, e))?
                    .difference(&self.live)
                    .is_empty();
            if !has_dead {
                segments.push(segment.clone());
                continue;
            }
            let inputs = std::slice::from_ref(segment);
            let mut watch = Watch { read: &mut |_| {}, cancel: self.cancel };
            let written = merge_segments(&self.folder, old, inputs, &self.live, &mut watch);
            let written = written.map_err(|e| failed(&of, e))?.map(|sealed| sealed.entry);
            self.replaced += 1;
            if let Some(mut entry) = written {
                entry.note_indexes(headers(self.env, inputs, &self.index_kinds));
                let from = self.folder.path_of(&format!("{}.arrow", entry.uuid));
                self.moves.push((from, segment_file(old.number, entry.uuid)));
                segments.push(entry);
            }
        }
        sort_segments(&mut segments);
        Ok((self.replaced > before).then(|| FeaturePart { segments, ..old.clone() }))
    }

    fn placed(&mut self, files: &[FileEntry], place: impl Fn(&FileEntry) -> String) {
        self.replaced += 1;
        let from = |f: &FileEntry| self.folder.path_of(&format!("{}.parquet", f.uuid));
        self.moves.extend(files.iter().map(|f| (from(f), place(f))));
    }
}

fn failed(of: &str, e: RewriteError) -> ChangeError {
    match e {
        RewriteError::Source(source) => ChangeError::Unreadable { of: of.to_owned(), source },
        RewriteError::Target(e) => CommitError::from(e).into(),
        RewriteError::Stopped(stopped) => stopped.into(),
    }
}

pub(super) fn unreadable(of: &str, e: impl Into<ReadError>) -> ChangeError {
    failed(of, RewriteError::source(e))
}
