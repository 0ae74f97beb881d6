//! Adding samples: rows are allotted, ids checked, and everything is published at once or not at all.

use super::columns::{ColumnSpec, merge};
use super::files::{SampleFiles, remove_leftovers};
use super::value::{MetaRow, MetaValue, sample_digest};
use crate::error::{AppendError, CommitError, StorageError};
use crate::ident::DatasetName;
use crate::ledger::{Known, Ledger, LedgerError};
use crate::manifest::{DatasetPart, SourceNote};
use crate::store::{Snapshot, Store, WriterLock, change_of, publish};
use std::collections::HashMap;
use std::sync::Arc;

/// What happens to a sample whose id is stored with other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IfChanged {
    /// The append fails.
    #[default]
    Refuse,
    /// The stored sample stays, and the new one is counted as kept.
    Keep,
}

/// How an append is done.
#[derive(Debug, Clone, Default)]
pub struct AppendOptions {
    /// The command, for the history.
    pub command: String,
    /// What to do about changed samples.
    pub if_changed: IfChanged,
    /// Where the samples come from, for people.
    pub source: Option<String>,
}

/// A sample to add.
#[derive(Debug, Clone)]
pub struct NewSample<'a> {
    /// The user's id.
    pub id: &'a str,
    /// The original record, byte for byte.
    pub record: Option<&'a [u8]>,
    /// One value per column of the append.
    pub metadata: Vec<MetaValue>,
}

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is new and got this row.
    Added(u64),
    /// It was there already, the same, in this row.
    Unchanged(u64),
    /// Another sample with its id is in this row and stays.
    Kept(u64),
}

/// What became of all samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AppendReport {
    /// New samples.
    pub added: u64,
    /// Samples that were there already.
    pub unchanged: u64,
    /// Changed samples whose stored form stays.
    pub kept: u64,
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
    /// `None` for a new dataset.
    ledger: Option<Ledger>,
    added: HashMap<String, Known>,
    report: AppendReport,
    files: SampleFiles,
    /// The last field, so that it is released last: closing the ledger and removing the folder are a writer's business.
    lock: WriterLock,
}

impl SampleAppend {
    pub(crate) fn start(
        store: Store,
        dataset: &DatasetName,
        columns: Vec<ColumnSpec>,
        options: AppendOptions,
    ) -> Result<SampleAppend, AppendError> {
        let lock = WriterLock::take(&store)?;
        let base = store.snapshot()?;
        remove_leftovers(store.env())?;
        let (mut part, is_new) = match base.datasets().iter().find(|d| d.name == **dataset) {
            Some(part) => (DatasetPart::clone(part), false),
            None => (DatasetPart::new(dataset, base.root().next.dataset), true),
        };
        let ledger = if is_new { None } else { Some(open_ledger(&store, &base, &part)?) };
        let (merged, places) = merge(&part, &columns)?;
        part.columns = merged;
        let files = SampleFiles::new(store.env(), &part);
        Ok(SampleAppend {
            store,
            base,
            part,
            is_new,
            options,
            places,
            ledger,
            added: HashMap::new(),
            report: AppendReport::default(),
            files,
            lock,
        })
    }

    /// The row that the first new sample of this append gets.
    pub fn first_row(&self) -> u64 {
        self.part.next_row - self.report.added
    }

    /// Adds a sample, or finds that it is there already.
    pub fn push(&mut self, sample: NewSample<'_>) -> Result<Pushed, AppendError> {
        self.files.check()?;
        if sample.id.is_empty() || sample.id.len() > ID_LIMIT {
            return Err(AppendError::IdLength(sample.id.len()));
        }
        let values = self.fit(&sample)?;
        let mut named: MetaRow<'_> =
            self.part.columns.iter().zip(&values).map(|(c, v)| (c.name.as_str(), v.clone())).collect();
        let digest = sample_digest(sample.record, &mut named);
        if let Some(known) = self.added.get(sample.id).copied() {
            if known.digest != digest {
                return Err(AppendError::DuplicateId { id: sample.id.to_owned() });
            }
            self.report.unchanged += 1;
            return Ok(Pushed::Unchanged(known.row));
        }
        if let Some(known) = self.stored(sample.id)? {
            return self.known(sample.id, known, digest);
        }
        let row = self.part.next_row;
        self.files.push(row, &sample, &values)?;
        self.added.insert(sample.id.to_owned(), Known { row, digest });
        self.part.next_row += 1;
        self.report.added += 1;
        Ok(Pushed::Added(row))
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

    fn stored(&self, id: &str) -> Result<Option<Known>, AppendError> {
        match &self.ledger {
            None => Ok(None),
            Some(ledger) => ledger.get(self.part.number, id).map_err(|e| {
                // It agreed when it was opened. The next append makes it anew.
                let _ = Ledger::remove(&self.store.env().shared_vfs(), self.store.path());
                StorageError::io(
                    "look up an id in the ledger (run the command again)",
                    std::io::Error::other(e),
                )
                .into()
            }),
        }
    }

    fn known(&mut self, id: &str, known: Known, digest: u128) -> Result<Pushed, AppendError> {
        if known.digest == digest {
            self.report.unchanged += 1;
            return Ok(Pushed::Unchanged(known.row));
        }
        match self.options.if_changed {
            IfChanged::Keep => {
                self.report.kept += 1;
                Ok(Pushed::Kept(known.row))
            }
            IfChanged::Refuse => Err(AppendError::Changed {
                dataset: self.part.name.clone(),
                id: id.to_owned(),
                row: known.row,
            }),
        }
    }

    /// Publishes the samples. With nothing new, nothing is published.
    pub fn finish(mut self) -> Result<AppendReport, CommitError> {
        self.files.check()?;
        if self.report.added == 0 {
            return Ok(self.report);
        }
        self.files.finish()?;
        let moved = self.files.move_into(self.part.number).map_err(CommitError::from);
        let snapshot = match moved.and_then(|()| self.publish()) {
            Ok(snapshot) => snapshot,
            Err(e) => {
                if !matches!(e, CommitError::Unclear { .. }) {
                    // CURRENT does not name the files, so nothing can refer to them: they may go.
                    self.files.remove_from(self.part.number);
                }
                return Err(e);
            }
        };
        self.report.snapshot = Some(snapshot.number());
        self.update_ledger();
        Ok(self.report)
    }

    fn publish(&mut self) -> Result<Arc<Snapshot>, CommitError> {
        let first_row = self.first_row();
        self.part.rows += self.report.added;
        self.part.files.extend(self.files.entries().cloned());
        self.part.sources.push(SourceNote {
            snapshot: self.base.number() + 1,
            first_row,
            end_row: self.part.next_row,
            source: self.options.source.clone(),
            command: self.options.command.clone(),
        });
        let mut change = change_of(&self.base, &self.options.command);
        if self.is_new {
            change.next.dataset += 1;
        }
        change.changes.push(format!("dataset {}: {} samples added", self.part.name, self.report.added));
        change.datasets.push(self.part.clone());
        publish(&self.store, &self.lock, &self.base, change)
    }

    /// The samples are published whatever happens here: a ledger that is behind is brought up by the next append.
    fn update_ledger(&mut self) {
        let ledger = match self.ledger.take() {
            Some(ledger) => Some(ledger),
            None => {
                Ledger::open(&self.store.env().shared_vfs(), self.store.path(), self.base.root().store).ok()
            }
        };
        let entries: Vec<(String, Known)> = self.added.drain().collect();
        if let Some(ledger) = ledger {
            let _ = ledger.add(&self.part, &entries);
        }
    }
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

/// The ledger, brought up to date for a dataset. One that cannot be is made anew once.
fn open_ledger(store: &Store, base: &Snapshot, part: &DatasetPart) -> Result<Ledger, AppendError> {
    let vfs = store.env().shared_vfs();
    let reader = base.samples(part)?;
    for attempt in 0..2 {
        let ledger = Ledger::open(&vfs, store.path(), base.root().store)?;
        match ledger.catch_up(part, &reader) {
            Ok(()) => return Ok(ledger),
            Err(LedgerError::Samples(e)) => return Err(e.into()),
            Err(LedgerError::Unusable(e)) if attempt > 0 => {
                return Err(StorageError::io("rebuild the ledger", std::io::Error::other(e)).into());
            }
            Err(LedgerError::Unusable(_)) => {
                drop(ledger);
                Ledger::remove(&vfs, store.path())?;
            }
        }
    }
    Err(StorageError::io("rebuild the ledger", std::io::Error::other("it stays unusable")).into())
}
