//! Parquet: pages and batches of rows, one row group after the other.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatchReader;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::rows::{Rows, caught};
use super::{DataError, DataFile, RawRecord, RecordSource, unpack};

/// Bytes of rows that a batch holds, about.
const BATCH_BYTES: u64 = 8 << 20;
/// Rows that a batch holds at most.
const BATCH_ROWS: u64 = 1024;

pub(super) struct ParquetSource {
    rows: Rows,
    reader: Option<ParquetRecordBatchReader>,
    total_rows: u64,
    file_bytes: u64,
}

impl ParquetSource {
    pub(super) fn new(path: Arc<Path>, file: &DataFile) -> Result<Self, DataError> {
        let rows = Rows::new(path);
        let file_bytes = fs_err::metadata(file.path())?.len();
        let input = unpack::seekable(file)?;
        let opened = caught(|| open(input));
        let (reader, total_rows) =
            opened.map_err(|message| rows.damaged(format!("not Parquet, or damaged: {message}")))?;
        rows.check(reader.schema().fields())?;
        Ok(Self { rows, reader: Some(reader), total_rows, file_bytes })
    }

    /// Reads the next batch; false at the end.
    fn advance(&mut self) -> Result<bool, DataError> {
        let Some(reader) = &mut self.reader else { return Ok(false) };
        let batch = caught(|| reader.next().transpose().map_err(|error| error.to_string()));
        match batch {
            Ok(Some(batch)) => {
                self.rows.put(batch);
                Ok(true)
            }
            Ok(None) => {
                self.reader = None;
                let given = self.rows.given();
                if given == self.total_rows {
                    return Ok(false);
                }
                Err(self.rows.damaged(format!("{given} rows came, and its footer says {}", self.total_rows)))
            }
            Err(message) => {
                self.reader = None;
                Err(self.rows.damaged(format!("damaged: {message}; copy or download the file again")))
            }
        }
    }
}

impl RecordSource for ParquetSource {
    fn next_record(&mut self) -> Option<Result<RawRecord<'_>, DataError>> {
        if self.rows.failed() {
            return None;
        }
        while !self.rows.is_ready() {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        self.rows.take()
    }

    fn nulls(&self) -> Vec<String> {
        self.rows.nulls()
    }

    fn columns(&self) -> Vec<String> {
        self.rows.columns()
    }

    /// Pages are read out of order, so the share of the rows stands for the share of the bytes.
    fn bytes_read(&self) -> u64 {
        let share = u128::from(self.file_bytes) * u128::from(self.rows.given());
        u64::try_from(share / u128::from(self.total_rows.max(1))).unwrap_or(self.file_bytes)
    }
}

fn open(file: File) -> Result<(ParquetRecordBatchReader, u64), String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| {
        format!("{error}; if it was copied or downloaded, do that again: what a reader needs first stands at its end")
    })?;
    let groups = builder.metadata().row_groups();
    let rows: u64 = groups.iter().filter_map(|group| u64::try_from(group.num_rows()).ok()).sum();
    let bytes: u64 = groups.iter().filter_map(|group| u64::try_from(group.total_byte_size()).ok()).sum();
    let fit = BATCH_BYTES / (bytes / rows.max(1)).max(1);
    let batch = fit.clamp(1, BATCH_ROWS);
    let reader = builder.with_batch_size(batch as usize).build().map_err(|error| error.to_string())?;
    Ok((reader, rows))
}
