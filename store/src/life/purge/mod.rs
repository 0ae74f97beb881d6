//! Purging: nothing of deleted rows is left in the store's folder but their numbers.
//!
//! Order
//! 1. no other process compacts, publishes, starts a job or builds an index; live jobs of the dataset and
//!    readers that hold snapshots are refused
//! 2. every file of the dataset with a row that is not live is written again without it, in `tmp/`
//! 3. salted digests of their ids go into the dataset's list, so that no append brings them back; the new
//!    files go into place; readers that came meanwhile are refused, and the new files go away again
//! 4. a root without a parent is published: the commit point
//! 5. interrupted jobs of the dataset, those of others that have purged rows, the ledger, and every file that
//!    neither the new root nor a reader needs are removed. A reader that came between 3 and 4 is named, and
//!    the next purge removes its files
//!
//! Up to the commit point the caller can stop the purge. A crash before it changes nothing. One after it
//! leaves files of older snapshots, which no snapshot names: the next purge of any dataset, also one
//! without rows, removes them.

mod rewrite;

use super::deletion::{DeleteOptions, DeleteReport};
use super::drop::writes_dataset;
use super::{refuse_live_jobs, stop_if};
use crate::error::{ChangeError, StorageError};
use crate::gc::{NeededFiles, sweep};
use crate::index::live_builds;
use crate::job::{Content, JobFile, JobFolder, PUBLISH, jobs, purged_rows};
use crate::layout::names::LEASES;
use crate::layout::{Env, NamedFile};
use crate::lease;
use crate::ledger::Ledger;
use crate::manifest::{DatasetPart, FeaturePart};
use crate::rewrite::lock_compact;
use crate::segment::{BlockBuffer, SegmentFile};
use crate::store::{Change, History, Snapshot, Store, WriterLock, change_of};
use crate::tombstones::{ids, new_files, set_dead};
use gstore_core::{Cancelled, RowSet, many};
use rewrite::{Rewrite, unreadable};
use std::io::ErrorKind;
use std::sync::Arc;
use uuid::Uuid;

/// Purges rows of a dataset, and all that were deleted before.
pub(super) fn purge(
    store: &Store,
    dataset: &DatasetPart,
    rows: &RowSet,
    options: &DeleteOptions,
) -> Result<DeleteReport, ChangeError> {
    let (env, cancel) = (store.env(), options.cancel.as_deref());
    let Some(_only) = lock_compact(env)? else { return Err(ChangeError::Compacting) };
    let lock = WriterLock::take(store)?;
    let _starting = env.lock_start()?;
    stop_if(cancel)?;
    let base = store.snapshot()?;
    let old = options.check(&base, dataset)?;
    refuse_others(env, &old.name)?;

    let before = base.rows_of(old)?;
    let named = rows.intersection(&before.live);
    let gone = named.union(&before.deleted);
    let mut report = DeleteReport {
        deleted: named.len(),
        ignored: rows.len() - named.len(),
        purged: gone.len(),
        ..DeleteReport::default()
    };
    // No row of the dataset was ever deleted, so there is nothing to forget: a wrong id must not cost the
    // history. Without a history there may be a purge that was cut short, and is finished here.
    if gone.is_empty() && old.rows == old.next_row && base.root().parent.is_some() {
        return Ok(report);
    }
    let mut rewrite = Rewrite::new(env, before.live.difference(&named), cancel)?;
    let mut part = DatasetPart::clone(old);
    let salt = ids::salt_of(&part);
    let remembered = gone.difference(&before.superseded);
    let digests = ids::readable_digests(env, &part, &remembered, salt, cancel)
        .map_err(|e| unreadable(&format!("dataset {}", part.name), e))?;
    let (forgotten, lost) = digests.ok_or(Cancelled)?;
    report.unremembered = lost.len();
    rewrite.dataset(&mut part, &gone)?;
    let mut features = Vec::new();
    for feature in base.features_of(&old.name) {
        features.extend(rewrite.feature(feature)?);
    }
    let unnamed = forget_sources(&mut part, &rewrite.live) | part.forget_writes(&rewrite.live);
    let alone = base.root().parent.is_none() && base.root().tags.is_empty();
    let snapshot = if alone && gone.is_empty() && rewrite.replaced == 0 && !unnamed {
        Arc::clone(&base)
    } else {
        if !gone.is_empty() {
            let none = RowSet::new();
            set_dead(env, &mut part, &none, &none, &before.purged.union(&gone))?;
        }
        let listed = ids::rewrite(env, &mut part, salt, forgotten, Vec::new());
        let bitmaps = new_files(old, &part);
        let published = listed.map_err(ChangeError::from).and_then(|()| {
            rewrite.publish(store, &lock, &base, cut(&base, part, features, gone.len(), rewrite.replaced))
        });
        let published = published.inspect_err(|e| {
            // What `CURRENT` may name stays.
            if !matches!(e, ChangeError::Commit(e) if e.is_unclear()) {
                env.unplace(&rewrite.moves);
                env.remove_unreferenced(bitmaps);
            }
        })?;
        report.snapshot = Some(published.number());
        published
    };
    drop(rewrite);
    let cleared = clear(store, &lock, &snapshot, &old.name, &mut report);
    let (dataset, snapshot) = (old.name.clone(), snapshot.number());
    match cleared {
        Ok(readers) if readers.is_empty() => Ok(report),
        Ok(readers) => Err(ChangeError::Kept { dataset, snapshot, readers }),
        Err(source) => Err(ChangeError::Unfinished { dataset, snapshot, source }),
    }
}

/// The change that takes rows and all history with them out of the store: its dataset and features, how many
/// rows are gone, and how many files were written again.
fn cut(base: &Snapshot, part: DatasetPart, features: Vec<FeaturePart>, gone: u64, files: usize) -> Change {
    let (name, rows) = (&part.name, many(gone, "row"));
    let mut change = change_of(base, &format!("purge of {rows} of dataset {name}"));
    change.history = History::Cut;
    change
        .changes
        .push(format!("dataset {name}: {rows} purged, {} written again", many(files as u64, "file")));
    change.datasets.push(part);
    change.features = features;
    change
}

/// Refuses what would be in the way of a purge: live jobs of the dataset, readers, indexes that are being
/// built.
fn refuse_others(env: &Arc<Env>, dataset: &str) -> Result<(), ChangeError> {
    refuse_live_jobs(env, &format!("dataset {dataset}"), &|job| writes_dataset(job, dataset))?;
    refuse_readers(env)?;
    let builds = live_builds(env)?;
    if builds.is_empty() { Ok(()) } else { Err(ChangeError::Indexing { builds }) }
}

/// Takes names of files and command lines out of the notes on where rows came from, if one of the rows is not
/// live any more: they may name it. Says whether there were any.
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
    let readers: Vec<String> = lease::held(env)?.iter().map(describe_lease).collect();
    if readers.is_empty() { Ok(()) } else { Err(ChangeError::Leased { readers }) }
}

fn describe_lease(held: &lease::LeasedSnapshot) -> String {
    format!("snapshot {}: process {} ({})", held.snapshot, held.pid, held.command)
}

/// Removes all that the snapshot does not need, but for what readers hold: a lease that was granted before
/// the commit is there by now, and none of an older snapshot is granted after it. Returns these readers. The
/// caller holds the start lock.
fn clear(
    store: &Store,
    lock: &WriterLock,
    snapshot: &Snapshot,
    dataset: &str,
    report: &mut DeleteReport,
) -> Result<Vec<String>, StorageError> {
    let env = store.env();
    for (id, said) in jobs(env)? {
        // A live one is of another dataset: those of this one were refused.
        let Some(folder) = JobFolder::take(env, &id)? else { continue };
        let goes = match said.ok().flatten() {
            // The content of an unreadable one is not known, and no work could go on from it.
            None => true,
            Some(job) if writes_dataset(&job, dataset) => true,
            // A purge of its dataset may have been cut short before it came to the jobs.
            Some(job) => has_purged_rows(snapshot, &folder, &job)?,
        };
        if goes {
            folder.delete()?;
            report.jobs_removed.push(id);
        }
    }
    Ledger::remove(&env.shared_vfs(), env.path())?;
    let mut needed = NeededFiles::of(env, snapshot.link())?;
    let mut readers = Vec::new();
    for held in lease::held(env)?.iter().filter(|held| held.root != *snapshot.link()) {
        needed.add_rest(env, &held.root)?;
        readers.push(describe_lease(held));
    }
    let swept = sweep(store, lock, needed)?;
    (report.files_removed, report.bytes_removed) = (swept.files(), swept.bytes());
    // Leases of earlier versions have whole command lines; also those that were removed
    // before and never flushed.
    if env.exists(LEASES)? {
        env.sync_folder(LEASES)?;
    }
    env.sync_folder("")?;
    // A lease names no row. Files of work have some, or what was computed of them.
    match swept.denied.iter().find(|name| !name.starts_with(LEASES)) {
        Some(name) => Err(Env::io("remove", name)(ErrorKind::PermissionDenied.into())),
        None => Ok(readers),
    }
}

/// Whether an interrupted job has rows that were purged, or rows of a dataset that was dropped. Of a job
/// without such rows, unfinished files and token counts that may be of some are removed.
fn has_purged_rows(snapshot: &Snapshot, folder: &JobFolder, job: &JobFile) -> Result<bool, StorageError> {
    let mut purged = RowSet::new();
    let mut by_feature = Vec::new();
    for feature in &job.features {
        let name = &feature.desc.dataset;
        let Some(part) = snapshot.datasets().iter().find(|d| d.name == *name) else { return Ok(true) };
        if job.datasets.get(name).is_some_and(|number| *number != part.number) {
            return Ok(true);
        }
        let rows = purged_rows(snapshot, part)?;
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
                let Some(rows) = by_feature.get(feature) else { return Ok(true) };
                match has_rows(folder.file(&name), uuid, rows) {
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
fn has_rows(segment: NamedFile, uuid: Uuid, rows: &RowSet) -> Result<bool, StorageError> {
    let opened = SegmentFile::open_unlisted(segment, uuid)?;
    let mut scratch = BlockBuffer::new();
    for block in &opened.file.blocks {
        if rows.within(block.first..block.end).next().is_some()
            && !opened.file.block_rows(block, &mut scratch)?.intersection(rows).is_empty()
        {
            return Ok(true);
        }
    }
    Ok(false)
}
