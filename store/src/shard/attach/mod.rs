//! Attaching shards: their files are copied into a job, verified there, and published in one commit.
//!
//! Order
//! 1. every receipt is read and compared with the store and with the others; nothing was written yet
//! 2. a job claims the features, as an ingest does; its identity is the digests of the receipts. Rows that
//!    are other samples than they were for the shard are refused
//! 3. each file is copied into the job's folder and every byte of the copy verified
//! 4. the job is published
//!
//! A crash before the commit leaves a job: the same command goes on with it, and `gc` removes it. An
//! error removes the job.

mod checks;
mod choose;
mod copy;
mod fit;
mod read;
mod report;

pub use report::{AttachProgress, AttachReport, AttachedFeature, AttachedShard, ShardOutcome};

use crate::error::AttachError;
use crate::job::{Completion, Finish, Job, JobPlan, KnownCheckpoint, PublishOutcome, run_part};
use crate::manifest::FeatureState;
use crate::store::{Snapshot, Store};
use choose::Choice;
use read::Shard;
use serde_json::json;
use std::path::PathBuf;

/// How to attach.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// The command, for the history.
    pub command: String,
    /// Only say what would happen. The files of the shards are not read then, but for rows
    /// that the store has too.
    pub dry_run: bool,
}

pub(crate) fn attach(
    store: &Store,
    folders: &[PathBuf],
    options: &AttachOptions,
    progress: &mut dyn FnMut(AttachProgress),
) -> Result<AttachReport, AttachError> {
    let (shards, doubles) = read::shards(store, folders)?;
    let snapshot = store.snapshot()?;
    fit::check(&snapshot, &shards)?;
    let choice = choose::choose(store, &snapshot, &shards)?;
    let plan = plan(&shards, &options.command);
    let mut report = report::begin(&shards, doubles, &choice);
    if options.dry_run || !is_needed(&snapshot, &shards, &choice)? {
        report.dry_run = options.dry_run;
        check_samples(store, &snapshot, &shards, &choice)?;
        report::features(&mut report, &snapshot, &shards, &choice)?;
        if !options.dry_run {
            clear(store, plan);
        }
        return Ok(report);
    }
    let mut job = store.start_job(plan.clone())?;
    let done = copy_all(&mut job, &shards, progress);
    let choice = match done {
        Ok(done) => done,
        Err(e) => {
            // The store never had these files, and the shards still do.
            let _ = job.abandon();
            return Err(e);
        }
    };
    report = report::begin(&shards, std::mem::take(&mut report.notes), &choice);
    if !is_needed(job.snapshot(), &shards, &choice)? {
        // Another process attached them meanwhile.
        let snapshot = job.snapshot().clone();
        job.abandon()?;
        report::features(&mut report, &snapshot, &shards, &choice)?;
        return Ok(report);
    }
    let finish = finish(&shards, &choice, &job);
    let published = job.publish_as(finish).inspect_err(|e| {
        if !e.is_unclear() {
            clear(store, plan);
        }
    })?;
    // Another process may have published the same meanwhile; that snapshot is its own.
    if let PublishOutcome::New(now) = &published {
        report.snapshot = Some(now.number());
    }
    // All is in the store by now, whatever can be said of it.
    if let Err(e) = report::features(&mut report, published.snapshot(), &shards, &choice) {
        report.notes.push(format!(
            "the files are in the store, but what its features have now could not be counted: {e}; the same attach counts it"
        ));
    }
    Ok(report)
}

/// Removes what is left of a job: of one that failed, or that was killed after its commit. It is taken over
/// first, which settles the state of its files. Best effort: a leftover does no harm, and `gc` removes it.
fn clear(store: &Store, plan: JobPlan) {
    if store.env().exists(&format!("tmp/{}", plan.id())).unwrap_or(false)
        && let Ok(job) = store.start_job(plan)
    {
        let _ = job.abandon();
    }
}

/// The job of some shards: the same for the same receipts, in whatever order they are named.
fn plan(shards: &[Shard], command: &str) -> JobPlan {
    let mut digests: Vec<&str> = shards.iter().map(|s| s.receipt.digest.as_str()).collect();
    digests.sort_unstable();
    let mut features: Vec<crate::job::JobFeature> = Vec::new();
    for f in shards.iter().flat_map(|s| &s.receipt.features) {
        if !features.iter().any(|known| known.desc == f.desc) {
            features.push(f.clone());
        }
    }
    let folders: Vec<&str> = shards.iter().map(|s| s.shown.as_str()).collect();
    JobPlan {
        command: command.to_owned(),
        identity: json!({ "attach": digests }),
        features,
        detail: json!({ "folders": folders }),
    }
}

/// Chooses again, now that no other process writes these features, and copies what was chosen.
fn copy_all(
    job: &mut Job,
    shards: &[Shard],
    progress: &mut dyn FnMut(AttachProgress),
) -> Result<Choice, AttachError> {
    let base = job.snapshot().clone();
    fit::check(&base, shards)?;
    let choice = choose::choose(&job.store, &base, shards)?;
    check_samples(&job.store, &base, shards, &choice)?;
    copy::copy(job, shards, &choice, progress)?;
    Ok(choice)
}

/// The shards that bring something are of the samples that the snapshot has.
fn check_samples(
    store: &Store,
    snapshot: &Snapshot,
    shards: &[Shard],
    choice: &Choice,
) -> Result<(), AttachError> {
    let brings = |s: &&Shard| s.receipt.files.iter().any(|f| choice.has(f));
    shards.iter().filter(brings).try_for_each(|s| fit::check_samples(store, snapshot, s))
}

/// Whether there is anything to publish: a file, a checkpoint, or a feature that has all rows by now.
fn is_needed(snapshot: &Snapshot, shards: &[Shard], choice: &Choice) -> Result<bool, AttachError> {
    if !choice.is_empty() {
        return Ok(true);
    }
    for update in shards.iter().filter_map(|s| s.receipt.run.as_ref()) {
        let mut next = snapshot.root().next.clone();
        if run_part(snapshot, None, update, KnownCheckpoint::Kept, &mut next)?.is_some() {
            return Ok(true);
        }
    }
    for f in shards.iter().flat_map(|s| &s.receipt.features) {
        if let Some(part) = snapshot.feature_by_key(&f.desc.key())
            && part.state == FeatureState::Building
            && choose::missing(snapshot, f, choice)?.is_empty()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn finish(shards: &[Shard], choice: &Choice, job: &Job) -> Finish<'static> {
    let mut runs = Vec::new();
    for update in shards.iter().filter_map(|s| s.receipt.run.as_ref()) {
        if !runs.contains(update) {
            runs.push(update.clone());
        }
    }
    let keys = job.features().into_iter().map(|f| f.desc.key());
    let receipts = keys.map(|key| (key.clone(), choice.receipts_of(&key, shards))).collect();
    Finish { runs, receipts, completion: Completion::WithAllRows, ..Finish::default() }
}
