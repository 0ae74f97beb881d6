//! Adding samples: rows are allotted, ids checked, and everything is published at once or not at all.

use super::difference::difference_of;
use super::known::{KnownIds, StoredId};
use crate::error::{AppendError, CommitError, RecordDifference};
use crate::ledger::LedgerEntry;
use crate::manifest::{ClientWrite, ColumnDef, DatasetPart, SourceNote};
use crate::samples::{
    ColumnSpec, MetaRow, MetaValue, NewSample, SampleFiles, check_widened, merge, remove_leftovers,
    sample_digest,
};
use crate::store::{Snapshot, Store, WriterLock, change_of, publish};
use crate::tombstones::ids::{self, IdDigest};
use crate::tombstones::{new_files, supersede};
use arrow_array::cast::AsArray;
use gstore_core::{Cancel, DatasetName, Digest, Progress, RowSet, Silent, many};
use roaring::RoaringTreemap;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// What happens to a sample whose id is stored with other content. Uploads to a server say it by these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfChanged {
    /// The append fails.
    #[default]
    Refuse,
    /// The stored sample stays, and the new one is counted as kept.
    Keep,
    /// The stored sample is deleted, and the new one gets a row and its id, in the same commit.
    Replace,
}

/// What happens to a sample whose id was deleted from the dataset, whatever its content is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IfDeleted {
    /// It stays out, and is counted.
    #[default]
    LeaveOut,
    /// It is added as a new row, and its id counts as deleted no more.
    Restore,
}

/// How an append is done.
#[derive(Debug, Clone, Default)]
pub struct AppendOptions {
    /// The command, for the history.
    pub command: String,
    /// What to do about changed samples.
    pub if_changed: IfChanged,
    /// What to do about deleted ids.
    pub if_deleted: IfDeleted,
    /// Where the samples come from, for people.
    pub source: Option<String>,
}

/// Outcome of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOutcome {
    /// It is new and got this row.
    Added(u64),
    /// It was there already, the same, in this row.
    Unchanged(u64),
    /// Another sample with its id is in this row and stays.
    Kept(u64),
    /// An earlier sample of this append is the same and has this row. It is not counted.
    Repeated(u64),
    /// A sample with its id was deleted, so it was left out.
    LeftOut,
    /// It takes the place of another sample with its id.
    Replaced {
        /// Its row.
        row: u64,
        /// The row of the other one, which is deleted with this commit.
        old: u64,
    },
}

/// Outcome of all samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AppendReport {
    /// New samples.
    pub added: u64,
    /// Samples that were there already.
    pub unchanged: u64,
    /// Changed samples whose stored form stays.
    pub kept: u64,
    /// Changed samples that took the place of their stored form.
    pub replaced: u64,
    /// Deleted samples whose ids came again and were left out, each counted once.
    pub left_out: u64,
    /// The snapshot that has them; `None` if there was nothing to publish.
    pub snapshot: Option<u64>,
}

/// Ids have a length of 1 to this many bytes.
const ID_LIMIT: usize = u16::MAX as usize;

/// An append under way. Holds the writer lock. Dropped before [`SampleAppend::finish`], nothing happened.
pub struct SampleAppend {
    store: Store,
    base: Arc<Snapshot>,
    part: DatasetPart,
    is_new: bool,
    options: AppendOptions,
    /// Place of each column of the append among the dataset's.
    places: Vec<usize>,
    ids: KnownIds,
    /// Stored rows that stay and whose ids came: an id that comes twice is that of two samples of the append.
    met: RoaringTreemap,
    /// Digests of the changed samples that came for such rows.
    kept: HashMap<u64, Digest>,
    /// Rows whose ids get new rows: live ones, which are deleted with it, and deleted ones.
    superseded: Vec<u64>,
    /// Digests of ids that are added again.
    restored: Vec<IdDigest>,
    /// As its client names it, if it does.
    write: Option<ClientWrite>,
    report: AppendReport,
    files: SampleFiles,
    /// The last field, so that it is released last: closing the ledger and removing the folder
    /// are a writer's business.
    lock: WriterLock,
}

impl SampleAppend {
    pub(crate) fn start(
        store: Store,
        dataset: &DatasetName,
        columns: Vec<ColumnSpec>,
        options: AppendOptions,
        progress: &mut dyn Progress,
        cancel: &Cancel,
    ) -> Result<Option<SampleAppend>, AppendError> {
        let lock = WriterLock::take(&store)?;
        let base = store.snapshot()?;
        remove_leftovers(store.env())?;
        let existing = base.datasets().iter().find(|d| d.name == **dataset);
        if existing.is_none() && base.views().iter().any(|view| view.name == **dataset) {
            return Err(AppendError::View { name: dataset.to_string() });
        }
        let mut part = match existing {
            Some(part) => DatasetPart::clone(part),
            None => DatasetPart::new(dataset, base.root().next.dataset),
        };
        let is_new = existing.is_none();
        let Some(ids) = KnownIds::open(&store, &base, existing, progress, cancel)? else { return Ok(None) };
        let (merged, places) = merge(&part, &columns)?;
        if let Some(part) = existing
            && check_widened(&base.samples(part)?, &merged, &columns, progress, cancel)?.is_none()
        {
            return Ok(None);
        }
        part.columns = merged;
        let files = SampleFiles::new(store.env(), &part);
        Ok(Some(SampleAppend {
            store,
            base,
            part,
            is_new,
            options,
            places,
            ids,
            met: RoaringTreemap::new(),
            kept: HashMap::new(),
            superseded: Vec::new(),
            restored: Vec::new(),
            write: None,
            report: AppendReport::default(),
            files,
            lock,
        }))
    }

    /// The snapshot that the append adds to: the current one until it is finished or dropped.
    pub fn base(&self) -> &Snapshot {
        &self.base
    }

    /// The dataset as it was before this append, if it was there.
    fn before(&self) -> Option<&Arc<DatasetPart>> {
        self.base.datasets().iter().find(|part| part.number == self.part.number)
    }

    /// The columns that the dataset has with this append.
    pub fn columns(&self) -> &[ColumnDef] {
        &self.part.columns
    }

    /// Notes with the commit that this write of a client was done. Whether it was done before is in the
    /// base's dataset.
    pub fn name(&mut self, write: ClientWrite) {
        self.write = Some(write);
    }

    /// The row that the first new sample of this append gets.
    pub fn first_row(&self) -> u64 {
        self.part.next_row - self.report.added - self.report.replaced
    }

    /// Outcome of the samples so far.
    pub fn report(&self) -> AppendReport {
        self.report
    }

    /// The row of the sample that the dataset had under an id before this append, and whether this record is
    /// its own. Adds nothing.
    ///
    /// # Errors
    /// A ledger that can neither be read nor rebuilt.
    pub fn stored(&mut self, id: &str, record: Option<&[u8]>) -> Result<Option<(u64, bool)>, AppendError> {
        let StoredId::Live(known) = self.ids.stored(id)? else { return Ok(None) };
        let is_same = |r: &[u8]| sample_digest(Some(r), &mut MetaRow::new()) == known.digest;
        Ok(Some((known.row, record.is_some_and(is_same))))
    }

    /// How a record differs from that of a row that the dataset had before this append.
    ///
    /// # Errors
    /// A row that cannot be read.
    pub fn difference(&self, row: u64, record: Option<&[u8]>) -> Result<RecordDifference, AppendError> {
        let (Some(part), Some(record)) = (self.before(), record) else {
            return Ok(RecordDifference::Otherwise);
        };
        let stored = self.base.samples(part)?.get(&[row], &["record"])?;
        let stored = stored.column(0).as_binary::<i32>().iter().next().flatten();
        Ok(stored.map_or(RecordDifference::Otherwise, |stored| difference_of(stored, record)))
    }

    /// Adds a sample, or finds that it is there already.
    ///
    /// # Errors
    /// A sample that the dataset does not take, or whose id an earlier one of this append has with
    /// other content.
    pub fn push(&mut self, sample: NewSample<'_>) -> Result<AppendOutcome, AppendError> {
        self.files.check()?;
        if sample.id.is_empty() || sample.id.len() > ID_LIMIT {
            return Err(AppendError::IdLength(sample.id.len()));
        }
        let values = self.fit(&sample)?;
        let mut named: MetaRow<'_> =
            self.part.columns.iter().zip(&values).map(|(c, v)| (c.name.as_str(), v.clone())).collect();
        let digest = sample_digest(sample.record, &mut named);
        if let Some(known) = self.ids.added(sample.id) {
            return repeated(sample.id, known, digest);
        }
        let row = self.part.next_row;
        let stored = self.ids.stored(sample.id)?;
        let pushed = match stored {
            StoredId::Live(known) if self.met.contains(known.row) => {
                let first = self.kept.get(&known.row).copied().unwrap_or(known.digest);
                return repeated(sample.id, LedgerEntry { digest: first, ..known }, digest);
            }
            StoredId::Live(known) => self.known(&sample, known, digest)?,
            StoredId::Deleted(..) if self.options.if_deleted == IfDeleted::LeaveOut => AppendOutcome::LeftOut,
            StoredId::Deleted(..) | StoredId::Nothing => AppendOutcome::Added(row),
        };
        match pushed {
            AppendOutcome::Unchanged(row) => {
                self.report.unchanged += 1;
                self.met.insert(row);
            }
            AppendOutcome::Kept(row) => {
                self.report.kept += 1;
                self.met.insert(row);
                self.kept.insert(row, digest);
            }
            AppendOutcome::Repeated(_) => {}
            AppendOutcome::LeftOut => self.report.left_out += u64::from(self.ids.leave_out(stored)),
            AppendOutcome::Added(_) | AppendOutcome::Replaced { .. } => {
                self.files.push(row, &sample, &values)?;
                self.ids.add(sample.id, LedgerEntry { row, digest });
                self.part.next_row += 1;
            }
        }
        match (pushed, stored) {
            (AppendOutcome::Replaced { old, .. }, _) => {
                self.report.replaced += 1;
                self.superseded.push(old);
            }
            (AppendOutcome::Added(_), StoredId::Deleted(old, id)) => {
                self.report.added += 1;
                self.superseded.extend(old);
                self.restored.extend(id);
            }
            (AppendOutcome::Added(_), _) => self.report.added += 1,
            _ => {}
        }
        Ok(pushed)
    }

    /// One value per column of the dataset.
    fn fit(&self, sample: &NewSample<'_>) -> Result<Vec<MetaValue>, AppendError> {
        if sample.metadata.len() != self.places.len() {
            return Err(AppendError::ColumnCount {
                id: sample.id.to_owned(),
                expected: self.places.len(),
                found: sample.metadata.len(),
            });
        }
        let mut values = vec![MetaValue::Null; self.part.columns.len()];
        for (place, value) in self.places.iter().zip(&sample.metadata) {
            let (Some(column), Some(slot)) = (self.part.columns.get(*place), values.get_mut(*place)) else {
                continue;
            };
            *slot = value.fit(column.ty).ok_or_else(|| AppendError::ColumnType {
                dataset: self.part.name.clone(),
                column: column.key.clone(),
                expected: column.ty.to_string(),
                found: format!("{} in sample {:?}", describe(value), sample.id),
            })?;
        }
        Ok(values)
    }

    /// What becomes of a sample whose id is stored.
    fn known(
        &self,
        sample: &NewSample<'_>,
        known: LedgerEntry,
        digest: Digest,
    ) -> Result<AppendOutcome, AppendError> {
        if known.digest == digest {
            return Ok(AppendOutcome::Unchanged(known.row));
        }
        match self.options.if_changed {
            IfChanged::Keep => Ok(AppendOutcome::Kept(known.row)),
            IfChanged::Replace => Ok(AppendOutcome::Replaced { row: self.part.next_row, old: known.row }),
            IfChanged::Refuse => Err(AppendError::Changed {
                dataset: self.part.name.clone(),
                id: sample.id.to_owned(),
                row: known.row,
                differs: self.difference(known.row, sample.record)?,
            }),
        }
    }

    /// Publishes the samples. With nothing new and no name of a client's write, nothing is published.
    pub fn finish(self) -> Result<AppendReport, CommitError> {
        self.finish_until(&mut Silent, &Cancel::new())
    }

    /// The same, and shows how far the index of ids is, which comes last. Once the samples are published,
    /// `cancel` leaves that to the next append.
    pub fn finish_until(
        mut self,
        progress: &mut dyn Progress,
        cancel: &Cancel,
    ) -> Result<AppendReport, CommitError> {
        self.files.check()?;
        let is_new = self.report.added > 0 || self.report.replaced > 0;
        if !is_new && self.write.is_none() {
            return Ok(self.report);
        }
        let moved = match is_new {
            true => {
                self.files.finish()?;
                self.files.move_into(self.part.number).map_err(CommitError::from)
            }
            false => Ok(()),
        };
        let snapshot = moved.and_then(|()| self.publish()).inspect_err(|e| {
            if !e.is_unclear() {
                self.files.remove_from(self.part.number);
                if let Some(old) = self.before() {
                    self.store.env().remove_unreferenced(new_files(old, &self.part));
                }
            }
        })?;
        self.report.snapshot = Some(snapshot.number());
        self.ids.published(&self.part, progress, cancel);
        Ok(self.report)
    }

    fn publish(&mut self) -> Result<Arc<Snapshot>, CommitError> {
        let first_row = self.first_row();
        self.part.rows += self.report.added + self.report.replaced;
        self.part.files.extend(self.files.entries().cloned());
        let env = self.store.env();
        supersede(env, &mut self.part, &RowSet::from_rows(self.superseded.iter().copied()))?;
        let salt = ids::salt_of(&self.part);
        ids::rewrite(env, &mut self.part, salt, Vec::new(), std::mem::take(&mut self.restored))?;
        let snapshot = self.base.number() + 1;
        if first_row < self.part.next_row {
            self.part.sources.push(SourceNote {
                snapshot,
                first_row,
                end_row: self.part.next_row,
                source: self.options.source.clone(),
                command: self.options.command.clone(),
            });
        }
        if let Some(write) = &self.write {
            write.note(&mut self.part, (snapshot, Vec::new()), client_report(&self.report, snapshot));
        }
        let mut change = change_of(&self.base, &self.options.command);
        if self.is_new {
            change.next.dataset += 1;
        }
        let mut text = format!("dataset {}: {} added", self.part.name, many(self.report.added, "sample"));
        if self.report.replaced > 0 {
            text.push_str(&format!(", {} replaced", self.report.replaced));
        }
        change.changes.push(text);
        change.datasets.push(self.part.clone());
        publish(&self.store, &self.lock, &self.base, change)
    }
}

/// What becomes of a sample whose id came before in the same append.
fn repeated(id: &str, known: LedgerEntry, digest: Digest) -> Result<AppendOutcome, AppendError> {
    match known.digest == digest {
        true => Ok(AppendOutcome::Repeated(known.row)),
        false => Err(AppendError::DuplicateId { id: id.to_owned() }),
    }
}

/// What the client of a write is told.
fn client_report(report: &AppendReport, snapshot: u64) -> Map<String, Value> {
    let AppendReport { added, unchanged, kept, replaced, left_out, .. } = report;
    let counts = [("added", added), ("unchanged", unchanged), ("kept", kept), ("replaced", replaced)];
    let all = counts.into_iter().chain([("left_out", left_out), ("snapshot", &snapshot)]);
    all.map(|(name, count)| (name.to_owned(), json!(count))).collect()
}

fn describe(value: &MetaValue) -> String {
    match value {
        MetaValue::Null => "null".into(),
        MetaValue::Bool(b) => format!("the bool {b}"),
        MetaValue::Int(i) => format!("the int {i}"),
        MetaValue::Float(f) => format!("the float {f}"),
        MetaValue::Text(t) => format!("the text {:?}", t.chars().take(40).collect::<String>()),
    }
}
