//! Reading a Parquet file: ranges of rows and scattered rows.

use super::batch::batch_rows;
use super::bytes::VerifiedBytes;
use crate::error::{Damage, StorageError};
use crate::layout::NamedFile;
use crate::manifest::{CHUNK, FileEntry};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_schema::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    RowSelection, RowSelectionPolicy,
};
use parquet::file::metadata::PageIndexPolicy;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Uncompressed bytes that a batch should have.
const BATCH_BYTES: u64 = 32 << 20;
/// Rows that a batch has at most.
const BATCH_ROWS: u64 = 8192;
/// Batches that rows between those that are wanted may take in memory.
const MOST_BETWEEN: u64 = 4;

#[derive(Clone)]
pub(crate) struct TableFile {
    entry: FileEntry,
    bytes: VerifiedBytes,
    metadata: OnceLock<ArrowReaderMetadata>,
}

impl TableFile {
    pub(crate) fn new(file: NamedFile, entry: &FileEntry) -> Self {
        let bytes = VerifiedBytes::new(file, entry);
        TableFile { entry: entry.clone(), bytes, metadata: OnceLock::new() }
    }

    pub(crate) fn entry(&self) -> &FileEntry {
        &self.entry
    }

    fn metadata(&self) -> Result<&ArrowReaderMetadata, StorageError> {
        if let Some(m) = self.metadata.get() {
            return Ok(m);
        }
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let m = ArrowReaderMetadata::load(&self.bytes, options).map_err(|e| self.bytes.explain(e))?;
        let rows = m.metadata().file_metadata().num_rows();
        if u64::try_from(rows).ok() != Some(self.entry.rows) {
            return Err(Damage::new(self.bytes.name(), "rows of the file", self.entry.rows, rows).into());
        }
        Ok(self.metadata.get_or_init(|| m))
    }

    /// Its name, relative to the store.
    pub(crate) fn name(&self) -> &str {
        self.bytes.name()
    }

    /// The names of its columns.
    pub(crate) fn columns(&self) -> Result<Vec<String>, StorageError> {
        Ok(self.metadata()?.schema().fields().iter().map(|f| f.name().clone()).collect())
    }

    /// Bytes of the file that belong to no column: the footer, indexes of pages, filters.
    pub(crate) fn fixed_bytes(&self) -> Result<u64, StorageError> {
        let groups = self.metadata()?.metadata().row_groups();
        let columns = groups.iter().fold(0i64, |sum, group| sum.saturating_add(group.compressed_size()));
        Ok(self.entry.len.saturating_sub(columns.max(0) as u64))
    }

    /// The columns as Arrow sees them.
    pub(crate) fn schema(&self) -> Result<SchemaRef, StorageError> {
        Ok(Arc::clone(self.metadata()?.schema()))
    }

    /// Starts reading some rows (ascending ranges of row numbers) of some columns; columns come in file
    /// order.
    pub(crate) fn read(
        &self,
        columns: &[&str],
        ranges: &[Range<u64>],
    ) -> Result<TableRead<'_>, StorageError> {
        let metadata = self.metadata()?.clone();
        let (first, total) = (self.entry.first_row, self.entry.rows as usize);
        let fields = metadata.schema().fields().iter().enumerate();
        let leaves = fields.filter(|(_, f)| columns.contains(&f.name().as_str())).map(|(i, _)| i);
        let mask = ProjectionMask::leaves(metadata.parquet_schema(), leaves);
        let rows: Vec<Range<u64>> = ranges.iter().map(|r| r.start - first..r.end - first).collect();
        let batch = batch_rows(metadata.metadata(), &mask, &rows, (BATCH_BYTES, BATCH_ROWS));
        let selected = rows.iter().map(|r| r.start as usize..r.end as usize);
        let selection = RowSelection::from_consecutive_ranges(selected, total);
        // A mask, which is faster for short ranges, has the rows between those of a batch in memory.
        let wanted: u64 = rows.iter().map(|r| r.end - r.start).sum();
        let span = rows.first().zip(rows.last()).map_or(0, |(first, last)| last.end - first.start);
        let policy = match span <= MOST_BETWEEN * wanted {
            true => RowSelectionPolicy::default(),
            false => RowSelectionPolicy::Selectors,
        };
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(self.bytes.clone(), metadata)
            .with_projection(mask)
            .with_row_selection(selection)
            .with_row_selection_policy(policy)
            .with_batch_size(batch)
            .build()
            .map_err(|e| self.bytes.explain(e))?;
        Ok(TableRead { bytes: &self.bytes, reader })
    }

    /// Reads every byte and reports each MiB that does not have its digest; `read` learns after each how many
    /// bytes were read.
    pub(crate) fn verify(&self, mut read: impl FnMut(u64), mut report: impl FnMut(StorageError)) {
        for start in (0..self.entry.len).step_by(CHUNK as usize) {
            let n = CHUNK.min(self.entry.len - start) as usize;
            if let Err(e) = self.bytes.read(start, n) {
                let whole_file = !matches!(&e, StorageError::Damaged(d) if d.offset.is_some());
                report(e);
                if whole_file {
                    return;
                }
            }
            read(start + n as u64);
        }
    }
}

/// Batches of a file.
pub(crate) struct TableRead<'a> {
    bytes: &'a VerifiedBytes,
    reader: ParquetRecordBatchReader,
}

impl Iterator for TableRead<'_> {
    type Item = Result<RecordBatch, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.reader.next()?.map_err(|e| self.bytes.explain(e)))
    }
}

/// Rows and ids of a batch of samples that has these columns. The id of a row of which only the number is
/// left is empty.
///
/// # Errors
/// Columns of another type.
pub(crate) fn row_ids<'a>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<impl Iterator<Item = (u64, &'a str)> + use<'a>, Damage> {
    let rows = batch.column_by_name("row").and_then(|c| c.as_primitive_opt::<UInt64Type>());
    let ids = batch.column_by_name("id").and_then(|c| c.as_string_opt::<i32>());
    match (rows, ids) {
        (Some(rows), Some(ids)) => {
            Ok(rows.values().iter().zip(ids).map(|(row, id)| (*row, id.unwrap_or_default())))
        }
        _ => Err(Damage::new(name, "columns row and id", "a number and a text", "others")),
    }
}
