//! Commands of the pairs: arguments, execution as a front end does it, and expected outcome.

use crate::sim::path;
use crate::work::content::{id_of, label};
use crate::work::ensemble::{self, ENSEMBLE};
use crate::work::{State, Step, append, shard, start_append};
use crate::{Failure, Random};
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use gstore_store::*;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// The store's tag.
pub(super) const KEPT: &str = "kept";

/// The tag that a command creates.
const NEW: &str = "new";

/// Versions of samples that `replace` adds.
const VERSION: u32 = 9;

/// Versions of the samples of the dataset that takes over the name.
const OTHER: u32 = 7;

/// The feature of the shard.
const ATTACHED: usize = 1;

/// The artifact and the view of the store.
pub(super) const NAMED: &str = "named";

/// The new statement of the view.
const STATEMENT: &str = "SELECT 9";

/// The member whose losses are computed, and the members that are registered.
const MEMBER: usize = 1;
const MEMBERS: usize = 3;

/// Something that a command refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thing {
    Dataset,
    Feature,
    Run,
    Ensemble,
    Artifact,
    View,
    /// The store's tag.
    Tag,
    /// The snapshot that the tag points to.
    Tagged,
    /// The snapshot that is current before both commands.
    Snapshot,
}

/// A command, in the words of its user. Commands about a dataset mean "pool", except `Add`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Deletes rows by their ids.
    Delete(Vec<u64>),
    /// Deletes the rows whose ids are in the dataset "side".
    DeleteWhere,
    /// Purges rows by their ids.
    Purge(Vec<u64>),
    /// Adds samples, replacing those with the same ids.
    Replace(Vec<u64>),
    /// Adds samples to "side".
    Add(Vec<u64>),
    /// Drops the dataset.
    DropDataset,
    /// Drops the dataset and creates one with other samples under its name.
    Remake,
    /// Drops a feature.
    DropFeature,
    /// Drops the run.
    DropRun,
    /// Merges all files.
    Compact,
    /// Attaches a shard.
    Attach,
    /// Tags the current snapshot.
    Tag,
    /// Removes the store's tag.
    Untag,
    /// Registers more members of the ensemble.
    Members,
    /// Computes the losses of a member.
    Losses,
    /// Drops the ensemble.
    DropEnsemble,
    /// Publishes an artifact in place of the store's.
    Artifact,
    /// Drops the artifact.
    DropArtifact,
    /// Saves a view in place of the store's.
    View,
    /// Removes the view.
    DropView,
    /// Reverts to the store's tag.
    Revert,
}

/// Outcome of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it was told.
    Done,
    /// What it was told about no longer exists.
    Gone,
    /// Another process is doing work that it would disturb.
    Busy,
}

impl Command {
    /// One command of each kind, on some of the ids.
    pub(super) fn all(live: &[u64], random: &mut Random) -> Vec<Command> {
        let mut some = || random.some(live, 30);
        vec![
            Command::Delete(some()),
            Command::DeleteWhere,
            Command::Purge(some()),
            Command::Replace(some().into_iter().chain([500, 501]).collect()),
            Command::Add(some()),
            Command::DropDataset,
            Command::Remake,
            Command::DropFeature,
            Command::DropRun,
            Command::Compact,
            Command::Attach,
            Command::Tag,
            Command::Untag,
            Command::Members,
            Command::Losses,
            Command::DropEnsemble,
            Command::Artifact,
            Command::DropArtifact,
            Command::View,
            Command::DropView,
            Command::Revert,
        ]
    }

    /// What must exist when it commits.
    pub(super) fn needs(&self) -> Option<Thing> {
        match self {
            Command::DropFeature => Some(Thing::Feature),
            Command::DropRun => Some(Thing::Run),
            Command::Tag => Some(Thing::Snapshot),
            Command::Untag => Some(Thing::Tag),
            Command::DropEnsemble => Some(Thing::Ensemble),
            Command::Artifact | Command::DropArtifact => Some(Thing::Artifact),
            Command::DropView => Some(Thing::View),
            Command::Revert => Some(Thing::Tagged),
            Command::Add(_) | Command::Compact => None,
            Command::Members | Command::Losses | Command::View => None,
            _ => Some(Thing::Dataset),
        }
    }

    /// What it removes.
    pub(super) fn removes(&self) -> &'static [Thing] {
        match self {
            Command::DropDataset | Command::Remake => &[Thing::Dataset, Thing::Feature],
            Command::DropFeature => &[Thing::Feature],
            Command::DropRun => &[Thing::Run],
            Command::Purge(_) => &[Thing::Snapshot, Thing::Tag, Thing::Tagged],
            Command::Untag => &[Thing::Tag],
            Command::DropEnsemble => &[Thing::Ensemble],
            // What replaces something has its name, and is not what was meant.
            Command::Artifact | Command::DropArtifact => &[Thing::Artifact],
            Command::View | Command::DropView => &[Thing::View],
            // The view and the artifact of the store are newer than the tag.
            Command::Revert => &[Thing::Artifact, Thing::View],
            _ => &[],
        }
    }

    /// Whether the other command is refused while this one is at work.
    pub(super) fn keeps_out(&self, other: &Command) -> bool {
        match self {
            Command::Compact | Command::Purge(_) | Command::Revert => {
                matches!(other, Command::Compact | Command::Purge(_) | Command::Revert)
            }
            Command::Attach => {
                other.removes().contains(&Thing::Dataset)
                    || matches!(other, Command::Purge(_) | Command::Attach | Command::Revert)
            }
            Command::Losses => {
                other.removes().iter().any(|thing| matches!(thing, Thing::Dataset | Thing::Ensemble))
                    || matches!(other, Command::Purge(_) | Command::Losses | Command::Revert)
            }
            _ => false,
        }
    }

    /// Runs it.
    pub(super) fn run(&self, store: &Store) -> Result<Outcome, Failure> {
        self.carry_out(store).or_else(|e| refused(&e).ok_or_else(|| format!("{self:?}: {e}").into()))
    }

    fn carry_out(&self, store: &Store) -> Result<Outcome, Failure> {
        let seen = store.snapshot()?;
        match self {
            Command::Delete(ids) => return delete(store, Some(ids), false),
            Command::DeleteWhere => return delete(store, None, false),
            Command::Purge(ids) => return delete(store, Some(ids), true),
            Command::Replace(ids) => return add(store, "pool", ids, VERSION),
            Command::Add(ids) => return add(store, "side", ids, 0),
            Command::DropDataset => store.drop_dataset(seen.dataset("pool")?, "drop").map(drop)?,
            Command::Remake => {
                store.drop_dataset(seen.dataset("pool")?, "drop")?;
                return add(store, "pool", &REMADE, OTHER);
            }
            Command::DropFeature => store.drop_feature(seen.feature(&label(0))?, "drop").map(drop)?,
            Command::DropRun => store.drop_run(seen.run("warmup")?, "drop").map(drop)?,
            Command::Compact => store.compact(CompactOptions::default(), &mut |_| {}).map(drop)?,
            Command::Attach => store.attach(&[folder()], &AttachOptions::default(), &mut |_| {}).map(drop)?,
            Command::Tag => store.tag(&NEW.parse()?, &seen, TagOptions::default()).map(drop)?,
            Command::Untag => store.untag(&seen.tag(KEPT)?, "untag").map(drop)?,
            Command::Losses => ensemble::losses(store, MEMBER)?,
            Command::DropEnsemble => store.drop_ensemble(seen.ensemble(ENSEMBLE)?, "drop").map(drop)?,
            Command::DropArtifact => store.drop_artifact(&seen, NAMED, "drop").map(drop)?,
            Command::DropView => store.drop_view(seen.view(NAMED)?, "view").map(drop)?,
            Command::Revert => {
                let target = store.snapshot_named(&SnapshotName::Tag(KEPT.parse()?))?;
                store.revert(&target, &RevertOptions::default())?;
            }
            Command::Members => ensemble::register(store, MEMBERS)?,
            Command::Artifact => {
                let artifact = ArtifactPart::new(NAMED, "prefilter", Vec::new(), VERSION.into());
                store.put_artifact(artifact, None, Some(&*seen), "fit")?;
            }
            Command::View => {
                let options = ViewOptions { command: "view".into(), replace: true };
                store.create_view(&DatasetName::try_from(NAMED)?, STATEMENT, options)?;
            }
        }
        Ok(Outcome::Done)
    }

    /// Applies it to the model. `before` is the content before both commands; what is purged is added to
    /// `purged`.
    pub(super) fn apply(&self, state: &mut State, before: &State, purged: &mut BTreeSet<(String, u64)>) {
        let pool = || "pool".to_owned();
        let rows = |state: &State, ids: &[u64]| -> Vec<u64> {
            let ids: Vec<String> = ids.iter().map(|id| id_of(*id)).collect();
            let rows = state.datasets.get("pool").into_iter().flat_map(|d| &d.rows);
            rows.filter(|(_, (id, _))| ids.contains(id)).map(|(row, _)| *row).collect()
        };
        let side = |state: &State| -> Vec<u64> {
            let rows = state.datasets.get("side").into_iter().flat_map(|d| d.rows.values());
            rows.filter_map(|(id, _)| id.trim_start_matches('s').parse().ok()).collect()
        };
        let add = |dataset: &str, ids: &[u64], version| Step::Append {
            dataset: dataset.to_owned(),
            samples: ids.iter().map(|id| (*id, version)).collect(),
            changed: IfChanged::Replace,
            restore: false,
        };
        let steps = match self {
            Command::Delete(ids) => {
                vec![Step::Delete { dataset: pool(), rows: rows(state, ids), purge: false }]
            }
            Command::DeleteWhere => {
                vec![Step::Delete { dataset: pool(), rows: rows(state, &side(state)), purge: false }]
            }
            Command::Purge(ids) => {
                let rows = rows(state, ids);
                let samples = |row| state.datasets.get("pool").and_then(|d| d.rows.get(row).cloned());
                purged.extend(rows.iter().filter_map(samples));
                vec![Step::Delete { dataset: pool(), rows, purge: true }]
            }
            Command::Replace(ids) => vec![add("pool", ids, VERSION)],
            Command::Add(ids) => vec![add("side", ids, 0)],
            Command::DropDataset => vec![Step::DropDataset(pool())],
            Command::Remake => vec![Step::DropDataset(pool()), add("pool", &REMADE, OTHER)],
            Command::DropFeature => vec![Step::DropFeature(0)],
            Command::DropRun => vec![Step::DropRun],
            Command::Compact => Vec::new(),
            Command::Attach => {
                let upto = before.datasets.get("pool").map_or(0, |d| d.next_row);
                shard::apply(state, ATTACHED, CHECKPOINT, upto);
                Vec::new()
            }
            Command::Tag => vec![Step::Tag(NEW.to_owned())],
            Command::Untag => vec![Step::Untag(KEPT.to_owned())],
            Command::Members => vec![Step::Members(MEMBERS)],
            Command::Losses => {
                let upto = before.datasets.get("pool").map_or(0, |d| d.next_row);
                ensemble::apply_losses(state, MEMBER, upto);
                Vec::new()
            }
            Command::DropEnsemble => vec![Step::DropEnsemble],
            Command::Artifact => vec![Step::Artifact { name: NAMED.to_owned(), content: VERSION }],
            Command::DropArtifact => vec![Step::DropArtifact(NAMED.to_owned())],
            Command::View => vec![Step::View { name: NAMED.to_owned(), sql: STATEMENT.to_owned() }],
            Command::DropView => vec![Step::DropView(NAMED.to_owned())],
            Command::Revert => {
                if let Some(then) = before.tagged(KEPT) {
                    state.go_back(&then);
                }
                Vec::new()
            }
        };
        steps.iter().for_each(|step| step.apply(state));
    }
}

/// Ids of the dataset that takes over the name.
const REMADE: [u64; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 900, 901, 902];

/// The checkpoint of the shard.
const CHECKPOINT: u8 = 2;

/// Finds rows by ids, or by the ids in "side", and deletes them; again if they changed in between, as `gstore
/// delete` does.
fn delete(store: &Store, ids: Option<&[u64]>, purge: bool) -> Result<Outcome, Failure> {
    let first = Arc::clone(store.snapshot()?.dataset("pool")?);
    for _ in 0..10 {
        let snapshot = store.snapshot()?;
        let Ok(part) = snapshot.same_dataset(&first) else { return Ok(Outcome::Gone) };
        let wanted: BTreeSet<String> = match ids {
            Some(ids) => ids.iter().map(|id| id_of(*id)).collect(),
            None => samples(&snapshot, "side")?.into_iter().map(|(_, id)| id).collect(),
        };
        let found = samples(&snapshot, "pool")?.into_iter().filter(|(_, id)| wanted.contains(id));
        let rows = RowSet::from_rows(found.map(|(row, _)| row));
        let asked = ids.is_none().then(|| Arc::clone(&snapshot));
        match store.delete(part, &rows, DeleteOptions { purge, asked, ..DeleteOptions::default() }) {
            Err(ChangeError::Changed(changed)) if changed.can_repeat() => {}
            done => return done.map(|_| Outcome::Done).map_err(Failure::from),
        }
    }
    Err("the store is changed all the time".into())
}

/// Row and id of every live sample.
fn samples(snapshot: &Snapshot, dataset: &str) -> Result<Vec<(u64, String)>, Failure> {
    let mut out = Vec::new();
    for batch in snapshot.samples(snapshot.dataset(dataset)?)?.scan(&["row", "id"], None) {
        let batch = batch?;
        let rows = batch.column(0).as_primitive::<UInt64Type>().values();
        let ids = batch.column(1).as_string::<i32>().iter();
        out.extend(rows.iter().zip(ids).filter_map(|(row, id)| Some((*row, id?.to_owned()))));
    }
    Ok(out)
}

/// Adds samples, replacing those with their ids, to the dataset that has the name before the lock is taken.
fn add(store: &Store, dataset: &str, ids: &[u64], version: u32) -> Result<Outcome, Failure> {
    let seen = store.snapshot()?.dataset(dataset).ok().cloned();
    let started = start_append(store, dataset, IfChanged::Replace, false)?;
    if seen.is_some_and(|seen| started.base().same_dataset(&seen).is_err()) {
        return Ok(Outcome::Gone);
    }
    let samples: Vec<(u64, u32)> = ids.iter().map(|id| (*id, version)).collect();
    append(started, &samples)?;
    Ok(Outcome::Done)
}

/// The folder of the shard.
fn folder() -> PathBuf {
    path().with_file_name("shard")
}

/// Creates the shard that `Attach` attaches.
pub(super) fn make_shard(store: &Store) -> Result<(), Failure> {
    shard::make(store, ATTACHED, CHECKPOINT, &folder())
}

/// Outcome of a command that failed with an error; `None` for an unexpected error.
fn refused(e: &Failure) -> Option<Outcome> {
    let gone = matches!(e.downcast_ref(), Some(ChangeError::Changed(_)))
        || matches!(e.downcast_ref(), Some(TagError::Changed(_)))
        || matches!(e.downcast_ref(), Some(ViewError::Changed(_)))
        || matches!(e.downcast_ref(), Some(ArtifactError::Changed(_)))
        || matches!(e.downcast_ref(), Some(AttachError::Dataset { .. }));
    let busy = matches!(e.downcast_ref(), Some(ChangeError::Busy { .. } | ChangeError::Compacting))
        || matches!(e.downcast_ref(), Some(CompactError::Busy))
        || matches!(e.downcast_ref(), Some(JobError::Busy { .. }))
        || matches!(e.downcast_ref(), Some(AttachError::Job(JobError::Busy { .. })));
    if gone { Some(Outcome::Gone) } else { busy.then_some(Outcome::Busy) }
}
