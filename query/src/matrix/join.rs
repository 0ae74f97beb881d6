//! Parts as one file: their row groups one after the other, byte for byte.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gstore_core::Cancel;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;

use super::encode::properties;
use super::error::MatrixError;
use super::work::PART_KEY;

/// Row groups of a file at most: their number is 16 bits with a sign.
pub(super) const MOST_ROW_GROUPS: usize = i16::MAX as usize;

/// Writes `path`, not yet on the medium; the parts' own metadata is replaced by `metadata`.
pub(super) fn join(
    path: &Path,
    parts: &[PathBuf],
    metadata: [(&str, &str); 2],
    cancel: &Cancel,
) -> Result<fs_err::File, MatrixError> {
    let failed = |error: ParquetError| MatrixError::parquet(path, error);
    let mut out: Option<SerializedFileWriter<BufWriter<fs_err::File>>> = None;
    for part in parts {
        let damaged = |error: ParquetError| MatrixError::parquet(part, error);
        let file = fs_err::File::open(part)?.into_parts().0;
        let reader = SerializedFileReader::new(file.try_clone()?).map_err(damaged)?;
        let found = reader.metadata();
        let out = match &mut out {
            Some(out) => out,
            None => {
                let schema = found.file_metadata().schema_descr().root_schema_ptr();
                let to = BufWriter::with_capacity(1 << 20, fs_err::File::create(path)?);
                let mut new =
                    SerializedFileWriter::new(to, schema, Arc::new(properties())).map_err(failed)?;
                // The schema of Arrow is among the metadata, and tells lists of fixed size from others.
                let old = found.file_metadata().key_value_metadata().into_iter().flatten();
                for pair in old.filter(|pair| pair.key != PART_KEY) {
                    new.append_key_value_metadata(pair.clone());
                }
                for (key, value) in metadata {
                    new.append_key_value_metadata(KeyValue::new(key.to_owned(), value.to_owned()));
                }
                out.insert(new)
            }
        };
        for row_group in found.row_groups() {
            cancel.check()?;
            let mut group = out.next_row_group().map_err(failed)?;
            for column in row_group.columns() {
                let close = ColumnCloseResult {
                    bytes_written: u64::try_from(column.compressed_size()).unwrap_or_default(),
                    rows_written: u64::try_from(row_group.num_rows()).unwrap_or_default(),
                    metadata: column.clone(),
                    bloom_filter: None,
                    column_index: None,
                    offset_index: None,
                };
                group.append_column(&file, close).map_err(failed)?;
            }
            group.close().map_err(failed)?;
        }
    }
    let Some(out) = out else {
        return Err(MatrixError::Refused("a matrix without parts".into()));
    };
    let mut file = out.into_inner().map_err(failed)?;
    file.flush()?;
    file.into_inner().map_err(|error| MatrixError::Io(error.into_error()))
}
