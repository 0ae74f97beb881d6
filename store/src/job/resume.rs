//! Start of a job, and resumption of what an earlier process left.

use super::basis;
use super::folder::{
    Content, JOB, JobFolder, PUBLISH, encoding_name, intents_of, is_held, jobs, note_name, read_json_of,
};
use super::plan::{EncodingNote, JobFeature, JobFile, JobPlan, SealedEncoding};
use super::run::Job;
use super::work::FeatureWork;
use crate::error::{JobError, OpenError, StorageError, is_unreadable};
use crate::lease;
use crate::manifest::Stripe;
use crate::segment::{BlockBuffer, OpenedSegment, SealedSegment, SegmentFile, check_description};
use crate::store::{Snapshot, Store, WriterLock};
use crate::table::TableFile;
use gstore_core::{Cancel, DatasetName, RowSet};
use std::sync::Arc;
use uuid::Uuid;

/// Starts a job, which may have been planned on an earlier snapshot.
pub(super) fn start(
    store: Store,
    plan: JobPlan,
    planned: Option<&Snapshot>,
    cancel: &Cancel,
) -> Result<Job, JobError> {
    let check = |now: &Snapshot| {
        planned
            .map_or(Ok(()), |planned| basis::check(planned, now, &plan))
            .and_then(|()| check_plan(now, &plan))
    };
    let snapshot = store.snapshot()?;
    check(&snapshot)?;
    let id = plan.id();
    let folder = claim(&store, &plan, &id, &snapshot)?;
    let before: Option<JobFile> =
        folder.read(JOB).or_else(|e| if e.is_damage() { Ok(None) } else { Err(e) })?;
    recover(&store, &id, &folder)?;
    // No lease: what a job needs of its base is in memory. A caller that reads its samples for days takes
    // one.
    let base = store.snapshot()?;
    check(&base)?;
    // A writer may have died before it flushed what it published. If a loss of power took that away after rows
    // of it were sealed here, other samples would get their numbers.
    match store.is_unsettled() {
        true => drop(WriterLock::take(&store)?),
        false => store.env().sync_folder("").inspect_err(|_| store.set_unsettled(true))?,
    }
    let resumed = before.as_ref().is_some_and(|old| old.fits(&plan, &base));
    // The files of a job with another plan under this id would be taken for ours.
    let file = JobFile::new(&plan, &base);
    let job = take_over(store, folder, id, plan, base, resumed, cancel)?;
    job.folder.write(JOB, &file)?;
    Ok(job)
}

/// A job in its folder, with those of the sealed files there that are sound and still wanted; none of
/// them unless `resumed`.
pub(crate) fn take_over(
    store: Store,
    folder: JobFolder,
    id: String,
    plan: JobPlan,
    base: Arc<Snapshot>,
    resumed: bool,
    cancel: &Cancel,
) -> Result<Job, JobError> {
    let JobPlan { command, identity, features, .. } = plan;
    let work = FeatureWork::all(features, &base)?;
    let (encodings, discarded) = (Vec::new(), Vec::new());
    let mut job =
        Job { store, folder, id, command, identity, resumed: false, base, work, encodings, discarded };
    collect(&mut job, resumed, cancel)?;
    job.resumed = resumed && (job.work.iter().any(|w| !w.sealed.is_empty()) || !job.encodings.is_empty());
    Ok(job)
}

pub(crate) fn check_plan(snapshot: &Snapshot, plan: &JobPlan) -> Result<(), JobError> {
    for (i, f) in plan.features.iter().enumerate() {
        let description = |detail: String| JobError::Description { feature: f.name(), detail };
        DatasetName::try_from(f.desc.dataset.as_str()).map_err(|e| description(e.to_string()))?;
        check_description(&f.desc, &f.attrs).map_err(description)?;
        if plan.features.iter().skip(i + 1).any(|o| o.desc == f.desc) {
            return Err(description("it occurs twice in the job".into()));
        }
        let ensembles = snapshot.ensembles().iter().map(|e| &**e);
        if let Some((what, expected, found)) = Stripe::problem_among(&f.desc, ensembles) {
            return Err(description(format!("{what} should be {expected}, and is {found}")));
        }
        snapshot.dataset(&f.desc.dataset)?;
        let stored = snapshot.feature_by_key(&f.desc.key());
        if let Some(what) = stored.and_then(|part| part.attrs.difference(&f.attrs)) {
            return Err(JobError::Mismatch { feature: f.name(), detail: what.to_owned() });
        }
    }
    Ok(())
}

/// Takes the job's folder, unless a live process has it or one of the features.
fn claim(store: &Store, plan: &JobPlan, id: &str, snapshot: &Snapshot) -> Result<JobFolder, JobError> {
    let env = store.env();
    let _starting = env.lock_start()?;
    let keys: Vec<String> = plan.features.iter().map(|f| f.desc.key()).collect();
    let first = plan.features.first().map_or_else(String::new, JobFeature::name);
    for (other, file) in jobs(env)?.into_iter().filter(|(other, _)| other != id) {
        let file = match file {
            Ok(Some(file)) => file,
            Ok(None) => continue,
            // What a live job writes must be known; a dead one's unreadable note does no harm.
            Err(_) if is_held(env, &other)? => {
                return Err(JobError::Busy { feature: first, job: other, pid: 0 });
            }
            Err(_) => continue,
        };
        let shared = file.features.iter().find(|f| keys.contains(&f.desc.key()));
        if let Some(f) = shared
            && is_held(env, &other)?
        {
            return Err(JobError::Busy { feature: f.name(), job: other, pid: file.pid });
        }
    }
    match JobFolder::take(env, id)? {
        Some(folder) => {
            // Written while other starters wait, so that they see what this job writes. A job that was
            // there keeps its own file until its sealed files were looked at, and one of a newer version
            // keeps it: that is refused later.
            let none = match folder.read::<JobFile>(JOB) {
                Ok(file) => file.is_none(),
                Err(e) => e.is_damage(),
            };
            if none {
                forget_sealed(&folder)?;
                folder.write(JOB, &JobFile::new(plan, snapshot))?;
            }
            Ok(folder)
        }
        None => {
            let file = read_json_of::<JobFile>(env, &format!("tmp/{id}/{JOB}"));
            let pid = file.ok().flatten().map_or(0, |f| f.pid);
            Err(JobError::Busy { feature: first, job: id.to_owned(), pid })
        }
    }
}

/// Removes sealed files of a folder without a readable note, and the list of those that a publish moved,
/// which would bring them back: whose they are is not known, and they must be gone for good before a note
/// says that they are this job's. What was moved stays where it is: nothing refers to it, so gc removes it.
fn forget_sealed(folder: &JobFolder) -> Result<(), StorageError> {
    let is_sealed = |content: &Content| {
        matches!(content, Content::Segment { .. } | Content::Encoding(_) | Content::EncodingNote(_))
    };
    for name in folder.list()?.iter().filter(|name| is_sealed(&Content::of(name))) {
        folder.remove(name)?;
    }
    folder.remove(PUBLISH)?;
    folder.sync()
}

/// Undoes a publish that was cut short, or cleans up after one that was not.
fn recover(store: &Store, id: &str, folder: &JobFolder) -> Result<(), JobError> {
    if let Some(intents) = intents_of(store.env(), id)? {
        let _lock = WriterLock::take(store)?;
        let now = store.snapshot()?;
        let then = candidates(store, &now, intents.snapshot)?;
        let env = store.env();
        for m in &intents.moves {
            if !env.exists(&m.to)? {
                continue;
            }
            // What cannot be known counts as published: then nothing is moved back.
            let has = |snapshot: &Snapshot| job_files(snapshot).any(|uuid| uuid == m.uuid);
            let published = has(&now) || then.as_ref().is_none_or(|then| then.iter().any(|s| has(s)));
            if !published {
                folder.rename(&env.at(&m.to), &m.from)?;
            } else {
                // Published; what describes it here has done its work.
                folder.remove(&m.from)?;
                folder.remove(&note_name(m.uuid))?;
            }
        }
        folder.sync()?;
    }
    folder.remove(PUBLISH)?;
    Ok(folder.sync()?)
}

/// The snapshots that may have the files of a publish, other than the current one: what that has is
/// published, by any process, because a repair adopts files that it finds. What it lacks may have been
/// compacted, dropped or purged since.
///
/// It is the one that the publish made or, where that is gone, all that are kept; none if it was not made
/// yet. `None` if not all of them can be read. Then the files stay where they are: if nothing refers to them,
/// gc removes them.
fn candidates(store: &Store, now: &Snapshot, number: u64) -> Result<Option<Vec<Arc<Snapshot>>>, JobError> {
    if now.number() < number {
        return Ok(Some(Vec::new()));
    }
    match store.snapshot_at(number) {
        Ok(snapshot) => Ok(Some(vec![snapshot])),
        Err(OpenError::NoSnapshot { .. }) => kept_since(store, now, number),
        Err(e) if e.is_damage() => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// All snapshots from a number on, which went out of the history; `None` if one of them cannot be read.
fn kept_since(store: &Store, now: &Snapshot, number: u64) -> Result<Option<Vec<Arc<Snapshot>>>, JobError> {
    // One that only a reader keeps has no place in the catalog.
    let read = |held: &lease::LeasedSnapshot| (number..now.number()).contains(&held.snapshot);
    if lease::held(store.env())?.iter().any(read) {
        return Ok(None);
    }
    let history = match now.history() {
        Ok(history) => history,
        Err(e) if e.is_damage() => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let mut snapshots = Vec::new();
    for info in history.into_iter().filter(|info| info.number >= number) {
        match store.snapshot_at(info.number) {
            Ok(snapshot) => snapshots.push(snapshot),
            Err(OpenError::NoSnapshot { .. }) => return Ok(None),
            Err(e) if e.is_damage() => return Ok(None),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(Some(snapshots))
}

/// The files of a snapshot that jobs publish.
pub(crate) fn job_files(snapshot: &Snapshot) -> impl Iterator<Item = Uuid> {
    let segments = snapshot.features().iter().flat_map(|f| f.segments.iter()).map(|s| s.uuid);
    let encodings = snapshot.datasets().iter().flat_map(|d| d.encodings.iter());
    segments.chain(encodings.flat_map(|e| e.files.iter()).map(|f| f.uuid))
}

/// Looks at every file of the folder: sealed ones are verified and kept, all others removed.
fn collect(job: &mut Job, keep: bool, cancel: &Cancel) -> Result<(), JobError> {
    let mut unwanted: Vec<String> = Vec::new();
    let names = job.folder.list()?;
    for name in &names {
        // Nothing was removed so far: the next start looks at all of it again.
        if keep {
            cancel.check()?;
        }
        let kept = match Content::of(name) {
            Content::Own => true,
            content @ (Content::Leftover | Content::Stranger) => !job.folder.clears(&content),
            Content::Segment { feature, uuid } => keep && collect_segment(job, name, feature, uuid)?,
            Content::EncodingNote(uuid) => keep && collect_encoding(job, name, uuid)?,
            // Kept or removed with its note.
            Content::Encoding(uuid) => keep && names.contains(&note_name(uuid)),
        };
        if !kept {
            unwanted.push(name.clone());
        }
    }
    for name in unwanted {
        job.folder.remove(&name)?;
        if let Content::EncodingNote(uuid) = Content::of(&name) {
            job.folder.remove(&encoding_name(uuid))?;
        }
        job.discarded.push(name);
    }
    if !keep && !job.discarded.is_empty() {
        // The next note claims the folder's files: after a loss of power these must not be among them again.
        job.folder.sync()?;
    }
    Ok(())
}

/// Whether an error of reading a sealed file may pass, after which the file is there: any of the system, but
/// for that of a bad sector, which would come at each start.
fn may_pass(e: &StorageError) -> bool {
    matches!(e, StorageError::Io { source, .. } if !is_unreadable(source))
}

fn collect_segment(job: &mut Job, name: &str, feature: usize, uuid: Uuid) -> Result<bool, JobError> {
    // A file of a feature that the plan no longer has.
    let Some(work) = job.work.get_mut(feature) else { return Ok(false) };
    let opened = SegmentFile::open_unlisted(job.folder.file(name), uuid);
    let OpenedSegment { file, entry, desc, .. } = match opened {
        Ok(opened) => opened,
        Err(e) if may_pass(&e) => return Err(e.into()),
        Err(_) => return Ok(false),
    };
    if desc != work.feature.desc {
        return Ok(false);
    }
    let rows = match sound_rows(&file) {
        Ok(rows) => rows,
        Err(e) if may_pass(&e) => return Err(e.into()),
        Err(_) => return Ok(false),
    };
    let wanted = work.rows_done().intersection(&rows).is_empty();
    if wanted {
        work.sealed.push(SealedSegment { path: job.folder.path_of(name), entry, rows });
    }
    Ok(wanted)
}

/// The rows of a segment, every byte of which is verified: head, blocks and the checks of rows.
pub(crate) fn sound_rows(file: &SegmentFile) -> Result<RowSet, StorageError> {
    let mut scratch = BlockBuffer::new();
    let mut first = None;
    file.verify(
        &mut scratch,
        |_| {},
        |e, _| {
            first.get_or_insert(e);
        },
    );
    if let Some(e) = first {
        return Err(e);
    }
    file.row_set(&mut scratch)
}

fn collect_encoding(job: &mut Job, name: &str, uuid: Uuid) -> Result<bool, JobError> {
    // A note that is damaged, in a bad sector, or not of this file, says nothing of it: the counts are
    // computed again.
    let note = match job.folder.read::<EncodingNote>(name) {
        Err(e) if may_pass(&e) => return Err(e.into()),
        read => read.ok().flatten(),
    };
    let sealed = note.and_then(SealedEncoding::of_note).filter(|sealed| sealed.file.uuid == uuid);
    let Some(sealed) = sealed else { return Ok(false) };
    // A row that had no counts may be live again, by a revert.
    let live = job.base.live_rows(job.base.dataset(&sealed.dataset)?)?;
    if !sealed.filled.intersection(&live).is_empty() {
        return Ok(false);
    }
    // Another job may have published the same counts meanwhile.
    if job.encoding_rows_done(&sealed.dataset, &sealed.spec.key()).covers(sealed.file.range()) {
        return Ok(false);
    }
    let mut first = None;
    TableFile::new(job.folder.file(&encoding_name(uuid)), &sealed.file).verify(
        |_| {},
        |e| {
            first.get_or_insert(e);
        },
    );
    match first {
        Some(e) if may_pass(&e) => Err(e.into()),
        Some(_) => Ok(false),
        None => {
            job.encodings.push(sealed);
            Ok(true)
        }
    }
}
