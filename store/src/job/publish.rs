//! Publishing a job: its files go into place, and `CURRENT` names them.
//!
//! What a crash leaves behind, step by step, is in docs/design.md ("Publishing"); each state is
//! one that `resume` undoes.

use super::folder::{PUBLISH, encoding_name};
use super::plan::{Intents, Move, SealedEncoding};
use super::rows::{live_rows, published_rows};
use super::run::Job;
use super::work::FeatureWork;
use crate::error::{CommitError, StorageError};
use crate::layout::{encoding_file, segment_file};
use crate::manifest::{
    ClientWrite, Counters, DatasetPart, EncodingEntry, FeaturePart, FeatureState, RunPart, RunUpdate, VERSION,
};
use crate::store::{Change, Snapshot, WriterLock, change_of, publish};
use gstore_core::{RowSet, many};
use serde_json::{Map, Value};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where a feature part keeps the digests of the receipts whose rows it took in. A segment that is compacted
/// gets another name, so the names of files do not say forever what was attached.
pub(crate) const ATTACHED: &str = "attached";

/// Changes of a publish other than adding the sealed rows.
#[derive(Debug, Default)]
pub(crate) struct Finish {
    pub runs: Vec<RunUpdate>,
    pub completion: Completion,
    /// A new feature needs a label that no other one of its dataset has.
    pub own_labels: bool,
    /// Digests of the receipts that the rows came with, by key of the feature.
    pub receipts: BTreeMap<String, Vec<String>>,
    /// The write of a client that this is, with the dataset that it is of and what the client is told.
    pub write: Option<(String, ClientWrite, Map<String, Value>)>,
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

/// Outcome of a publish.
#[derive(Debug)]
pub(crate) enum Published {
    /// It made this snapshot.
    New(Arc<Snapshot>),
    /// There was nothing to change in this one, which is current.
    Nothing(Arc<Snapshot>),
}

impl Published {
    /// The snapshot that has all that was to be published.
    pub(crate) fn snapshot(&self) -> &Arc<Snapshot> {
        match self {
            Published::New(snapshot) | Published::Nothing(snapshot) => snapshot,
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
    pub fn publish(self, run: Option<RunUpdate>, complete: bool) -> Result<Arc<Snapshot>, CommitError> {
        let completion = if complete { Completion::Complete } else { Completion::Unchanged };
        let finish = Finish { runs: run.into_iter().collect(), completion, ..Finish::default() };
        Ok(Arc::clone(self.publish_as(finish)?.snapshot()))
    }

    /// Publishes the sealed files as what a client sent: features are complete once they have every live row of their dataset, and the write is
    /// noted in `dataset` with `told`. Where that was done before, nothing is published and the files go.
    ///
    /// # Errors
    /// As [`Job::publish`]; a key that was used for other content; a new feature whose label another one has.
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
            completion: Completion::WithAllRows,
            own_labels: true,
            write: write.map(|(write, told)| (dataset.to_owned(), write, told)),
            ..Finish::default()
        };
        Ok(Arc::clone(self.publish_as(finish)?.snapshot()))
    }

    pub(crate) fn publish_as(mut self, finish: Finish) -> Result<Published, CommitError> {
        let lock = WriterLock::take(&self.store)?;
        let now = self.store.snapshot()?;
        if let Some((dataset, write, _)) = &finish.write {
            match write.done(now.dataset(dataset)?) {
                Ok(None) => {}
                Ok(Some(_)) => {
                    self.folder.delete()?;
                    return Ok(Published::Nothing(now));
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
            return Ok(Published::Nothing(now));
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
        let published = self
            .move_files(&intents)
            .map_err(CommitError::from)
            .and_then(|()| publish(&self.store, &lock, &now, change));
        match published {
            Ok(snapshot) => {
                // The snapshot is there; what cannot be removed now is removed by the next start.
                let _ = self.folder.delete();
                Ok(Published::New(snapshot))
            }
            Err(e) => {
                if !matches!(e, CommitError::Unclear { .. }) {
                    // CURRENT does not name the files. Best effort: what is left here is
                    // undone by the next start.
                    let _ = self.move_back(&intents);
                }
                Err(e)
            }
        }
    }

    fn prepare(&self, now: &Snapshot, finish: &Finish) -> Result<(Change, Vec<Move>), CommitError> {
        let mut change = change_of(now, &self.command);
        let mut moves = Vec::new();
        for work in &self.work {
            if let Some(part) = self.feature_part(work, now, &mut change.next, finish)? {
                let added: u64 = work.sealed.iter().map(|s| s.rows()).sum();
                let what = if part.state == FeatureState::Complete { "complete" } else { "building" };
                change.changes.push(format!(
                    "feature {}: {} added, {what}",
                    part.display_name(),
                    many(added, "row")
                ));
                moves.extend(work.sealed.iter().map(|s| Move {
                    uuid: s.uuid(),
                    from: work.name_of(s.uuid()),
                    to: segment_file(part.number, s.entry.uuid),
                }));
                change.features.push(part);
            } else {
                now.dataset(&work.feature.desc.dataset)?;
            }
        }
        self.encoding_changes(now, &mut change, &mut moves)?;
        note_write(now, &mut change, finish)?;
        for update in &finish.runs {
            let there = change.runs.iter().find(|r| r.name == update.name);
            if let Some(part) = run_part(now, there, update, &mut change.next)? {
                change.runs.retain(|r| r.name != part.name);
                change.runs.push(part);
            }
        }
        for part in &change.runs {
            change.changes.push(format!(
                "run {}: {}",
                part.name,
                many(part.checkpoints.len() as u64, "checkpoint")
            ));
        }
        Ok((change, moves))
    }

    /// The feature's part after this job; `None` if the job does not change it.
    fn feature_part(
        &self,
        work: &FeatureWork,
        now: &Snapshot,
        next: &mut Counters,
        finish: &Finish,
    ) -> Result<Option<FeaturePart>, CommitError> {
        let FeatureWork { feature, published, sealed, .. } = work;
        let key = feature.desc.key();
        let old = now.feature_by_key(&key);
        let settled = |p: &Arc<FeaturePart>| {
            finish.completion == Completion::Unchanged || p.state == FeatureState::Complete
        };
        if sealed.is_empty() && old.is_none_or(settled) {
            return Ok(None);
        }
        let mut part = match old {
            Some(part) => FeaturePart::clone(part),
            None => {
                let named = |other: &&Arc<FeaturePart>| other.attrs.label == feature.attrs.label;
                if finish.own_labels && now.features_of(&feature.desc.dataset).iter().any(named) {
                    let (label, dataset) = (feature.attrs.label.clone(), feature.desc.dataset.clone());
                    return Err(CommitError::LabelTaken { label, dataset });
                }
                next.feature += 1;
                FeaturePart::new(next.feature - 1, feature.desc.clone(), feature.attrs.clone())
            }
        };
        let name = part.display_name();
        let mismatch = |detail: &str| CommitError::Mismatch { feature: name.clone(), detail: detail.into() };
        if part.attrs.groups != feature.attrs.groups {
            return Err(mismatch("the module groups differ"));
        }
        let dataset = now.dataset(&feature.desc.dataset)?;
        if self.base.dataset(&feature.desc.dataset).is_ok_and(|before| before.number != dataset.number) {
            return Err(mismatch("its dataset was dropped meanwhile, and another one has the name now"));
        }
        let end = sealed.iter().map(|s| s.entry.end_row).max();
        if let Some(end) = end.filter(|end| *end > dataset.next_row) {
            let (dataset, next_row) = (dataset.name.clone(), dataset.next_row);
            return Err(CommitError::BeyondDataset { feature: name, dataset, end, next_row });
        }
        let unchanged = self.base.feature_by_key(&key).map(|p| &p.segments) == old.map(|p| &p.segments);
        let there = if unchanged { published.clone() } else { published_rows(now, &key)? };
        let new = RowSet::from_ranges(sealed.iter().flat_map(|s| s.rows.ranges().iter().cloned()));
        let both = there.intersection(&new);
        if !both.is_empty() {
            return Err(CommitError::Overlap { feature: name, rows: both });
        }
        let before = part.clone();
        part.segments.extend(sealed.iter().map(|s| s.entry.clone()));
        part.segments.sort_by_key(|s| (s.first_row, s.uuid));
        let wanted = match finish.completion {
            Completion::Unchanged => None,
            Completion::Complete => Some(published.clone()),
            Completion::WithAllRows => Some(RowSet::from_range(0..dataset.next_row)),
        };
        if let Some(wanted) = wanted {
            let live = live_rows(now, dataset)?.intersection(&wanted);
            if live.difference(&there).difference(&new).is_empty() {
                part.state = FeatureState::Complete;
            }
        }
        note_receipts(&mut part, finish.receipts.get(&key));
        Ok((part != before || old.is_none()).then_some(part))
    }

    fn encoding_changes(
        &self,
        now: &Snapshot,
        change: &mut Change,
        moves: &mut Vec<Move>,
    ) -> Result<(), CommitError> {
        // By dataset, each taken from the snapshot once.
        let mut parts: BTreeMap<&str, DatasetPart> = BTreeMap::new();
        for sealed in &self.encodings {
            let file = &sealed.file;
            let part = match parts.entry(&sealed.dataset) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(DatasetPart::clone(now.dataset(&sealed.dataset)?)),
            };
            if file.end_row > part.next_row {
                let (feature, dataset) = (format!("encoding {}", sealed.label), part.name.clone());
                return Err(CommitError::BeyondDataset {
                    feature,
                    dataset,
                    end: file.end_row,
                    next_row: part.next_row,
                });
            }
            if let Some(number) = add_encoding(part, sealed, &mut change.next) {
                let uuid = file.uuid;
                moves.push(Move { uuid, from: encoding_name(uuid), to: encoding_file(number, uuid) });
                change.changes.push(format!(
                    "dataset {}: token counts of {} ({})",
                    part.name,
                    many(file.rows, "row"),
                    sealed.label
                ));
            }
        }
        for (name, part) in parts {
            // A dataset whose token counts were all there already is not changed.
            if **now.dataset(name)? != part {
                change.datasets.push(part);
            }
        }
        Ok(())
    }

    fn move_files(&self, intents: &Intents) -> Result<(), StorageError> {
        let env = self.folder.env();
        let folders: BTreeSet<String> = intents.moves.iter().map(|m| folder_of(&m.to)).collect();
        for folder in &folders {
            env.make_folder(folder)?;
        }
        for m in &intents.moves {
            env.rename(&self.folder.path_of(&m.from), &m.to)?;
        }
        for folder in &folders {
            env.sync_folder(folder)?;
        }
        Ok(())
    }

    fn move_back(&self, intents: &Intents) -> Result<(), StorageError> {
        let env = self.folder.env();
        for m in &intents.moves {
            if env.vfs().exists(&env.at(&m.to)).unwrap_or(false) {
                self.folder.rename(&env.at(&m.to), &m.from)?;
            }
        }
        self.folder.sync()?;
        self.folder.remove(PUBLISH)?;
        self.folder.sync()
    }
}

/// Notes the write of a client in the part of its dataset.
fn note_write(now: &Snapshot, change: &mut Change, finish: &Finish) -> Result<(), CommitError> {
    let Some((dataset, write, told)) = &finish.write else { return Ok(()) };
    let changed = change.datasets.iter().position(|d| d.name == *dataset);
    let mut part = match changed {
        Some(at) => change.datasets.remove(at),
        None => DatasetPart::clone(now.dataset(dataset)?),
    };
    let snapshot = now.number() + 1;
    let mut told = told.clone();
    told.insert("snapshot".to_owned(), snapshot.into());
    write.note(&mut part, snapshot, told);
    change.datasets.push(part);
    Ok(())
}

/// Adds the digests of receipts to those that a feature part has.
fn note_receipts(part: &mut FeaturePart, receipts: Option<&Vec<String>>) {
    let Some(new) = receipts.filter(|r| !r.is_empty()) else { return };
    let mut all = attached(part);
    all.extend(new.iter().cloned());
    all.sort();
    all.dedup();
    part.extra.insert(ATTACHED.to_owned(), all.into());
}

/// Digests of the receipts whose rows a feature part took in.
pub(crate) fn attached(part: &FeaturePart) -> Vec<String> {
    let list = part.extra.get(ATTACHED).and_then(|list| list.as_array());
    list.into_iter().flatten().filter_map(|v| v.as_str()).map(str::to_owned).collect()
}

fn folder_of(file: &str) -> String {
    file.rsplit_once('/').map_or_else(String::new, |(folder, _)| folder.to_owned())
}

/// Adds a file of token counts, unless its rows are all covered. Returns the encoding's number if it was added.
fn add_encoding(part: &mut DatasetPart, new: &SealedEncoding, next: &mut Counters) -> Option<u32> {
    let key = new.spec.key();
    if let Some(entry) = part.encodings.iter_mut().find(|e| e.key == key) {
        if entry.rows().covers(new.file.range()) {
            return None;
        }
        entry.files.push(new.file.clone());
        return Some(entry.number);
    }
    let number = next.encoding;
    next.encoding += 1;
    part.encodings.push(EncodingEntry { number, ..new.entry() });
    Some(number)
}

/// The run's part after an update; `None` if the update changes nothing. `changed`: the part as an update
/// before this one left it.
pub(crate) fn run_part(
    now: &Snapshot,
    changed: Option<&RunPart>,
    update: &RunUpdate,
    next: &mut Counters,
) -> Result<Option<RunPart>, CommitError> {
    let stored = || now.runs().iter().find(|r| r.name == update.name).map(|r| &**r);
    let old = changed.or_else(stored);
    let mut part = match old {
        Some(part) => part.clone(),
        None => {
            next.run += 1;
            RunPart::new(&update.name, next.run - 1)
        }
    };
    for c in &update.checkpoints {
        match part.checkpoints.iter_mut().find(|o| o.name == c.name) {
            Some(o) if o.checkpoint != c.checkpoint => {
                return Err(CommitError::RunConflict {
                    run: update.name.clone(),
                    name: c.name.clone(),
                    stored: o.checkpoint.short().to_owned(),
                    given: c.checkpoint.short().to_owned(),
                });
            }
            Some(o) => {
                o.step = o.step.or(c.step);
                if update.replace_weights || o.weight.is_none() {
                    o.weight = c.weight.or(o.weight);
                }
            }
            None => {
                if let Some(other) = part.checkpoints.iter().find(|o| o.checkpoint == c.checkpoint) {
                    return Err(CommitError::CheckpointTwice {
                        run: update.name.clone(),
                        name: c.name.clone(),
                        stored: other.name.clone(),
                    });
                }
                part.checkpoints.push(c.clone());
            }
        }
    }
    part.checkpoints.sort_by_key(|c| (c.step.is_none(), c.step));
    Ok(old.is_none_or(|o| *o != part).then_some(part))
}
