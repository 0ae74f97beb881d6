//! Publishing a job: its files go into place, and `CURRENT` names them.
//!
//! What a crash leaves behind, step by step, is in docs/design.md ("Publishing"); each state is one that `resume` undoes.

use super::folder::{PUBLISH, encoding_name, segment_name};
use super::plan::{Intents, Move};
use super::run::{Job, published_rows};
use crate::error::{CommitError, StorageError};
use crate::ident::RowSet;
use crate::manifest::{
    Counters, DatasetPart, EncodingEntry, FeaturePart, FeatureState, FileEntry, RunPart, RunUpdate, VERSION,
};
use crate::store::{Change, Snapshot, WriterLock, change_of, encoding_file, publish, segment_file};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Job {
    /// Publishes the sealed files, and the checkpoints of a run.
    ///
    /// With `complete`, the job's features are complete from now on. Rows that another job published meanwhile are an
    /// error, and nothing changes. With nothing to change, the current snapshot is returned. After an error the sealed
    /// files are kept, and the same command goes on from them.
    pub fn publish(self, run: Option<RunUpdate>, complete: bool) -> Result<Arc<Snapshot>, CommitError> {
        let lock = WriterLock::take(&self.store)?;
        let now = self.store.snapshot()?;
        let (change, moves) = self.prepare(&now, run.as_ref(), complete)?;
        if change.is_empty() {
            self.folder.delete()?;
            return Ok(now);
        }
        let intents = Intents {
            version: VERSION,
            requires: Vec::new(),
            snapshot: now.number() + 1,
            moves,
            run: run.as_ref().map(|r| r.name.clone()),
            checkpoints: run.map(|r| r.checkpoints).unwrap_or_default(),
            complete,
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
                Ok(snapshot)
            }
            Err(e) => {
                if !matches!(e, CommitError::Unclear { .. }) {
                    // CURRENT does not name the files. Best effort: what is left here is undone by the next start.
                    let _ = self.move_back(&intents);
                }
                Err(e)
            }
        }
    }

    fn prepare(
        &self,
        now: &Snapshot,
        run: Option<&RunUpdate>,
        complete: bool,
    ) -> Result<(Change, Vec<Move>), CommitError> {
        let mut change = change_of(now, &self.plan.command);
        let mut moves = Vec::new();
        for (i, feature) in self.plan.features.iter().enumerate() {
            if let Some(part) = self.feature_part(i, now, &mut change.next, complete)? {
                let added: u64 = self.sealed(i).iter().map(|s| s.rows()).sum();
                let what = if part.state == FeatureState::Complete { "complete" } else { "building" };
                change.changes.push(format!("feature {}: {added} rows added, {what}", part.display_name()));
                moves.extend(self.sealed(i).iter().map(|s| Move {
                    uuid: s.uuid(),
                    from: segment_name(i, s.uuid()),
                    to: segment_file(part.number, &s.entry),
                }));
                change.features.push(part);
            } else {
                now.dataset(&feature.desc.dataset)?;
            }
        }
        self.encoding_changes(now, &mut change, &mut moves)?;
        if let Some(update) = run
            && let Some(part) = run_part(now, update, &mut change.next)?
        {
            change.changes.push(format!("run {}: {} checkpoints", part.name, part.checkpoints.len()));
            change.runs.push(part);
        }
        Ok((change, moves))
    }

    /// The feature's part after this job; `None` if the job does not change it.
    fn feature_part(
        &self,
        i: usize,
        now: &Snapshot,
        next: &mut Counters,
        complete: bool,
    ) -> Result<Option<FeaturePart>, CommitError> {
        let Some(feature) = self.plan.features.get(i) else { return Ok(None) };
        let sealed = self.sealed(i);
        let key = feature.desc.key();
        let old = now.feature_by_key(&key);
        if sealed.is_empty() && old.is_none_or(|p| !complete || p.state == FeatureState::Complete) {
            return Ok(None);
        }
        let mut part = match old {
            Some(part) => FeaturePart::clone(part),
            None => {
                next.feature += 1;
                FeaturePart::new(next.feature - 1, feature.desc.clone(), feature.attrs.clone())
            }
        };
        let name = part.display_name();
        if part.attrs.groups != feature.attrs.groups {
            return Err(CommitError::Mismatch { feature: name, detail: "the module groups differ".into() });
        }
        let unchanged = self.base.feature_by_key(&key).map(|p| &p.segments) == old.map(|p| &p.segments);
        if !unchanged {
            let there = published_rows(now, &key)?;
            let rows = sealed.iter().fold(RowSet::new(), |both, s| both.union(&there.intersection(&s.rows)));
            if !rows.is_empty() {
                return Err(CommitError::Overlap { feature: name, rows });
            }
        }
        let dataset = now.dataset(&feature.desc.dataset)?;
        let end = sealed.iter().map(|s| s.entry.end_row).max().unwrap_or(0);
        if end > dataset.next_row {
            let (dataset, next_row) = (dataset.name.clone(), dataset.next_row);
            return Err(CommitError::BeyondDataset { feature: name, dataset, end, next_row });
        }
        part.segments.extend(sealed.iter().map(|s| s.entry.clone()));
        part.segments.sort_by_key(|s| (s.first_row, s.uuid));
        if complete {
            part.state = FeatureState::Complete;
        }
        Ok(Some(part))
    }

    fn encoding_changes(
        &self,
        now: &Snapshot,
        change: &mut Change,
        moves: &mut Vec<Move>,
    ) -> Result<(), CommitError> {
        for note in &self.encodings {
            let Some(file) = note.file() else { continue };
            if !change.datasets.iter().any(|d| d.name == note.dataset) {
                change.datasets.push(DatasetPart::clone(now.dataset(&note.dataset)?));
            }
            let Some(part) = change.datasets.iter_mut().find(|d| d.name == note.dataset) else { continue };
            if file.end_row > part.next_row {
                let (feature, dataset) = (format!("encoding {}", note.encoding.label), part.name.clone());
                return Err(CommitError::BeyondDataset {
                    feature,
                    dataset,
                    end: file.end_row,
                    next_row: part.next_row,
                });
            }
            let number = add_encoding(part, &note.encoding, file, &mut change.next);
            if let Some(number) = number {
                let uuid = file.uuid;
                moves.push(Move { uuid, from: encoding_name(uuid), to: encoding_file(number, uuid) });
                change.changes.push(format!(
                    "dataset {}: token counts of {} rows ({})",
                    part.name, file.rows, note.encoding.label
                ));
            }
        }
        // A dataset whose token counts were all there already is not changed.
        change.datasets.retain(|d| now.dataset(&d.name).is_ok_and(|old| **old != *d));
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
                env.rename(&env.at(&m.to), &self.folder.name_of(&m.from))?;
            }
        }
        self.folder.sync()?;
        self.folder.remove(PUBLISH)?;
        self.folder.sync()
    }
}

fn folder_of(file: &str) -> String {
    file.rsplit_once('/').map_or_else(String::new, |(folder, _)| folder.to_owned())
}

/// Adds a file of token counts, unless its rows are all covered. Returns the encoding's number if it was added.
fn add_encoding(
    part: &mut DatasetPart,
    new: &EncodingEntry,
    file: &FileEntry,
    next: &mut Counters,
) -> Option<u32> {
    if let Some(entry) = part.encodings.iter_mut().find(|e| e.key == new.key) {
        if entry.rows().covers(file.range()) {
            return None;
        }
        entry.files.push(file.clone());
        return Some(entry.number);
    }
    let number = next.encoding;
    next.encoding += 1;
    part.encodings.push(EncodingEntry { number, files: vec![file.clone()], ..new.clone() });
    Some(number)
}

/// The run's part after an update; `None` if the update changes nothing.
fn run_part(now: &Snapshot, update: &RunUpdate, next: &mut Counters) -> Result<Option<RunPart>, CommitError> {
    let old = now.runs().iter().find(|r| r.name == update.name);
    let mut part = match old {
        Some(part) => RunPart::clone(part),
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
    Ok(old.is_none_or(|o| **o != part).then_some(part))
}
