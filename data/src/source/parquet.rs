//! Parquet: pages and batches of rows, one row group after the other.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{DataType, FieldRef, Fields, Schema, TimeUnit};
use gstore_store::batch_rows;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader};
use parquet::arrow::{ARROW_SCHEMA_META_KEY, ProjectionMask};
use parquet::basic::Type;
use parquet::errors::ParquetError;

use super::pages::parquet_batches;
use super::rows::{BatchReader, BatchRows, caught, check, unopened};
use super::{DataError, DataFile, unpack};

/// Bytes that a batch of the largest rows holds, about.
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
        let opened = caught(|| open(input)).map_err(|message| unopened("Parquet", &message));
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
    let metadata = parquet_metadata(&file).map_err(|error| error.to_string())?;
    let groups = metadata.metadata().row_groups();
    let rows: u64 = groups.iter().filter_map(|group| u64::try_from(group.num_rows()).ok()).sum();
    let all = ProjectionMask::all();
    let batch = batch_rows(metadata.metadata(), &all, &[0..u64::MAX], (BATCH_BYTES, BATCH_ROWS));
    let reader = parquet_batches(file, &metadata, all, batch).map_err(|error| error.to_string())?;
    Ok((reader, rows))
}

/// What the footer of a Parquet file says, with the types in which its columns are read: timestamps of 96
/// bits in microseconds.
///
/// # Errors
/// A file that is not Parquet, or damaged.
pub fn parquet_metadata(file: &File) -> Result<ArrowReaderMetadata, ParquetError> {
    ArrowReaderMetadata::load(file, ArrowReaderOptions::new()).and_then(in_microseconds)
}

/// Reads timestamps of 96 bits, as Spark, Hive and Impala write them, in microseconds: in nanoseconds the
/// library would make years before 1677 and after 2262 others. What writers other than Spark have below a
/// microsecond is cut. Arrow's own writers say the unit.
fn in_microseconds(metadata: ArrowReaderMetadata) -> Result<ArrowReaderMetadata, ParquetError> {
    let pairs = metadata.metadata().file_metadata().key_value_metadata();
    let says_unit = pairs.is_some_and(|pairs| pairs.iter().any(|pair| pair.key == ARROW_SCHEMA_META_KEY));
    let is_wide: Vec<bool> =
        metadata.parquet_schema().columns().iter().map(|leaf| leaf.physical_type() == Type::INT96).collect();
    if says_unit || !is_wide.contains(&true) {
        return Ok(metadata);
    }
    let schema = metadata.schema();
    let fields = wide_fields(schema.fields(), &mut is_wide.into_iter());
    let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
    let options = ArrowReaderOptions::new().with_schema(schema);
    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)
}

/// Fields with such timestamps in place of those leaves that are wide.
fn wide_fields(fields: &Fields, is_wide: &mut dyn Iterator<Item = bool>) -> Fields {
    fields.iter().map(|field| wide_field(field, is_wide)).collect()
}

fn wide_field(field: &FieldRef, is_wide: &mut dyn Iterator<Item = bool>) -> FieldRef {
    let ty = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(wide_fields(fields, is_wide)),
        DataType::List(item) => DataType::List(wide_field(item, is_wide)),
        DataType::Map(entries, sorted) => DataType::Map(wide_field(entries, is_wide), *sorted),
        leaf => match (is_wide.next(), leaf) {
            (Some(true), DataType::Timestamp(..)) => DataType::Timestamp(TimeUnit::Microsecond, None),
            _ => leaf.clone(),
        },
    };
    Arc::new(field.as_ref().clone().with_data_type(ty))
}
