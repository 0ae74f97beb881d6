//! Adding samples: rows are allotted, ids checked, and everything is published at once or not at all.

use super::columns::{ColumnBuilder, ColumnSpec, merge, schema};
use super::value::{MetaRow, MetaValue, sample_digest};
use crate::error::{AppendError, CommitError, StorageError, WriteError};
use crate::ident::DatasetName;
use crate::ledger::{Known, Ledger, LedgerError};
use crate::manifest::{DatasetPart, FileEntry, SourceNote};
use crate::store::{Env, Snapshot, Store, WriterLock, change_of, publish, sample_file, sample_folder};
use crate::table::{TableWriter, properties};
use arrow_array::builder::{BinaryBuilder, StringBuilder, UInt64Builder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

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
/// Samples that wait in memory before they are written.
const BATCH_ROWS: usize = 1024;
/// Bytes of them.
const BATCH_BYTES: usize = 16 << 20;
/// A file is closed once it has this many bytes.
const FILE_BYTES: u64 = 1 << 30;
/// Folders in `tmp/` of appends start with this. Only the holder of the writer lock has one, so others are leftovers.
const TMP: &str = "tmp/append-";

/// An append under way. Holds the writer lock. Dropped before [`SampleAppend::finish`], nothing happened.
pub struct SampleAppend {
    lock: WriterLock,
    store: Store,
    base: Arc<Snapshot>,
    part: DatasetPart,
    is_new: bool,
    options: AppendOptions,
    schema: SchemaRef,
    /// Place of each column of the append among the dataset's.
    places: Vec<usize>,
    ledger: Option<Ledger>,
    added: HashMap<String, Known>,
    report: AppendReport,
    folder: String,
    files: Vec<(PathBuf, FileEntry)>,
    writer: Option<TableWriter>,
    waiting: Waiting,
    poisoned: bool,
}

/// Rows that were not written yet.
struct Waiting {
    row: UInt64Builder,
    id: StringBuilder,
    record: BinaryBuilder,
    columns: Vec<ColumnBuilder>,
    rows: usize,
    bytes: usize,
}

impl Waiting {
    fn new(part: &DatasetPart) -> Self {
        Waiting {
            row: UInt64Builder::new(),
            id: StringBuilder::new(),
            record: BinaryBuilder::new(),
            columns: part.columns.iter().map(|c| ColumnBuilder::new(c.ty)).collect(),
            rows: 0,
            bytes: 0,
        }
    }
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
        let folder = format!("{TMP}{}", Uuid::new_v4());
        Ok(SampleAppend {
            lock,
            schema: schema(&part.columns),
            waiting: Waiting::new(&part),
            store,
            base,
            part,
            is_new,
            options,
            places,
            ledger,
            added: HashMap::new(),
            report: AppendReport::default(),
            folder,
            files: Vec::new(),
            writer: None,
            poisoned: false,
        })
    }

    /// Adds a sample, or finds that it is there already.
    pub fn push(&mut self, sample: NewSample<'_>) -> Result<Pushed, AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned);
        }
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
        self.take(row, &sample, &values);
        self.added.insert(sample.id.to_owned(), Known { row, digest });
        self.part.next_row += 1;
        self.report.added += 1;
        if self.waiting.rows >= BATCH_ROWS || self.waiting.bytes >= BATCH_BYTES {
            self.flush()?;
        }
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

    fn take(&mut self, row: u64, sample: &NewSample<'_>, values: &[MetaValue]) {
        let w = &mut self.waiting;
        w.row.append_value(row);
        w.id.append_value(sample.id);
        w.record.append_option(sample.record);
        w.bytes += 32 + sample.id.len() + sample.record.map_or(0, <[u8]>::len);
        for (column, value) in w.columns.iter_mut().zip(values) {
            if let MetaValue::Text(t) = value {
                w.bytes += t.len();
            }
            column.push(value);
        }
        w.rows += 1;
    }

    fn flush(&mut self) -> Result<(), AppendError> {
        if self.waiting.rows == 0 {
            return Ok(());
        }
        self.poisoned = true;
        self.write_waiting()?;
        if self.writer.as_ref().is_some_and(|w| w.bytes() >= FILE_BYTES) {
            self.close_file()?;
        }
        self.poisoned = false;
        Ok(())
    }

    fn write_waiting(&mut self) -> Result<(), AppendError> {
        let rows = self.waiting.rows as u64;
        let w = &mut self.waiting;
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(w.row.finish()), Arc::new(w.id.finish()), Arc::new(w.record.finish())];
        columns.extend(w.columns.iter_mut().map(ColumnBuilder::finish));
        (w.rows, w.bytes) = (0, 0);
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|e| StorageError::io("write samples", std::io::Error::other(e)))?;
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.open_file(self.part.next_row - rows)?,
        };
        writer.write(&batch).map_err(storage)?;
        self.writer = Some(writer);
        Ok(())
    }

    fn open_file(&self, first_row: u64) -> Result<TableWriter, StorageError> {
        let env = self.store.env();
        let uuid = Uuid::new_v4();
        env.vfs().create_dir(&env.at(&self.folder)).map_err(Env::io("make the folder", &self.folder))?;
        let path = env.at(&format!("{}/{uuid}.parquet", self.folder));
        TableWriter::create(env.vfs(), &path, uuid, first_row, Arc::clone(&self.schema), sample_properties())
    }

    fn close_file(&mut self) -> Result<(), AppendError> {
        if let Some(writer) = self.writer.take() {
            self.files.push(writer.finish().map_err(storage)?);
        }
        Ok(())
    }

    /// Publishes the samples. With nothing new, nothing is published.
    pub fn finish(mut self) -> Result<AppendReport, CommitError> {
        if self.poisoned {
            return Err(AppendError::Poisoned.into());
        }
        if self.report.added == 0 {
            return Ok(self.report);
        }
        self.flush()?;
        self.close_file()?;
        let snapshot = match self.move_files().map_err(CommitError::from).and_then(|()| self.publish()) {
            Ok(snapshot) => snapshot,
            Err(e @ CommitError::Unclear { .. }) => return Err(e),
            Err(e) => {
                // CURRENT does not name the files, so nothing can refer to them: they may go.
                for (_, entry) in &self.files {
                    let name = sample_file(self.part.number, entry.uuid);
                    let _ = self.store.env().vfs().remove(&self.store.env().at(&name));
                }
                return Err(e);
            }
        };
        self.report.snapshot = Some(snapshot.number());
        self.update_ledger();
        Ok(self.report)
    }

    fn move_files(&mut self) -> Result<(), StorageError> {
        let env = self.store.env();
        let folder = sample_folder(self.part.number);
        env.make_folder(&folder)?;
        for (path, entry) in &self.files {
            env.rename(path, &sample_file(self.part.number, entry.uuid))?;
        }
        env.sync_folder(&folder)
    }

    fn publish(&mut self) -> Result<Arc<Snapshot>, CommitError> {
        let first_row = self.part.next_row - self.report.added;
        self.part.rows += self.report.added;
        self.part.files.extend(self.files.iter().map(|(_, entry)| entry.clone()));
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

impl Drop for SampleAppend {
    fn drop(&mut self) {
        self.writer = None;
        // A leftover does no harm; the next append tries again.
        let _ = self.store.env().remove_folder(&self.folder);
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

fn storage(e: WriteError) -> AppendError {
    match e {
        WriteError::Storage(e) => AppendError::Storage(e),
        WriteError::Poisoned(_) => AppendError::Poisoned,
        other => AppendError::Storage(StorageError::io("write samples", std::io::Error::other(other))),
    }
}

fn sample_properties() -> WriterProperties {
    let mut p = properties();
    for unique in ["row", "id", "record"] {
        p = p.set_column_dictionary_enabled(ColumnPath::from(unique), false);
    }
    p.set_column_bloom_filter_enabled(ColumnPath::from("id"), true).build()
}

fn remove_leftovers(env: &Env) -> Result<(), StorageError> {
    let names = match env.vfs().list(&env.at("tmp")) {
        Ok(names) => names,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Env::io("list", "tmp")(e)),
    };
    for name in names.iter().map(|n| format!("tmp/{n}")).filter(|n| n.starts_with(TMP)) {
        env.remove_folder(&name)?;
    }
    Ok(())
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
