//! Steps of the workload: the effect of each on a store, and on the model.

use super::content::*;
use super::ensemble;
use super::index;
use super::life;
use super::state::{COLUMNS, State, read_batch};
use crate::Failure;
use gstore_store::vfs::Vfs;
use gstore_store::*;
use serde_json::{Map, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Creates the store.
    Create,
    /// Adds samples, given as id and version, to a dataset.
    Append {
        /// The dataset.
        dataset: String,
        /// Ids and versions.
        samples: Vec<(u64, u32)>,
        /// What happens to changed samples.
        changed: IfChanged,
        /// Whether deleted samples are added again.
        restore: bool,
    },
    /// Computes features in windows, publishes them, adds checkpoints to a run, and builds indexes.
    Job {
        /// The features, all of one dataset.
        features: Vec<usize>,
        /// Rows from here on are left out.
        upto: u64,
        /// Rows per window.
        window: u64,
        /// Stops, without publishing, after this many windows.
        stop: Option<u64>,
        /// A checkpoint of the run.
        checkpoint: Option<u8>,
    },
    /// Deletes rows; with `purge`, without a trace.
    Delete {
        /// The dataset.
        dataset: String,
        /// The rows.
        rows: Vec<u64>,
        /// Whether no trace of them may be left.
        purge: bool,
    },
    /// Drops a feature.
    DropFeature(usize),
    /// Drops a dataset with its features.
    DropDataset(String),
    /// Drops the run.
    DropRun,
    /// Registers the members of the ensemble up to an index.
    Members(usize),
    /// Computes the losses of a member, and the missing ones of theta_0.
    Losses(usize),
    /// Drops the ensemble.
    DropEnsemble,
    /// Publishes an artifact, replacing one with the same name.
    Artifact {
        /// Its name.
        name: String,
        /// Its content.
        content: u32,
    },
    /// Drops an artifact.
    DropArtifact(String),
    /// Saves a view, replacing one with the same name.
    View {
        /// Its name.
        name: String,
        /// Its statement.
        sql: String,
    },
    /// Removes a view.
    DropView(String),
    /// Merges files up to a size in bytes.
    Compact {
        /// The size.
        target: u64,
    },
    /// Collects what is not needed.
    Collect {
        /// Snapshots that are kept.
        keep: u64,
    },
    /// Tags the current snapshot.
    Tag(String),
    /// Removes a tag.
    Untag(String),
    /// Reverts to a tag.
    Revert(String),
}

/// Where the steps are run.
#[derive(Debug, Clone)]
pub struct Context {
    /// The file system.
    pub vfs: Arc<dyn Vfs>,
    /// The store's folder.
    pub path: PathBuf,
    store: Option<Store>,
}

impl Context {
    /// A store on a file system; it is opened by the first step.
    pub fn new(vfs: Arc<dyn Vfs>, path: &Path) -> Self {
        Context { vfs, path: path.to_owned(), store: None }
    }

    /// The store, opened once.
    pub fn store(&mut self) -> Result<&Store, Failure> {
        if self.store.is_none() {
            self.store = Some(Store::open_on(Arc::clone(&self.vfs), &self.path)?);
        }
        self.store.as_ref().ok_or_else(|| "no store".into())
    }

    fn create(&mut self) -> Result<(), Failure> {
        match Store::create_on(Arc::clone(&self.vfs), &self.path) {
            Ok(store) => self.store = Some(store),
            Err(CreateError::Exists(_)) => {
                self.store()?;
            }
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }
}

impl Step {
    /// A word for its kind.
    pub fn name(&self) -> &'static str {
        match self {
            Step::Create => "create",
            Step::Append { .. } => "append",
            Step::Job { stop: Some(_), .. } => "interrupted job",
            Step::Job { .. } => "job",
            Step::Delete { purge: true, .. } => "purge",
            Step::Delete { .. } => "delete",
            Step::DropFeature(_) => "drop feature",
            Step::DropDataset(_) => "drop dataset",
            Step::DropRun => "drop run",
            Step::Members(_) => "members",
            Step::Losses(_) => "losses",
            Step::DropEnsemble => "drop ensemble",
            Step::Artifact { .. } => "artifact",
            Step::DropArtifact(_) => "drop artifact",
            Step::View { .. } => "view",
            Step::DropView(_) => "drop view",
            Step::Compact { .. } => "compact",
            Step::Collect { .. } => "collect",
            Step::Tag(_) => "tag",
            Step::Untag(_) => "untag",
            Step::Revert(_) => "revert",
        }
    }

    /// Runs it.
    pub fn run(&self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Step::Create => context.create(),
            other => other.run_in(context.store()?),
        }
    }

    /// Runs it in a store that is there.
    pub(crate) fn run_in(&self, store: &Store) -> Result<(), Failure> {
        match self {
            Step::Append { dataset, samples, changed, restore } => {
                append(start_append(store, dataset, *changed, *restore)?, samples)
            }
            Step::Job { features, upto, window, stop, checkpoint } => {
                job(store, features, *upto, *window, *stop, *checkpoint)
            }
            Step::Members(members) => ensemble::register(store, *members),
            Step::Losses(member) => ensemble::losses(store, *member),
            other => life::run(other, store),
        }
    }

    /// Applies it to the model.
    pub fn apply(&self, state: &mut State) {
        match self {
            Step::Create => {}
            Step::Append { dataset, samples, changed, restore } => {
                apply_append(state, dataset, samples, *changed, *restore);
            }
            Step::Job { stop: Some(_), .. } => {}
            Step::Job { features, upto, checkpoint, .. } => apply_job(state, features, *upto, *checkpoint),
            Step::Members(members) => ensemble::apply_members(state, *members),
            Step::Losses(member) => ensemble::apply_losses(state, *member, u64::MAX),
            other => life::apply(other, state),
        }
    }
}

/// Starts an append to a dataset.
pub(crate) fn start_append(
    store: &Store,
    dataset: &str,
    if_changed: IfChanged,
    restore: bool,
) -> Result<SampleAppend, Failure> {
    let name = DatasetName::try_from(dataset).map_err(|e| e.to_string())?;
    let if_deleted = if restore { IfDeleted::Restore } else { IfDeleted::LeaveOut };
    let (command, source) = (format!("append {dataset}"), Some("a.jsonl".into()));
    let options = AppendOptions { command, if_changed, if_deleted, source };
    Ok(store.append(&name, columns(), options)?)
}

/// Adds samples, given as id and version, and publishes them.
pub(crate) fn append(mut append: SampleAppend, samples: &[(u64, u32)]) -> Result<(), Failure> {
    for (id, version) in samples {
        let (subtask, n) = metadata_of(*id, *version);
        let record = record_of(*id, *version);
        let metadata = vec![MetaValue::Text(subtask), MetaValue::Int(n)];
        append.push(NewSample { id: &id_of(*id), record: Some(&record), metadata })?;
    }
    append.finish()?;
    Ok(())
}

fn apply_append(state: &mut State, dataset: &str, samples: &[(u64, u32)], changed: IfChanged, restore: bool) {
    if samples.is_empty() {
        return;
    }
    let mut dead = Vec::new();
    state.number(dataset);
    let part = state.datasets.entry(dataset.to_owned()).or_default();
    let before = part.next_row;
    let deleted = state.deleted.entry(dataset.to_owned()).or_default();
    for (id, version) in samples {
        let name = id_of(*id);
        let content = sample_digest(&record_of(*id, *version), &metadata_of(*id, *version));
        let known =
            part.rows.iter().find(|(_, (other, _))| *other == name).map(|(row, (_, old))| (*row, *old));
        match (known, changed) {
            (Some((_, old)), IfChanged::Replace) if old == content => continue,
            (Some((row, _)), IfChanged::Replace) => dead.push(row),
            (Some(_), IfChanged::Refuse | IfChanged::Keep) => continue,
            (None, _) if deleted.contains(&name) && !restore => continue,
            (None, _) => {}
        }
        deleted.remove(&name);
        if let Some((row, _)) = known {
            part.rows.remove(&row);
        }
        part.rows.insert(part.next_row, (name, content));
        part.next_row += 1;
    }
    let is_changed = part.next_row > before;
    life::bury(state, dataset, &dead);
    if is_changed {
        state.touch(dataset);
    }
}

pub(super) fn plan(features: &[usize]) -> Result<JobPlan, Failure> {
    let features: Vec<JobFeature> = features.iter().map(|i| feature(*i)).collect::<Result<_, _>>()?;
    let keys: Vec<String> = features.iter().map(|f| f.desc.key()).collect();
    Ok(JobPlan {
        command: "ingest".into(),
        identity: json!({ "features": keys }),
        features,
        detail: json!({}),
    })
}

fn job(
    store: &Store,
    features: &[usize],
    upto: u64,
    window: u64,
    stop: Option<u64>,
    checkpoint: Option<u8>,
) -> Result<(), Failure> {
    let dataset = features.first().and_then(|i| FEATURES.get(*i)).ok_or("a job without features")?.dataset;
    // Held while its samples are read: a job takes time, and gc may run meanwhile.
    let (snapshot, _lease) = store.snapshot_leased(None, "ingest")?;
    let mut job = store.start_job(plan(features)?)?;
    let contents = contents(&snapshot, dataset, upto)?;
    let live = RowSet::from_rows(contents.keys().copied());
    let end = live.ranges().last().map_or(0, |r| r.end);
    let mut done = 0;
    for start in (0..end).step_by(window.max(1) as usize) {
        let rows = live.intersection(&RowSet::from_range(start..start + window));
        if !compute(&mut job, features, dataset, &rows, &contents)? {
            continue;
        }
        done += 1;
        if stop.is_some_and(|stop| done >= stop) {
            break;
        }
    }
    if stop.is_some() {
        return Ok(());
    }
    let run = checkpoint.map(run_update).transpose()?;
    job.publish(run, true)?;
    let labels: Vec<String> = features.iter().map(|i| label(*i)).collect();
    index::build(store, |part| labels.contains(&part.attrs.label))
}

/// The content of every live row, as a job reads it before it computes anything.
pub(super) fn contents(snapshot: &Snapshot, dataset: &str, upto: u64) -> Result<BTreeMap<u64, u64>, Failure> {
    let mut rows = BTreeMap::new();
    let reader = snapshot.samples(snapshot.dataset(dataset)?)?;
    for batch in reader.scan(&COLUMNS, Some(0..upto)) {
        read_batch(&batch?, &mut rows)?;
    }
    Ok(rows.into_iter().map(|(row, (_, content))| (row, content)).collect())
}

/// Computes and seals the missing rows of a window; `false` if there were none.
pub(super) fn compute(
    job: &mut Job,
    features: &[usize],
    dataset: &str,
    rows: &RowSet,
    contents: &BTreeMap<u64, u64>,
) -> Result<bool, Failure> {
    let content = |row: u64| contents.get(&row).copied().unwrap_or_default();
    let mut worked = false;
    let counted = job.encoding_rows_done(dataset, &encoding().key());
    for range in rows.difference(&counted).ranges() {
        let mut writer = job.encoding_writer(dataset, encoding(), "tulu")?;
        for row in range.clone() {
            writer.push(count_of(row, content(row)))?;
        }
        job.seal_encoding(writer)?;
        worked = true;
    }
    for (i, feature) in features.iter().enumerate() {
        let missing = rows.difference(&job.rows_done(i));
        if missing.is_empty() {
            continue;
        }
        let mut writer = job.segment_writer(i)?;
        for row in missing.iter() {
            for (pos, vector) in vectors(*feature, content(row)) {
                match pos {
                    Some(pos) => writer.push_token((row, pos), &vector, flags(content(row)))?,
                    None => writer.push(row, &vector, flags(content(row)))?,
                }
            }
        }
        job.seal(i, writer)?;
        worked = true;
    }
    Ok(worked)
}

pub(super) fn run_update(n: u8) -> Result<RunUpdate, Failure> {
    let checkpoint = RunCheckpoint {
        name: format!("checkpoint-{n}"),
        step: Some(u64::from(n)),
        weight: Some(2e-5),
        checkpoint: checkpoint(n)?,
        base: "tiny-llama".into(),
        provenance: Map::new(),
        extra: Extra::new(),
    };
    Ok(RunUpdate { name: "warmup".into(), checkpoints: vec![checkpoint], replace_weights: true })
}

pub(super) fn apply_job(state: &mut State, features: &[usize], upto: u64, checkpoint: Option<u8>) {
    for i in features {
        let Some(def) = FEATURES.get(*i) else { continue };
        state.touch(def.dataset);
        let Some(part) = state.datasets.get_mut(def.dataset) else { continue };
        let rows: Vec<(u64, u64)> =
            part.rows.range(..upto).map(|(row, (_, content))| (*row, *content)).collect();
        for (row, content) in &rows {
            part.counts.insert(*row, count_digest(&count_of(*row, *content)));
        }
        if rows.is_empty() && !state.features.contains_key(&label(*i)) {
            continue;
        }
        let feature = state.features.entry(label(*i)).or_default();
        (feature.dataset, feature.complete) = (def.dataset.to_owned(), true);
        for (row, content) in rows {
            let digest = |(pos, vector): (_, Vec<f32>)| vector_digest(pos, &vector, flags(content).bits());
            feature.rows.insert(row, vectors(*i, content).into_iter().map(digest).collect());
        }
    }
    if let Some(n) = checkpoint {
        let run = state.runs.entry("warmup".to_owned()).or_default();
        let entry = (format!("checkpoint-{n}"), Some(u64::from(n)));
        if !run.contains(&entry) {
            run.push(entry);
        }
        run.sort_by_key(|(_, step)| *step);
    }
}
