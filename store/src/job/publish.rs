//! Publishing a job: its files go into place, and `CURRENT` names them.
//!
//! What a crash leaves behind, step by step, is in docs/design.md ("Publishing"); each state is
//! one that `resume` undoes.

use super::folder::PUBLISH;
use super::plan::{Intents, JobFeature};
use super::run::Job;
use super::run_part::KnownCheckpoint;
use crate::error::{CommitError, StorageError};
use crate::manifest::{ClientWrite, FeatureState, RunUpdate, VERSION};
use crate::store::{Snapshot, WriterLock, publish};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Changes of a publish other than adding the sealed rows.
#[derive(Default)]
pub(crate) struct Finish<'a> {
    pub runs: Vec<RunUpdate>,
    pub known: KnownCheckpoint,
    pub completion: Completion,
    pub taken: TakenLabel<'a>,
    /// Digests of the receipts that the rows came with, by key of the feature.
    pub receipts: BTreeMap<String, Vec<String>>,
    /// The write of a client that this is, with the dataset that it is of and what the client is told.
    pub write: Option<(String, ClientWrite, Map<String, Value>)>,
}

/// What becomes of a new feature whose label another one of its dataset has by now.
#[derive(Default)]
pub(crate) enum TakenLabel<'a> {
    /// It gets digits of its key as a suffix.
    #[default]
    Suffixed,
    /// It gets this one, and the suffix if that is taken too.
    Renamed(&'a dyn Fn(&Snapshot, &JobFeature) -> String),
    /// It is not published.
    Refused,
}

/// When the features of a job are complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Completion {
    /// They are what they were before; new ones are building.
    #[default]
    Unchanged,
    /// Now: the job has every row that was asked for.
    Complete,
    /// Once every live row of the dataset is there.
    WithAllRows,
}

#[derive(Debug)]
pub(crate) enum PublishOutcome {
    /// It made this snapshot.
    New(Arc<Snapshot>),
    /// There was nothing to change in this one, which is current.
    Nothing(Arc<Snapshot>),
}

impl PublishOutcome {
    /// The snapshot that has all that was to be published.
    pub(crate) fn snapshot(&self) -> &Arc<Snapshot> {
        match self {
            PublishOutcome::New(snapshot) | PublishOutcome::Nothing(snapshot) => snapshot,
        }
    }
}

impl Job {
    /// Publishes the sealed files, and the checkpoints of a run.
    ///
    /// With `complete`, the job's features are complete from now on, unless live rows that they had when the
    /// job started went away meanwhile. Rows that another job published meanwhile are an error, and nothing
    /// changes; rows that were purged meanwhile are left out. With nothing to change, the current snapshot is
    /// returned. After an error the sealed files are kept, and the same command goes on from them.
    ///
    /// A new feature whose label another one of its dataset has gets digits of its key as a suffix.
    pub fn publish(self, run: Option<RunUpdate>, complete: bool) -> Result<Arc<Snapshot>, CommitError> {
        self.publish_computed(run, complete, TakenLabel::Suffixed)
    }

    /// The same; a new feature whose label is taken gets the one that `label` gives it among the features of the
    /// snapshot.
    pub fn publish_labelled(
        self,
        run: Option<RunUpdate>,
        complete: bool,
        label: &dyn Fn(&Snapshot, &JobFeature) -> String,
    ) -> Result<Arc<Snapshot>, CommitError> {
        self.publish_computed(run, complete, TakenLabel::Renamed(label))
    }

    fn publish_computed(
        self,
        run: Option<RunUpdate>,
        complete: bool,
        taken: TakenLabel<'_>,
    ) -> Result<Arc<Snapshot>, CommitError> {
        let completion = if complete { Completion::Complete } else { Completion::Unchanged };
        let (runs, known) = (run.into_iter().collect(), KnownCheckpoint::Replaced);
        let finish = Finish { runs, known, completion, taken, ..Finish::default() };
        Ok(Arc::clone(self.publish_as(finish)?.snapshot()))
    }

    /// Publishes the sealed files as what a client sent: features are complete once they have every live row
    /// of their dataset, and the write is noted in `dataset` with `told`. Where that was done before, nothing
    /// is published and the files go.
    ///
    /// # Errors
    /// As [`Job::publish`]; a key that was used for other content; a step or weight other than that of the
    /// checkpoint, which another write may have given it meanwhile; a new feature whose label another one has.
    /// Clients name features by label, so of two first writes the one that publishes second is refused, and
    /// joins the feature when it is done again.
    pub fn publish_write(
        self,
        run: Option<RunUpdate>,
        dataset: &str,
        write: Option<(ClientWrite, Map<String, Value>)>,
    ) -> Result<Arc<Snapshot>, CommitError> {
        let finish = Finish {
            runs: run.into_iter().collect(),
            known: KnownCheckpoint::Same,
            completion: Completion::WithAllRows,
            taken: TakenLabel::Refused,
            write: write.map(|(write, told)| (dataset.to_owned(), write, told)),
            ..Finish::default()
        };
        Ok(Arc::clone(self.publish_as(finish)?.snapshot()))
    }

    pub(crate) fn publish_as(mut self, finish: Finish<'_>) -> Result<PublishOutcome, CommitError> {
        let lock = WriterLock::take(&self.store)?;
        let now = self.store.snapshot()?;
        if let Some((dataset, write, _)) = &finish.write {
            match write.done(now.dataset(dataset)?, now.features()) {
                Ok(None) => {}
                Ok(Some(_)) => {
                    self.folder.delete()?;
                    return Ok(PublishOutcome::Nothing(now));
                }
                Err(error) => {
                    self.folder.delete()?;
                    return Err(error.into());
                }
            }
        }
        self.drop_purged(&now)?;
        let (change, moves) = self.prepare(&now, &finish)?;
        if change.is_empty() {
            self.folder.delete()?;
            return Ok(PublishOutcome::Nothing(now));
        }
        let intents = Intents {
            version: VERSION,
            requires: Vec::new(),
            snapshot: now.number() + 1,
            moves,
            run: finish.runs.first().map(|r| r.name.clone()),
            checkpoints: finish.runs.iter().flat_map(|r| r.checkpoints.iter().cloned()).collect(),
            complete: change.features.iter().any(|f| f.state == FeatureState::Complete),
        };
        self.folder.write(PUBLISH, &intents)?;
        let moves = intents.moves.iter().map(|m| (self.folder.path_of(&m.from), m.to.clone()));
        let moved = self.folder.env.move_all(&moves.collect::<Vec<_>>()).map_err(CommitError::from);
        let published = moved.and_then(|()| publish(&self.store, &lock, &now, change));
        let snapshot = published.inspect_err(|e| {
            if !e.is_unclear() {
                // Best effort: what is left here is undone by the next start.
                let _ = self.move_back(&intents);
            }
        })?;
        // The snapshot is there; what cannot be removed now is removed by the next start.
        let _ = self.folder.delete();
        Ok(PublishOutcome::New(snapshot))
    }

    fn move_back(&self, intents: &Intents) -> Result<(), StorageError> {
        let env = &self.folder.env;
        for m in &intents.moves {
            if env.exists(&m.to).unwrap_or(false) {
                self.folder.rename(&env.at(&m.to), &m.from)?;
            }
        }
        self.folder.sync()?;
        self.folder.remove(PUBLISH)?;
        self.folder.sync()
    }
}
