//! The files of an append, from the first sample to their place in the store.

use super::columns::{ColumnBuilder, schema};
use super::value::{MetaValue, NewSample};
use crate::error::{AppendError, StorageError, WriteError};
use crate::layout::{Env, names, sample_file};
use crate::manifest::{ColumnDef, DatasetPart, FileEntry};
use crate::table::{TableMetadata, TableWriter, properties};
use arrow_array::builder::{BinaryBuilder, StringBuilder, UInt64Builder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

/// Samples that wait in memory before they are written.
const BATCH_ROWS: usize = 1024;
/// Bytes of them.
const BATCH_BYTES: usize = 16 << 20;
/// A file is closed once it has this many bytes.
pub(crate) const FILE_BYTES: u64 = 1 << 30;
/// Names of the folders of appends in `tmp/` start with this. Only the holder of the writer lock has one, so
/// others are leftovers.
const PREFIX: &str = "append-";

/// A new name of such a folder, relative to the store.
pub(crate) fn append_folder() -> String {
    format!("tmp/{PREFIX}{}", Uuid::new_v4())
}

/// Whether a name in `tmp/` is that of such a folder.
pub(crate) fn is_append(name: &str) -> bool {
    names::is_work(PREFIX, name)
}

/// Files being written in a folder of `tmp/`, which goes away when this is dropped.
pub(crate) struct SampleFiles {
    env: Arc<Env>,
    folder: String,
    schema: SchemaRef,
    about: TableMetadata,
    done: Vec<(PathBuf, FileEntry)>,
    writer: Option<TableWriter>,
    waiting: PendingRows,
    /// A write failed: what the files hold is unknown.
    poisoned: bool,
}

/// Rows that were not written yet.
#[derive(Default)]
struct PendingRows {
    first: u64,
    row: UInt64Builder,
    id: StringBuilder,
    record: BinaryBuilder,
    columns: Vec<ColumnBuilder>,
    rows: usize,
    bytes: usize,
}

impl PendingRows {
    fn new(columns: &[ColumnDef]) -> Self {
        let columns = columns.iter().map(|c| ColumnBuilder::new(c.ty)).collect();
        PendingRows { columns, ..PendingRows::default() }
    }
}

impl SampleFiles {
    pub(crate) fn new(env: &Arc<Env>, part: &DatasetPart) -> Self {
        SampleFiles {
            env: Arc::clone(env),
            folder: append_folder(),
            schema: schema(&part.columns),
            about: TableMetadata::samples(part, &part.columns),
            done: Vec::new(),
            writer: None,
            waiting: PendingRows::new(&part.columns),
            poisoned: false,
        }
    }

    /// Fails after a write failed.
    pub(crate) fn check(&self) -> Result<(), AppendError> {
        if self.poisoned { Err(AppendError::Poisoned) } else { Ok(()) }
    }

    /// The finished files.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &FileEntry> {
        self.done.iter().map(|(_, entry)| entry)
    }

    /// Adds a sample with one value per column. Rows come without gaps.
    pub(crate) fn push(
        &mut self,
        row: u64,
        sample: &NewSample<'_>,
        values: &[MetaValue],
    ) -> Result<(), AppendError> {
        let w = &mut self.waiting;
        if w.rows == 0 {
            w.first = row;
        }
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
        if w.rows >= BATCH_ROWS || w.bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
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
        let w = &mut self.waiting;
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(w.row.finish()), Arc::new(w.id.finish()), Arc::new(w.record.finish())];
        columns.extend(w.columns.iter_mut().map(ColumnBuilder::finish));
        (w.rows, w.bytes) = (0, 0);
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|e| StorageError::io("write samples", std::io::Error::other(e)))?;
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.open_file(self.waiting.first)?,
        };
        writer.write(&batch).map_err(storage)?;
        self.writer = Some(writer);
        Ok(())
    }

    fn open_file(&self, first_row: u64) -> Result<TableWriter, StorageError> {
        let env = &self.env;
        let uuid = Uuid::new_v4();
        env.create_folder(&self.folder)?;
        let path = env.at(&format!("{}/{uuid}.parquet", self.folder));
        let (schema, about) = (Arc::clone(&self.schema), self.about.clone());
        TableWriter::create(env.vfs(), &path, uuid, first_row, schema, sample_properties(), about)
    }

    fn close_file(&mut self) -> Result<(), AppendError> {
        if let Some(writer) = self.writer.take() {
            self.done.push(writer.finish().map_err(storage)?);
        }
        Ok(())
    }

    /// Writes what waits and flushes everything to the medium.
    pub(crate) fn finish(&mut self) -> Result<(), AppendError> {
        self.flush()?;
        self.poisoned = true;
        self.close_file()?;
        self.poisoned = false;
        Ok(())
    }

    /// Moves the files to their places.
    pub(crate) fn move_into(&self, dataset: u32) -> Result<(), StorageError> {
        let moves = self.done.iter().map(|(path, entry)| (path.clone(), sample_file(dataset, entry.uuid)));
        self.env.move_all(&moves.collect::<Vec<_>>())
    }

    /// Removes them from there, as far as that is possible.
    pub(crate) fn remove_from(&self, dataset: u32) {
        self.env.remove_unreferenced(self.entries().map(|entry| sample_file(dataset, entry.uuid)));
    }
}

impl Drop for SampleFiles {
    fn drop(&mut self) {
        self.writer = None;
        // A leftover does no harm; the next append tries again.
        let _ = self.env.remove_folder(&self.folder);
    }
}

fn storage(e: WriteError) -> AppendError {
    match e {
        WriteError::Poisoned(_) => AppendError::Poisoned,
        other => other.into(),
    }
}

/// How sample files are written.
pub(crate) fn sample_properties() -> WriterProperties {
    let mut p = properties();
    for unique in ["row", "id", "record"] {
        p = p.set_column_dictionary_enabled(ColumnPath::from(unique), false);
    }
    p.set_column_bloom_filter_enabled(ColumnPath::from("id"), true).build()
}

/// Removes folders that appends left behind. The writer lock is held, so none of them is in use.
pub(crate) fn remove_leftovers(env: &Env) -> Result<(), StorageError> {
    for name in env.list("tmp")?.iter().filter(|n| is_append(n)) {
        env.remove_folder(&format!("tmp/{name}"))?;
    }
    Ok(())
}
