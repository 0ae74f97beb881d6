//! Sample files: the live rows of adjacent ones in new files, with shells where rows are not live.

use super::{Watch, stretches};
use crate::error::{Damage, RewriteError, StorageError, WriteError};
use crate::layout::{Env, HeldFolder};
use crate::manifest::{DatasetPart, FileEntry};
use crate::samples::{SampleReader, sample_properties, schema, shell_batch};
use crate::table::{TableMetadata, TableWriter};
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{ArrayRef, RecordBatch, UInt64Array};
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use arrow_select::take::take;
use gstore_core::RowSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use uuid::Uuid;

/// Rows that are written at once, as an append does it.
const BATCH_ROWS: usize = 1024;

/// Writes the live rows of some sample files of a dataset, which ascend, to files in the folder. A file is
/// closed once it has `file_bytes`.
pub(crate) fn merge_samples(
    folder: &HeldFolder,
    part: &DatasetPart,
    inputs: &[FileEntry],
    live: &RowSet,
    file_bytes: u64,
    watch: &mut Watch<'_>,
) -> Result<Vec<FileEntry>, RewriteError> {
    let own = RowSet::from_ranges(inputs.iter().map(FileEntry::range));
    let of = format!("dataset {}", part.name);
    let mut target = RewrittenSamples::new(folder, part, file_bytes);
    for stretch in stretches(live, &own) {
        let copied = copy(&folder.env, part, inputs, &stretch, &mut target, watch);
        match copied.and_then(|()| target.close()) {
            Ok(()) => {}
            Err(e) => {
                target.abandon();
                return Err(e.affecting(&own, &of));
            }
        }
    }
    Ok(target.done)
}

fn copy(
    env: &Env,
    part: &DatasetPart,
    inputs: &[FileEntry],
    live: &RowSet,
    target: &mut RewrittenSamples<'_>,
    watch: &mut Watch<'_>,
) -> Result<(), RewriteError> {
    let reader = SampleReader::open(env, part, Arc::new(live.clone()), inputs);
    let target_schema = reader.schema();
    let names: Vec<&str> = target_schema.fields().iter().map(|f| f.name().as_str()).collect();
    // Bytes of the sources by rows, for the progress.
    let (bytes, rows) = inputs.iter().fold((0u64, 0u64), |(b, r), f| (b + f.len, r + f.rows));
    let mut expected = live.iter();
    for batch in reader.scan(&names, None) {
        let batch = batch.map_err(RewriteError::source)?;
        let numbers = batch.column(0).as_primitive::<UInt64Type>().values();
        // The reader takes rows by their place in the file; the file's metadata must agree.
        if let Some(row) = numbers.iter().find(|row| expected.next() != Some(**row)) {
            let d =
                Damage::new(format!("samples of {}", part.name), "column row", "the live rows in order", row);
            return Err(RewriteError::Source(d.into()));
        }
        target.push(&batch)?;
        let share = u128::from(bytes) * batch.num_rows() as u128 / u128::from(rows.max(1));
        watch.advance(u64::try_from(share).unwrap_or(0))?;
    }
    match expected.next() {
        None => Ok(()),
        Some(row) => {
            let d = Damage::new(format!("samples of {}", part.name), "rows", format!("row {row}"), "nothing");
            Err(RewriteError::Source(d.into()))
        }
    }
}

struct RewrittenSamples<'a> {
    folder: &'a HeldFolder,
    schema: SchemaRef,
    about: TableMetadata,
    file_bytes: u64,
    writer: Option<(TableWriter, Uuid)>,
    /// The row that must come next in the open file.
    next: u64,
    done: Vec<FileEntry>,
}

impl<'a> RewrittenSamples<'a> {
    fn new(folder: &'a HeldFolder, part: &DatasetPart, file_bytes: u64) -> Self {
        let about = TableMetadata::samples(part, &part.columns);
        RewrittenSamples {
            folder,
            schema: schema(&part.columns),
            about,
            file_bytes,
            writer: None,
            next: 0,
            done: Vec::new(),
        }
    }

    /// Adds live rows, and shells before and between them.
    fn push(&mut self, batch: &RecordBatch) -> Result<(), RewriteError> {
        for start in (0..batch.num_rows()).step_by(BATCH_ROWS) {
            let chunk = batch.slice(start, BATCH_ROWS.min(batch.num_rows() - start));
            let rows = chunk.column(0).as_primitive::<UInt64Type>().values().clone();
            // A chunk has rows.
            let (Some(first), Some(last)) = (rows.first().copied(), rows.last().copied()) else { continue };
            if self.writer.is_none() {
                self.open(first)?;
            }
            // Shells before the first row; those between rows are few enough to go with them.
            self.shells(first)?;
            if last - first < rows.len() as u64 {
                self.write(&chunk)?;
            } else {
                self.with_shells(&chunk, &rows, first..=last)?;
            }
            self.next = last + 1;
            if self.writer.as_ref().is_some_and(|(w, _)| w.bytes() >= self.file_bytes) {
                self.close()?;
            }
        }
        Ok(())
    }

    /// Writes rows with gaps, run by run.
    fn with_shells(
        &mut self,
        chunk: &RecordBatch,
        rows: &[u64],
        all: RangeInclusive<u64>,
    ) -> Result<(), RewriteError> {
        if all.end() - all.start() > 8 * BATCH_ROWS as u64 {
            // Long gaps: the rows one run after the other.
            let mut start = 0;
            for run in rows.chunk_by(|a, b| a + 1 == *b) {
                run.first().map_or(Ok(()), |first| self.shells(*first))?;
                self.write(&chunk.slice(start, run.len()))?;
                self.next += run.len() as u64;
                start += run.len();
            }
            return Ok(());
        }
        // The place of every row of the range in the chunk; a shell is what follows it.
        let shell = rows.len() as u64;
        let mut left = rows.iter().zip(0u64..).peekable();
        let place = |row: u64| left.next_if(|(r, _)| **r == row).map_or(shell, |(_, at)| at);
        let places = UInt64Array::from_iter_values(all.clone().map(place));
        let one_shell = shell_batch(&self.schema, 0..1).map_err(arrow)?;
        let source = concat_batches(&self.schema, [chunk, &one_shell]).map_err(arrow)?;
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt64Array::from_iter_values(all))];
        for column in source.columns().iter().skip(1) {
            columns.push(take(column, &places, None).map_err(arrow)?);
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(arrow)?;
        self.write(&batch)
    }

    /// Writes shells up to a row.
    fn shells(&mut self, end: u64) -> Result<(), RewriteError> {
        while self.next < end {
            let until = end.min(self.next.saturating_add(8 * BATCH_ROWS as u64));
            let batch = shell_batch(&self.schema, self.next..until).map_err(arrow)?;
            self.write(&batch)?;
            self.next = until;
        }
        Ok(())
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), RewriteError> {
        match self.writer.as_mut() {
            Some((writer, _)) => Ok(writer.write(batch)?),
            // Opened with the first row.
            None => Err(WriteError::Empty.into()),
        }
    }

    fn open(&mut self, first_row: u64) -> Result<(), RewriteError> {
        let uuid = Uuid::new_v4();
        let path = self.folder.path_of(&format!("{uuid}.parquet"));
        let (vfs, schema, about) = (self.folder.env.vfs(), Arc::clone(&self.schema), self.about.clone());
        let writer = TableWriter::create(vfs, &path, uuid, first_row, schema, sample_properties(), about);
        self.writer = Some((writer.map_err(|e| RewriteError::Target(e.into()))?, uuid));
        self.next = first_row;
        Ok(())
    }

    fn close(&mut self) -> Result<(), RewriteError> {
        if let Some((writer, _)) = self.writer.take() {
            self.done.push(writer.finish()?.1);
        }
        Ok(())
    }

    /// Removes what was written.
    fn abandon(&mut self) {
        let open = self.writer.take().map(|(_, uuid)| uuid);
        for uuid in open.into_iter().chain(self.done.drain(..).map(|f| f.uuid)) {
            self.folder.discard(&format!("{uuid}.parquet"));
        }
    }
}

fn arrow(e: arrow_schema::ArrowError) -> RewriteError {
    RewriteError::Target(StorageError::io("arrange samples", std::io::Error::other(e)).into())
}
