//! Publishing compacted files: those whose sources are all still in the part replace them.

use super::Compaction;
use super::options::CompactedPart;
use super::plan::{Files, Unit};
use crate::error::{ChangeError, CommitError, StorageError};
use crate::index::{headers, kinds};
use crate::layout::names::LEDGER;
use crate::layout::{encoding_file, sample_file, segment_file};
use crate::ledger::Ledger;
use crate::manifest::{DatasetPart, FeaturePart, FileEntry, SegmentEntry, sort_segments};
use crate::store::{Change, Snapshot, WriterLock, change_of, publish};
use crate::tombstones::ids::{self, IdDigest};
use crate::tombstones::{new_files, set_dead};
use gstore_core::{RowSet, many};
use std::collections::HashSet;
use std::path::PathBuf;
use uuid::Uuid;

/// New files for old ones.
pub(super) enum Replacement {
    Samples { inputs: Vec<FileEntry>, outputs: Vec<FileEntry>, ids: Vec<(u64, IdDigest)> },
    Counts { encoding: u32, inputs: Vec<FileEntry>, outputs: Vec<FileEntry> },
    Segments { inputs: Vec<SegmentEntry>, output: Option<SegmentEntry> },
}

/// What a commit will do.
struct PreparedCommit {
    change: Change,
    /// New files, and their places.
    moves: Vec<(PathBuf, String)>,
    /// Bitmaps, and the list of deleted ids, written for it.
    bitmaps: Vec<String>,
    part: CompactedPart,
    discarded: u64,
}

impl Compaction<'_> {
    /// Publishes pieces of a dataset or feature in one commit.
    pub(super) fn publish(
        &mut self,
        unit: &Unit,
        mut pieces: Vec<Replacement>,
        salt: Uuid,
    ) -> Result<(), ChangeError> {
        if pieces.is_empty() {
            return Ok(());
        }
        let lock = WriterLock::take(self.store)?;
        if let Files::Feature(_) = &unit.files {
            self.note_indexes(&mut pieces)?;
        }
        let now = self.store.snapshot()?;
        let prepared = match &unit.files {
            Files::Dataset(part) => self.dataset(unit, part, &now, pieces, salt)?,
            Files::Feature(part) => self.feature(unit, part, &now, pieces)?,
        };
        let PreparedCommit { change, moves, bitmaps, part, discarded } = prepared;
        self.report.discarded += discarded;
        if change.is_empty() {
            return Ok(());
        }
        let placed = self.store.env().place(&moves).map_err(CommitError::from);
        let published = placed.and_then(|()| publish(self.store, &lock, &now, change));
        let snapshot = published.inspect_err(|e| {
            if !e.is_unclear() {
                self.store.env().unplace(&moves);
                self.store.env().remove_unreferenced(bitmaps);
            }
        })?;
        self.report.snapshot = Some(snapshot.number());
        self.report.add(part);
        if let Files::Dataset(part) = &unit.files {
            self.update_ledger(&lock, part.number, &now, &snapshot);
        }
        Ok(())
    }

    /// Notes in new segments the indexes of those that they replace, of which some may have been made since
    /// the files were read.
    fn note_indexes(&self, pieces: &mut [Replacement]) -> Result<(), StorageError> {
        let env = self.store.env();
        let kinds = kinds(env)?;
        for piece in pieces {
            if let Replacement::Segments { inputs, output: Some(output) } = piece {
                output.note_indexes(headers(env, inputs, &kinds));
            }
        }
        Ok(())
    }

    /// The same ids are in other files now. A ledger that is not told is rebuilt by the next append.
    fn update_ledger(&self, _lock: &WriterLock, dataset: u32, before: &Snapshot, after: &Snapshot) {
        let (env, id) = (self.store.env(), after.root().store);
        let part = |s: &Snapshot| s.datasets().iter().find(|d| d.number == dataset).cloned();
        let (Some(before), Some(after)) = (part(before), part(after)) else { return };
        if before.files == after.files || !env.exists(LEDGER).unwrap_or(false) {
            return;
        }
        if let Ok(ledger) = Ledger::open(&env.shared_vfs(), env.path(), id) {
            let _ = ledger.rebase(&before, &after);
        }
    }

    fn empty(&self, unit: &Unit, now: &Snapshot) -> PreparedCommit {
        PreparedCommit {
            change: change_of(now, &self.options.command),
            moves: Vec::new(),
            bitmaps: Vec::new(),
            part: CompactedPart { of: unit.name.clone(), ..CompactedPart::default() },
            discarded: 0,
        }
    }

    fn feature(
        &self,
        unit: &Unit,
        base: &FeaturePart,
        now: &Snapshot,
        pieces: Vec<Replacement>,
    ) -> Result<PreparedCommit, ChangeError> {
        let mut p = self.empty(unit, now);
        let current = now.features().iter().find(|f| f.number == base.number);
        let mut part = current.map_or_else(|| base.clone(), |part| FeaturePart::clone(part));
        for piece in pieces {
            let Replacement::Segments { inputs, output } = piece else {
                p.discarded += 1;
                continue;
            };
            if current.is_none() || !take_out(&mut part.segments, &inputs, |s| s.uuid) {
                p.discarded += 1;
                continue;
            }
            let before = inputs.iter().map(|s| (s.len, s.rows));
            p.part.count(before, output.iter().map(|s| (s.len, s.rows)));
            if let Some(segment) = output {
                let from = self.folder.path_of(&format!("{}.arrow", segment.uuid));
                p.moves.push((from, segment_file(part.number, segment.uuid)));
                part.segments.push(segment);
            }
        }
        sort_segments(&mut part.segments);
        if p.part.files_before > 0 {
            p.change.changes.push(p.part.in_words());
            p.change.features.push(part);
        }
        Ok(p)
    }

    fn dataset(
        &self,
        unit: &Unit,
        base: &DatasetPart,
        now: &Snapshot,
        pieces: Vec<Replacement>,
        salt: Uuid,
    ) -> Result<PreparedCommit, ChangeError> {
        let mut p = self.empty(unit, now);
        let Some(old) = now.datasets().iter().find(|d| d.number == base.number) else {
            p.discarded = pieces.len() as u64;
            return Ok(p);
        };
        let mut part = DatasetPart::clone(old);
        let purged = now.rows_of(old)?.purged;
        // Rows of the new files that are not in them, or only as shells.
        let mut shells = RowSet::new();
        let mut forgotten = Vec::new();
        for piece in pieces {
            let moved = match piece {
                Replacement::Segments { .. } => None,
                Replacement::Samples { inputs, outputs, ids } => {
                    let done = replace(&mut part.files, &inputs, &outputs);
                    let rows = RowSet::from_ranges(outputs.iter().map(FileEntry::range));
                    if done {
                        forgotten.extend(ids);
                        shells = shells.union(&rows.difference(&unit.live));
                        // Shells were left out before.
                        let before =
                            purged.intersection(&RowSet::from_ranges(inputs.iter().map(FileEntry::range)));
                        let kept = rows.intersection(&unit.live).len() + before.len();
                        p.part.rows_dropped +=
                            inputs.iter().map(|f| f.rows).sum::<u64>().saturating_sub(kept);
                    }
                    done.then_some((inputs, outputs, part.number, sample_file as fn(u32, Uuid) -> String))
                }
                Replacement::Counts { encoding, inputs, outputs } => {
                    let entry = part.encodings.iter_mut().find(|e| e.number == encoding);
                    let done = entry.is_some_and(|e| replace(&mut e.files, &inputs, &outputs));
                    done.then_some((inputs, outputs, encoding, encoding_file as fn(u32, Uuid) -> String))
                }
            };
            let Some((inputs, outputs, number, place)) = moved else {
                p.discarded += 1;
                continue;
            };
            // Rows of token counts are rows of samples, and counted there.
            p.part.count(inputs.iter().map(|f| (f.len, 0)), outputs.iter().map(|f| (f.len, 0)));
            let from = |f: &FileEntry| self.folder.path_of(&format!("{}.parquet", f.uuid));
            p.moves.extend(outputs.iter().map(|f| (from(f), place(number, f.uuid))));
        }
        if p.part.files_before > 0 {
            p.bitmaps = self.bury(now, old, &mut part, &shells, (salt, forgotten))?;
            p.change.changes.push(p.part.in_words());
            p.change.datasets.push(part);
        }
        Ok(p)
    }

    /// Sets the deleted and purged rows of a part whose files changed, and the list of the ids that are in no
    /// file any more. Returns the files written for it.
    fn bury(
        &self,
        now: &Snapshot,
        old: &DatasetPart,
        part: &mut DatasetPart,
        shells: &RowSet,
        (salt, forgotten): (Uuid, Vec<(u64, IdDigest)>),
    ) -> Result<Vec<String>, ChangeError> {
        let rows = now.rows_of(old)?;
        let stored = part.stored_rows();
        let purged = rows.purged.union(shells).intersection(&stored);
        let deleted = rows.deleted.intersection(&stored).difference(&purged);
        if (&deleted, &purged) == (&rows.deleted, &rows.purged) {
            part.set_tombstones(old.tombstones.clone());
        } else {
            set_dead(self.store.env(), part, &deleted, &rows.superseded, &purged)?;
        }
        // An id that was added again since has a row.
        let ids = forgotten.into_iter().filter(|(row, _)| !rows.superseded.contains(*row));
        let listed = ids::rewrite(self.store.env(), part, salt, ids.map(|(_, id)| id).collect(), Vec::new());
        let written = new_files(old, part);
        if listed.is_ok() && part.rows == old.rows {
            return Ok(written);
        }
        self.store.env().remove_unreferenced(written);
        listed?;
        let detail = format!("it would have {} samples instead of {}", part.rows, old.rows);
        Err(StorageError::io(format!("compact dataset {}", part.name), std::io::Error::other(detail)).into())
    }
}

/// Replaces files by others, if all of them are there. The list stays sorted by rows.
fn replace(files: &mut Vec<FileEntry>, inputs: &[FileEntry], outputs: &[FileEntry]) -> bool {
    if !take_out(files, inputs, |f| f.uuid) {
        return false;
    }
    files.extend(outputs.iter().cloned());
    files.sort_by_key(|f| f.first_row);
    true
}

/// Takes some files out of a list, if all of them are in it.
fn take_out<T>(list: &mut Vec<T>, files: &[T], name: impl Fn(&T) -> Uuid) -> bool {
    let wanted: HashSet<Uuid> = files.iter().map(&name).collect();
    let there = list.iter().filter(|f| wanted.contains(&name(f))).count() == wanted.len();
    if there {
        list.retain(|f| !wanted.contains(&name(f)));
    }
    there
}

impl CompactedPart {
    /// Adds replaced and new files as (bytes, rows).
    fn count(&mut self, before: impl Iterator<Item = (u64, u64)>, after: impl Iterator<Item = (u64, u64)>) {
        let (mut rows_before, mut rows_after) = (0, 0);
        for (bytes, rows) in before {
            (self.files_before, self.bytes_before) = (self.files_before + 1, self.bytes_before + bytes);
            rows_before += rows;
        }
        for (bytes, rows) in after {
            (self.files_after, self.bytes_after) = (self.files_after + 1, self.bytes_after + bytes);
            rows_after += rows;
        }
        self.rows_dropped += u64::saturating_sub(rows_before, rows_after);
    }

    fn in_words(&self) -> String {
        format!(
            "{}: {} became {}, {} dropped",
            self.of,
            many(self.files_before, "file"),
            self.files_after,
            many(self.rows_dropped, "row")
        )
    }
}
