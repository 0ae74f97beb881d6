//! Purging: nothing of deleted rows is left in the store's folder but their numbers.
//!
//! Order
//! 1. nobody else compacts, publishes, starts a job or builds an index; live jobs of the dataset and readers that hold snapshots are refused
//! 2. every file of the dataset with a row that is not live is written again without it, in `tmp/`
//! 3. the new files go into place, and a root without a parent is published: the commit point
//! 4. interrupted jobs of the dataset, those of others that have purged rows, the ledger, and every file that the new root does not need are removed
//!
//! A crash before the commit point changes nothing. One after it leaves files of older snapshots, which no snapshot names: the
//! next purge of any dataset, also one without rows, removes them.

use super::delete::DeleteReport;
use super::drop::writes_dataset;
use super::{refuse_live_jobs, remove_files};
use crate::error::{ChangeError, CommitError, ReadError, RewriteError, StorageError};
use crate::gc::{Needed, Swept, sweep};
use crate::ident::RowSet;
use crate::index::live_builds;
use crate::job::{Content, JobFile, JobFolder, PUBLISH, jobs, lock_start};
use crate::lease;
use crate::ledger::Ledger;
use crate::manifest::{DatasetPart, FeaturePart, FileEntry, SegmentEntry};
use crate::rewrite::{
    Placed, Watch, WorkFolder, has_counts, lock_compact, merge_counts, merge_samples, merge_segments, rows_of,
};
use crate::samples::FILE_BYTES;
use crate::segment::{BlockBuffer, FileId, SegmentFile};
use crate::store::{
    Env, History, Snapshot, Store, WriterLock, change_of, encoding_file, publish, sample_file, segment_file,
};
use crate::tombstones::{new_files, set_dead};
use std::sync::Arc;
use uuid::Uuid;

/// Purges rows of a dataset, and all that were deleted before.
pub(super) fn purge(store: &Store, dataset: &str, rows: &RowSet) -> Result<DeleteReport, ChangeError> {
    let env = store.env();
    store.snapshot()?.dataset(dataset)?;
    let Some(_only) = lock_compact(env)? else { return Err(ChangeError::Compacting) };
    let lock = WriterLock::take(store)?;
    let _starting = lock_start(env)?;
    let base = store.snapshot()?;
    let old = base.dataset(dataset)?;
    refuse_live_jobs(env, &format!("dataset {dataset}"), |job| writes_dataset(job, dataset))?;
    refuse_readers(env)?;
    let builds = live_builds(env)?;
    if !builds.is_empty() {
        return Err(ChangeError::Indexing { builds });
    }

    let before = base.rows_of(old)?;
    let named = rows.intersection(&before.live);
    let gone = named.union(&before.deleted);
    let mut report = DeleteReport {
        deleted: named.len(),
        ignored: rows.len() - named.len(),
        purged: gone.len(),
        ..DeleteReport::default()
    };
    // No row of the dataset was ever deleted, so there is nothing to forget: a wrong id must not cost the history. Without a
    // history there may be a purge that was cut short, and is finished here.
    if gone.is_empty() && old.rows == old.next_row && base.root().parent.is_some() {
        return Ok(report);
    }
    let live = before.live.difference(&named);
    let mut rewrite = Rewrite { env, folder: WorkFolder::create(env)?, live, moves: Vec::new(), replaced: 0 };
    let mut part = DatasetPart::clone(old);
    rewrite.dataset(&mut part, &gone)?;
    let mut features = Vec::new();
    for feature in base.features_of(dataset) {
        features.extend(rewrite.feature(feature)?);
    }
    let unnamed = forget_sources(&mut part, &rewrite.live);
    let alone = base.root().parent.is_none() && base.root().tags.is_empty();
    let snapshot = if alone && gone.is_empty() && rewrite.replaced == 0 && !unnamed {
        base
    } else {
        if !gone.is_empty() {
            set_dead(env, &mut part, &RowSet::new(), &before.purged.union(&gone))?;
        }
        let bitmaps = new_files(old, &part);
        let command = format!("gstore delete --dataset {dataset} --purge ({} rows)", gone.len());
        let mut change = change_of(&base, &command);
        change.history = History::Cut;
        let (n, files) = (gone.len(), rewrite.replaced);
        change.changes.push(format!("dataset {dataset}: {n} rows purged, {files} files written again"));
        change.datasets.push(part);
        change.features = features;
        let published = match rewrite.folder.place(&rewrite.moves) {
            Ok(()) => publish(store, &lock, &base, change).inspect_err(|e| {
                if !matches!(e, CommitError::Unclear { .. }) {
                    rewrite.folder.unplace(&rewrite.moves);
                }
            }),
            Err(e) => Err(e.into()),
        };
        match published {
            Ok(snapshot) => {
                report.snapshot = Some(snapshot.number());
                snapshot
            }
            Err(e) => {
                if !matches!(e, CommitError::Unclear { .. }) {
                    remove_files(env, bitmaps);
                }
                return Err(e.into());
            }
        }
    };
    drop(rewrite);
    match clear(store, &lock, &snapshot, dataset, &mut report) {
        Ok(swept) => {
            (report.files_removed, report.bytes_removed) = (swept.files(), swept.bytes());
            Ok(report)
        }
        Err(source) => Err(ChangeError::Unfinished { snapshot: snapshot.number(), source }),
    }
}

/// Takes names of files and command lines out of the notes on where rows came from, if one of the rows is not live any more: they
/// may name it. Says whether there were any.
fn forget_sources(part: &mut DatasetPart, live: &RowSet) -> bool {
    let mut found = false;
    for note in &mut part.sources {
        let says = note.source.is_some() || !note.command.is_empty();
        if says && !live.covers(note.first_row..note.end_row) {
            (note.source, note.command, found) = (None, String::new(), true);
        }
    }
    found
}

/// Readers that hold a snapshot would lose it.
fn refuse_readers(env: &Env) -> Result<(), ChangeError> {
    let shown = |h: lease::Held| {
        let info = h.info;
        format!("snapshot {}: process {} ({})", info.snapshot, info.pid, info.command)
    };
    let readers: Vec<String> = lease::held(env)?.into_iter().map(shown).collect();
    if readers.is_empty() { Ok(()) } else { Err(ChangeError::Leased { readers }) }
}

/// Removes all that the snapshot does not need. The caller holds the start lock.
fn clear(
    store: &Store,
    lock: &WriterLock,
    snapshot: &Snapshot,
    dataset: &str,
    report: &mut DeleteReport,
) -> Result<Swept, StorageError> {
    let env = store.env();
    for (id, said) in jobs(env)? {
        let Some(folder) = JobFolder::take(env, &id)? else { continue };
        let goes = match said.ok().flatten() {
            // What an unreadable one has is not known, and nobody could go on from it.
            None => true,
            Some(job) if writes_dataset(&job, dataset) => true,
            // A purge of its dataset may have been cut short before it came to the jobs.
            Some(job) => has_purged_rows(env, snapshot, &folder, &job)?,
        };
        if goes {
            folder.delete()?;
            report.jobs_removed.push(id);
        }
    }
    Ledger::remove(&env.shared_vfs(), env.path())?;
    let swept = sweep(store, lock, Needed::of(env, [snapshot.link()])?)?;
    // Leases of earlier versions have whole command lines; also those that were removed before and never flushed.
    if env.vfs().exists(&env.at(lease::FOLDER)).map_err(Env::io("look for", lease::FOLDER))? {
        env.sync_folder(lease::FOLDER)?;
    }
    env.sync_folder("")?;
    Ok(swept)
}

/// Whether an interrupted job has rows that were purged, or rows of a dataset that was dropped. Of a job without such rows, unfinished
/// files and token counts that may be of some are removed.
fn has_purged_rows(
    env: &Arc<Env>,
    snapshot: &Snapshot,
    folder: &JobFolder,
    job: &JobFile,
) -> Result<bool, StorageError> {
    let mut purged = RowSet::new();
    let mut by_feature = Vec::new();
    for feature in &job.features {
        let name = &feature.desc.dataset;
        let Some(part) = snapshot.datasets().iter().find(|d| d.name == *name) else { return Ok(true) };
        if job.datasets.get(name).is_some_and(|number| *number != part.number) {
            return Ok(true);
        }
        let rows = snapshot.rows_of(part)?;
        let rows = RowSet::from_range(0..part.next_row).difference(&rows.live.union(&rows.deleted));
        purged = purged.union(&rows);
        by_feature.push(rows);
    }
    if purged.is_empty() {
        return Ok(false);
    }
    let names = folder.list()?;
    // Some of its files are among those of the store.
    if names.iter().any(|n| n == PUBLISH) {
        return Ok(true);
    }
    let mut removed = false;
    for name in names {
        match Content::of(&name) {
            Content::Own | Content::Stranger => {}
            Content::Segment { feature, uuid } => {
                let (path, shown) = (folder.path_of(&name), folder.name_of(&name));
                let Some(rows) = by_feature.get(feature) else { return Ok(true) };
                match has_rows(env, FileId { path: &path, name: shown }, uuid, rows) {
                    Ok(false) => {}
                    Ok(true) => return Ok(true),
                    // The job would throw it away.
                    Err(e) if e.is_damage() => return Ok(true),
                    Err(e) => return Err(e),
                }
            }
            // They are computed again in no time.
            Content::Encoding(_) | Content::EncodingNote(_) | Content::Leftover => {
                folder.remove(&name)?;
                removed = true;
            }
        }
    }
    if removed {
        folder.sync()?;
    }
    Ok(false)
}

/// Whether a sealed segment has one of some rows.
fn has_rows(env: &Arc<Env>, id: FileId<'_>, uuid: Uuid, rows: &RowSet) -> Result<bool, StorageError> {
    let opened = SegmentFile::open_unlisted(env.shared_vfs(), id, uuid)?;
    let mut scratch = BlockBuffer::new();
    for (i, block) in opened.file.blocks.iter().enumerate() {
        if rows.within(block.first..block.end).next().is_some()
            && !opened.file.block_rows(i, &mut scratch)?.intersection(rows).is_empty()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes files again without rows that are not live.
struct Rewrite<'a> {
    env: &'a Arc<Env>,
    folder: WorkFolder,
    live: RowSet,
    moves: Vec<Placed>,
    /// Files that were written again, or are gone.
    replaced: usize,
}

impl Rewrite<'_> {
    /// Sample files with a row of `gone`, and files of token counts that say something of a row that is not live.
    fn dataset(&mut self, part: &mut DatasetPart, gone: &RowSet) -> Result<(), ChangeError> {
        let mut files = Vec::new();
        for file in &part.files {
            if gone.within(file.range()).next().is_none() {
                files.push(file.clone());
                continue;
            }
            let inputs = std::slice::from_ref(file);
            let written =
                merge_samples(&self.folder, part, inputs, &self.live, FILE_BYTES, &mut quiet(&mut |_| {}));
            let written = written.map_err(|e| failed(&format!("dataset {}", part.name), e))?;
            self.placed(&written, |f| sample_file(part.number, f.uuid));
            files.extend(written);
        }
        part.files = files;
        for encoding in &mut part.encodings {
            let of = format!("encoding {} of dataset {}", encoding.label, part.name);
            let mut files = Vec::new();
            for file in &encoding.files {
                let dead = RowSet::from_range(file.range()).difference(&self.live);
                let says = !dead.is_empty()
                    && has_counts(self.env, encoding, file, &dead).map_err(|e| unreadable(&of, e))?;
                if !says {
                    files.push(file.clone());
                    continue;
                }
                let inputs = std::slice::from_ref(file);
                let written = merge_counts(
                    &self.folder,
                    &part.name,
                    encoding,
                    inputs,
                    &self.live,
                    &mut quiet(&mut |_| {}),
                );
                let written = written.map_err(|e| failed(&of, e))?;
                self.placed(&written, |f| encoding_file(encoding.number, f.uuid));
                files.extend(written);
            }
            encoding.files = files;
        }
        Ok(())
    }

    /// The feature's part without segments that have rows which are not live; `None` if there is none.
    fn feature(&mut self, old: &FeaturePart) -> Result<Option<FeaturePart>, ChangeError> {
        let of = format!("feature {}", old.display_name());
        let mut segments: Vec<SegmentEntry> = Vec::new();
        let before = self.replaced;
        for segment in &old.segments {
            let has_dead = !self.live.covers(segment.range())
                && !rows_of(self.env, old, segment)
                    .map_err(|e| unreadable(&of, e))?
                    .difference(&self.live)
                    .is_empty();
            if !has_dead {
                segments.push(segment.clone());
                continue;
            }
            let inputs = std::slice::from_ref(segment);
            let written = merge_segments(&self.folder, old, inputs, &self.live, &mut quiet(&mut |_| {}));
            let written = written.map_err(|e| failed(&of, e))?.map(|sealed| sealed.entry);
            self.replaced += 1;
            if let Some(entry) = written {
                self.moves.push(Placed {
                    from: format!("{}.arrow", entry.uuid),
                    to: segment_file(old.number, &entry),
                });
                segments.push(entry);
            }
        }
        segments.sort_by_key(|s| (s.first_row, s.uuid));
        Ok((self.replaced > before).then(|| FeaturePart { segments, ..old.clone() }))
    }

    fn placed(&mut self, files: &[FileEntry], place: impl Fn(&FileEntry) -> String) {
        self.replaced += 1;
        let one = |f: &FileEntry| Placed { from: format!("{}.parquet", f.uuid), to: place(f) };
        self.moves.extend(files.iter().map(one));
    }
}

fn quiet(read: &mut dyn FnMut(u64)) -> Watch<'_> {
    Watch { read, cancel: None }
}

fn failed(of: &str, e: RewriteError) -> ChangeError {
    match e {
        RewriteError::Source(source) => ChangeError::Unreadable { of: of.to_owned(), source },
        RewriteError::Target(e) => CommitError::from(e).into(),
        RewriteError::Stopped => StorageError::io("purge", std::io::ErrorKind::Interrupted.into()).into(),
    }
}

fn unreadable(of: &str, e: ReadError) -> ChangeError {
    failed(of, RewriteError::source(e))
}
