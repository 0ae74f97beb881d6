//! Parquet: pages and batches of rows, one row group after the other.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchReader};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::rows::{BatchReader, BatchRows, caught, check};
use super::{DataError, DataFile, unpack};

/// Bytes of rows that a batch holds, about.
const BATCH_BYTES: u64 = 8 << 20;
/// Rows that a batch holds at most.
const BATCH_ROWS: u64 = 1024;

pub(super) struct ParquetReader {
    batches: ParquetRecordBatchReader,
    total_rows: u64,
    file_bytes: u64,
}

impl ParquetReader {
    pub(super) fn rows(path: Arc<Path>, file: &DataFile) -> Result<BatchRows<Self>, DataError> {
        let file_bytes = fs_err::metadata(file.path())?.len();
        let input = unpack::seekable(file)?;
        let opened = caught(|| open(input)).map_err(|message| format!("not Parquet, or damaged: {message}"));
        let checked = opened.and_then(|(batches, total_rows)| {
            check(batches.schema().fields())?;
            Ok(Self { batches, total_rows, file_bytes })
        });
        BatchRows::new(path, checked)
    }
}

impl BatchReader for ParquetReader {
    fn next_batch(&mut self, given: u64) -> Result<Option<RecordBatch>, String> {
        let batch = caught(|| self.batches.next().transpose().map_err(|error| error.to_string()))
            .map_err(|message| format!("damaged: {message}; copy or download the file again"))?;
        if batch.is_none() && given != self.total_rows {
            return Err(format!("it has {given} rows, but its footer says {}", self.total_rows));
        }
        Ok(batch)
    }

    /// Pages are read out of order, so the share of the rows stands for the share of the bytes.
    fn bytes_read(&self, given: u64) -> u64 {
        let share = u128::from(self.file_bytes) * u128::from(given);
        u64::try_from(share / u128::from(self.total_rows.max(1))).unwrap_or(self.file_bytes)
    }
}

fn open(file: File) -> Result<(ParquetRecordBatchReader, u64), String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| {
        format!(
            "{error}; if it was copied or downloaded, do that again: what a reader needs first is at its end"
        )
    })?;
    let groups = builder.metadata().row_groups();
    let rows: u64 = groups.iter().filter_map(|group| u64::try_from(group.num_rows()).ok()).sum();
    let bytes: u64 = groups.iter().filter_map(|group| u64::try_from(group.total_byte_size()).ok()).sum();
    let fit = BATCH_BYTES / (bytes / rows.max(1)).max(1);
    let batch = fit.clamp(1, BATCH_ROWS);
    let reader = builder.with_batch_size(batch as usize).build().map_err(|error| error.to_string())?;
    Ok((reader, rows))
}
