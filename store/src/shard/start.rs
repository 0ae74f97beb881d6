//! Computing a shard: a job in a separate folder that never writes the store.

use super::receipt::{Receipt, ReceiptEncoding, ReceiptFile};
use super::samples;
use super::split::split_rows;
use crate::error::{LookupError, ShardError, is_medium};
use crate::job::{
    Content, EQUAL_ROWS, JOB, Job, JobFeature, JobFile, JobFolder, JobPlan, LIMIT, RECEIPT, SAMPLES,
    ShardIndex, ShardNote, check_plan, read_json, take_over,
};
use crate::layout::{Env, HELD_LOCK};
use crate::manifest::{Extra, RunUpdate, VERSION};
use crate::store::{Snapshot, Store};
use crate::vfs::{if_there, resolve};
use gstore_core::{Cancel, RowSet, canonical_json, xxh3_hex};
use serde_json::json;
use std::ops::{Deref, DerefMut, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which part of the work a shard is, and where it goes.
#[derive(Debug, Clone)]
pub struct ShardPlan {
    snapshot: Arc<Snapshot>,
    note: ShardNote,
    split: Vec<Range<u64>>,
    rows: RowSet,
    out: PathBuf,
}

impl ShardPlan {
    /// Shard `shard` of a dataset of a snapshot, to be computed in the folder `out`.
    ///
    /// # Errors
    /// A dataset that the snapshot lacks.
    pub fn new(
        snapshot: Arc<Snapshot>,
        dataset: &str,
        shard: ShardIndex,
        out: impl Into<PathBuf>,
    ) -> Result<Self, ShardError> {
        let part = snapshot.dataset(dataset)?;
        let live = snapshot.live_rows(part)?;
        let split = split_rows(&live, shard.count());
        // There is a part for each of the shards.
        let own = split.get(shard.place()).cloned().unwrap_or_default();
        let info = snapshot.info();
        let note = ShardNote {
            store: info.store,
            snapshot: info.number,
            root: info.digest.to_string(),
            dataset: part.name.clone(),
            dataset_number: part.number,
            next_row: part.next_row,
            shard,
            cut: EQUAL_ROWS.into(),
        };
        Ok(ShardPlan {
            rows: live.intersection(&RowSet::from_range(own)),
            note,
            split,
            out: out.into(),
            snapshot,
        })
    }

    /// The rows it takes, whether or not the snapshot has features of them.
    pub fn rows(&self) -> &RowSet {
        &self.rows
    }

    /// Which shard it is.
    pub fn shard(&self) -> ShardIndex {
        self.note.shard
    }

    /// The snapshot whose rows were split.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// How many of the shards have rows: all, unless there are fewer rows than shards.
    pub fn shards_with_rows(&self) -> u32 {
        self.split.iter().filter(|part| !part.is_empty()).count() as u32
    }

    /// Its folder.
    pub fn out(&self) -> &Path {
        &self.out
    }

    fn shown(&self) -> String {
        self.out.display().to_string()
    }
}

/// The work of a shard.
#[derive(Debug)]
pub enum ShardStart {
    /// Nothing: an earlier process finished it, and every file is as it left it.
    Finished(Box<Receipt>),
    /// This job.
    Job(Box<ShardJob>),
}

/// A shard at work. A [`Job`] in all but one thing: it ends with a receipt instead of being published.
/// Dropped before that, its sealed files wait for the next start.
#[derive(Debug)]
pub struct ShardJob {
    job: Job,
    plan: ShardPlan,
    /// Which samples its rows are: looked at first, because they may be compacted away before
    /// the shard is finished.
    samples: Vec<u8>,
}

impl Deref for ShardJob {
    type Target = Job;

    fn deref(&self) -> &Job {
        &self.job
    }
}

impl DerefMut for ShardJob {
    fn deref_mut(&mut self) -> &mut Job {
        &mut self.job
    }
}

/// The file of the job in the folder of a shard, if it has one yet.
pub(super) fn job_file(store: &Store, out: &Path) -> Result<Option<JobFile>, ShardError> {
    let path = out.join(JOB);
    match read_json(store.env().vfs(), &path, &path.display().to_string()) {
        Ok(file) => Ok(file),
        Err(e) if e.is_damage() => {
            Err(ShardError::Note { path: out.display().to_string(), detail: e.to_string() })
        }
        Err(e) => Err(e.into()),
    }
}

/// Starts a shard or goes on with it.
pub(crate) fn start(
    store: Store,
    plan: JobPlan,
    shard: ShardPlan,
    cancel: &Cancel,
) -> Result<ShardStart, ShardError> {
    check_plan(&shard.snapshot, &plan)?;
    if let Some(f) = plan.features.iter().find(|f| f.desc.dataset != shard.note.dataset) {
        return Err(LookupError::Unknown {
            what: "dataset of the shard",
            name: f.desc.dataset.clone(),
            nearest: None,
            known: vec![shard.note.dataset.clone()],
        }
        .into());
    }
    check_place(&store, &shard)?;
    let Some(folder) = JobFolder::take_outside(store.env(), &shard.out)? else {
        let pid = job_file(&store, &shard.out).ok().flatten().map_or(0, |f| f.pid);
        return Err(ShardError::Busy { path: shard.shown(), pid });
    };
    let before = job_file(&store, &shard.out)?;
    if let Some(file) = &before {
        check_same(file, &plan, &shard)?;
    }
    let mut file = JobFile::new(&plan, &shard.snapshot);
    file.shard = Some(shard.note.clone());
    folder.write(JOB, &file)?;
    let base = Arc::clone(&shard.snapshot);
    let job = take_over(store, folder, shard.shown(), plan, base, before.is_some(), cancel)?;
    match finished(&job, &shard)? {
        Some(receipt) => Ok(ShardStart::Finished(Box::new(receipt))),
        None => {
            let dataset = shard.snapshot.dataset(&shard.note.dataset)?;
            let samples = samples::of_rows(&shard.snapshot, dataset, &shard.rows)?;
            Ok(ShardStart::Job(Box::new(ShardJob { job, plan: shard, samples })))
        }
    }
}

/// The folder is missing, empty, or that of a shard, and not in the store.
fn check_place(store: &Store, shard: &ShardPlan) -> Result<(), ShardError> {
    if resolve(&shard.out).starts_with(resolve(store.path())) {
        return Err(ShardError::InsideStore { path: shard.shown() });
    }
    let names = if_there(store.env().vfs().list(&shard.out)).map_err(Env::io("list", &shard.shown()))?;
    let Some(names) = names else { return Ok(()) };
    if names.iter().any(|n| n == JOB) {
        return Ok(());
    }
    // Before `job.json` there is nothing but the lock and what a start that was cut short leaves of that
    // file.
    let early = |n: &String| n == HELD_LOCK || Content::of(n) == Content::Leftover;
    match names.into_iter().find(|n| !early(n)) {
        Some(found) => Err(ShardError::NotEmpty { path: shard.shown(), found }),
        None => Ok(()),
    }
}

/// The folder is that of the same shard of the same work.
fn check_same(file: &JobFile, plan: &JobPlan, shard: &ShardPlan) -> Result<(), ShardError> {
    let other = |what, wanted, found| Err(ShardError::Other { path: shard.shown(), what, wanted, found });
    let Some(note) = &file.shard else {
        return other("its kind", "a shard".into(), "a job".into());
    };
    if let Some((what, wanted, found)) = shard.note.difference(note) {
        return other(what, wanted, found);
    }
    if let Some((wanted, found)) = other_features(&plan.features, &file.features) {
        return other("the list of features", wanted, found);
    }
    let (wanted, found) = (canonical_json(&plan.identity), canonical_json(&file.identity));
    if wanted != found { other("the work", wanted, found) } else { Ok(()) }
}

/// How two lists of features differ: by their labels, or else by what is not the same in the first of each
/// that differ.
fn other_features(wanted: &[JobFeature], found: &[JobFeature]) -> Option<(String, String)> {
    let pair = wanted.iter().zip(found).find(|(wanted, found)| wanted.desc != found.desc);
    if pair.is_none() && wanted.len() == found.len() {
        return None;
    }
    let labels = |features: &[JobFeature]| -> Vec<String> {
        features.iter().map(|feature| feature.attrs.label.clone()).collect()
    };
    let (wanted_labels, found_labels) = (labels(wanted), labels(found));
    let Some((wanted, found)) = pair.filter(|_| wanted_labels == found_labels) else {
        return Some((wanted_labels.join(", "), found_labels.join(", ")));
    };
    let differing = |of: &JobFeature, from: &JobFeature| {
        let (mut own, other) = (json!(of.desc), json!(from.desc));
        if let Some(own) = own.as_object_mut() {
            own.retain(|key, value| other.get(key) != Some(value));
        }
        format!("{} {}", of.attrs.label, canonical_json(&own))
    };
    Some((differing(wanted, found), differing(found, wanted)))
}

/// The receipt, if there is one and every file it speaks of is there and sound. Otherwise it goes, and the
/// shard is unfinished again.
fn finished(job: &Job, shard: &ShardPlan) -> Result<Option<Receipt>, ShardError> {
    let vfs = job.store.env().vfs();
    let bytes = if_there(vfs.read(&shard.out.join(RECEIPT), LIMIT));
    let Some(bytes) = bytes.map_err(Env::io("read the receipt of", &shard.shown()))? else { return Ok(None) };
    let receipt = Receipt::parse(&bytes).ok().filter(|r| r.note == shard.note);
    let sound = |file: &ReceiptFile| match file {
        ReceiptFile::Segment { feature, entry, .. } => {
            job.work.get(*feature).is_some_and(|work| work.sealed.iter().any(|s| s.entry == *entry))
        }
        ReceiptFile::Encoding { entry, .. } => job.encodings.iter().any(|e| e.file == *entry),
    };
    match receipt.filter(|r| r.files.iter().all(sound)) {
        Some(receipt) if has_samples(job, shard, &receipt)? => Ok(Some(receipt)),
        _ => {
            job.folder.remove(RECEIPT)?;
            job.folder.sync()?;
            Ok(None)
        }
    }
}

/// Whether `samples.xxh3` is what a receipt says.
fn has_samples(job: &Job, shard: &ShardPlan, receipt: &Receipt) -> Result<bool, ShardError> {
    // One of another length is not that of the receipt, and a long one is not read.
    let len = samples::file_len(&receipt.row_set());
    match job.store.env().vfs().read(&shard.out.join(SAMPLES), len) {
        Ok(bytes) => Ok(xxh3_hex(&bytes) == receipt.samples),
        Err(e) if is_medium(&e) => Ok(false),
        // It may pass, and then the shard is finished.
        Err(e) => Err(Env::io("read the samples of", &shard.shown())(e).into()),
    }
}

impl ShardJob {
    /// Which part of the work it is.
    pub fn plan(&self) -> &ShardPlan {
        &self.plan
    }

    /// Removes the shard with all its files.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn abandon(self) -> Result<(), ShardError> {
        Ok(self.job.abandon()?)
    }

    /// Writes the receipt: from now on the shard can be attached.
    ///
    /// # Errors
    /// Rows of the shard that a feature still lacks; a file that cannot be written.
    pub fn finish(self, run: Option<RunUpdate>) -> Result<Receipt, ShardError> {
        let ShardJob { job, plan, samples } = self;
        let mut files = Vec::new();
        for (i, work) in job.work.iter().enumerate() {
            let rows = plan.rows.difference(&work.rows_done());
            if !rows.is_empty() {
                let feature = work.feature.name();
                return Err(ShardError::Incomplete { path: plan.shown(), feature, rows });
            }
            files.extend(work.sealed.iter().map(|s| ReceiptFile::Segment {
                name: work.name_of(s.uuid()),
                feature: i,
                rows: s.rows.pairs(),
                entry: s.entry.clone(),
            }));
        }
        let encodings = add_encodings(&job, &mut files);
        let receipt = Receipt {
            version: VERSION,
            requires: Vec::new(),
            note: plan.note.clone(),
            split: plan.split.iter().map(|r| [r.start, r.end]).collect(),
            rows: plan.rows.pairs(),
            command: job.command.clone(),
            identity: job.identity.clone(),
            features: job.features().into_iter().cloned().collect(),
            encodings,
            run,
            files,
            samples: xxh3_hex(&samples),
            extra: Extra::new(),
            digest: String::new(),
        };
        let bad =
            |e: crate::error::ReceiptError| ShardError::Receipt { path: plan.shown(), detail: e.to_string() };
        let (receipt, text) = receipt.sealed().map_err(bad)?;
        job.folder.write_bytes(SAMPLES, &samples)?;
        job.folder.write_bytes(RECEIPT, &text)?;
        Ok(receipt)
    }
}

/// Adds the files of token counts; returns their encodings.
fn add_encodings(job: &Job, files: &mut Vec<ReceiptFile>) -> Vec<ReceiptEncoding> {
    let mut encodings: Vec<ReceiptEncoding> = Vec::new();
    for sealed in &job.encodings {
        let (key, spec, label) = (sealed.spec.key(), sealed.spec.clone(), sealed.label.clone());
        let encoding = encodings.iter().position(|known| known.key == key).unwrap_or_else(|| {
            encodings.push(ReceiptEncoding { key, spec, label });
            encodings.len() - 1
        });
        let name = crate::job::encoding_name(sealed.file.uuid);
        files.push(ReceiptFile::Encoding { name, encoding, entry: sealed.file.clone() });
    }
    encodings
}
