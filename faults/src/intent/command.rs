//! Commands of the pairs: arguments, execution as a front end does it, and expected outcome.

use crate::sim::path;
use crate::work::content::id_of;
use crate::work::ensemble;
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
    /// Drops the dataset and creates one with other samples under its name.
    Remake,
    /// Merges all files.
    Compact,
    /// Attaches a shard.
    Attach,
    /// Tags the current snapshot.
    Tag,
    /// Computes the losses of a member.
    Losses,
    /// Reverts to the store's tag.
    Revert,
    /// A step of the workload, about what the store has of that kind.
    Step(Step),
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
        let named = || NAMED.to_owned();
        vec![
            Command::Delete(some()),
            Command::DeleteWhere,
            Command::Purge(some()),
            Command::Replace(some().into_iter().chain([500, 501]).collect()),
            Command::Add(some()),
            Command::Step(Step::DropDataset("pool".to_owned())),
            Command::Remake,
            Command::Step(Step::DropFeature(0)),
            Command::Step(Step::DropRun),
            Command::Compact,
            Command::Attach,
            Command::Tag,
            Command::Step(Step::Untag(KEPT.to_owned())),
            Command::Step(Step::Members(MEMBERS)),
            Command::Losses,
            Command::Step(Step::DropEnsemble),
            Command::Step(Step::Artifact { name: named(), content: VERSION }),
            Command::Step(Step::DropArtifact(named())),
            Command::Step(Step::View { name: named(), sql: STATEMENT.to_owned() }),
            Command::Step(Step::DropView(named())),
            Command::Revert,
        ]
    }

    /// What must exist when it commits.
    pub(super) fn needs(&self) -> Option<Thing> {
        match self {
            Command::Tag => Some(Thing::Snapshot),
            Command::Revert => Some(Thing::Tagged),
            Command::Add(_) | Command::Compact | Command::Losses => None,
            Command::Step(Step::Members(_) | Step::View { .. }) => None,
            // What is removed has to be there.
            Command::Step(step) => removed_by(step).first().copied(),
            _ => Some(Thing::Dataset),
        }
    }

    /// What it removes.
    pub(super) fn removes(&self) -> &'static [Thing] {
        match self {
            Command::Remake => &[Thing::Dataset, Thing::Feature],
            Command::Purge(_) => &[Thing::Snapshot, Thing::Tag, Thing::Tagged],
            // The view and the artifact of the store are newer than the tag.
            Command::Revert => &[Thing::Artifact, Thing::View],
            Command::Step(step) => removed_by(step),
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
            Command::Remake => {
                store.drop_dataset(seen.dataset("pool")?, "drop")?;
                return add(store, "pool", &REMADE, OTHER);
            }
            Command::Compact => store.compact(CompactOptions::default(), &mut |_| {}).map(drop)?,
            Command::Attach => store.attach(&[folder()], &AttachOptions::default(), &mut |_| {}).map(drop)?,
            Command::Tag => store.tag(&NEW.parse()?, &seen, TagOptions::default()).map(drop)?,
            Command::Losses => ensemble::losses(store, MEMBER)?,
            Command::Revert => {
                let target = store.snapshot_named(&SnapshotName::Tag(KEPT.parse()?))?;
                store.revert(&target, &RevertOptions::default())?;
            }
            Command::Step(step) => step.run_in(store)?,
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
            Command::Remake => vec![Step::DropDataset(pool()), add("pool", &REMADE, OTHER)],
            Command::Compact => Vec::new(),
            Command::Attach => {
                let upto = before.datasets.get("pool").map_or(0, |d| d.next_row);
                shard::apply(state, ATTACHED, CHECKPOINT, upto);
                Vec::new()
            }
            Command::Tag => vec![Step::Tag(NEW.to_owned())],
            Command::Losses => {
                let upto = before.datasets.get("pool").map_or(0, |d| d.next_row);
                ensemble::apply_losses(state, MEMBER, upto);
                Vec::new()
            }
            Command::Revert => {
                if let Some(then) = before.tagged(KEPT) {
                    state.go_back(&then);
                }
                Vec::new()
            }
            Command::Step(step) => vec![step.clone()],
        };
        steps.iter().for_each(|step| step.apply(state));
    }
}

/// What a step removes.
fn removed_by(step: &Step) -> &'static [Thing] {
    match step {
        Step::DropDataset(_) => &[Thing::Dataset, Thing::Feature],
        Step::DropFeature(_) => &[Thing::Feature],
        Step::DropRun => &[Thing::Run],
        Step::Untag(_) => &[Thing::Tag],
        Step::DropEnsemble => &[Thing::Ensemble],
        // What replaces something has its name, and is not what was meant.
        Step::Artifact { .. } | Step::DropArtifact(_) => &[Thing::Artifact],
        Step::View { .. } | Step::DropView(_) => &[Thing::View],
        _ => &[],
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
        || matches!(e.downcast_ref(), Some(ArtifactError::Changed(_)))
        || matches!(e.downcast_ref(), Some(AttachError::Dataset { .. }));
    let busy = matches!(e.downcast_ref(), Some(ChangeError::Busy { .. } | ChangeError::Compacting))
        || matches!(e.downcast_ref(), Some(JobError::Busy { .. }))
        || matches!(e.downcast_ref(), Some(AttachError::Job(JobError::Busy { .. })));
    if gone { Some(Outcome::Gone) } else { busy.then_some(Outcome::Busy) }
}
