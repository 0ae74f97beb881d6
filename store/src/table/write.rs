//! Writing a Parquet file and the digests of its bytes.

use super::about::TableMetadata;
use crate::error::{StorageError, WriteError};
use crate::layout::now;
use crate::manifest::{CHUNK, Extra, FileEntry};

use crate::vfs::{Vfs, VfsFile};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

/// Bytes of a row group in memory before it is written: encoded ones, of which far more may be read.
const GROUP_BYTES: usize = 64 << 20;
/// Rows of a page: small, so that a scattered row costs little.
const PAGE_ROWS: usize = 128;
/// Columns of a table whose pages have so many rows. Each page takes about a kilobyte of memory while it waits
/// for its row group, also where all of its values are null, so those of wider tables have more rows.
const COLUMNS: usize = 64;

/// What all files here have in common.
pub(crate) fn properties() -> WriterPropertiesBuilder {
    // Level 3 is valid, so the fallback never applies.
    let level = ZstdLevel::try_new(3).unwrap_or_default();
    WriterProperties::builder()
        .set_created_by(format!("gstore {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(65_536))
        .set_max_row_group_bytes(Some(GROUP_BYTES))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
}

/// Counts and digests what is written.
struct Sink {
    file: Box<dyn VfsFile>,
    pos: u64,
    hash: Xxh3,
    chunks: Vec<u64>,
}

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let room = (CHUNK - self.pos % CHUNK).min(buf.len() as u64) as usize;
        let n = self.file.write(buf.get(..room).unwrap_or(buf))?;
        self.hash.update(buf.get(..n).unwrap_or(buf));
        self.pos += n as u64;
        if self.pos.is_multiple_of(CHUNK) && n > 0 {
            self.close_chunk();
        }
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sink {
    fn close_chunk(&mut self) {
        self.chunks.push(self.hash.digest());
        self.hash.reset();
    }
}

pub(crate) struct TableWriter {
    path: PathBuf,
    name: String,
    uuid: Uuid,
    first_row: u64,
    pub(crate) rows: u64,
    about: TableMetadata,
    /// `None` once a write failed: what the file holds is unknown then.
    writer: Option<ArrowWriter<Sink>>,
}

impl TableWriter {
    /// `about`: metadata of the file, in addition to its rows.
    pub(crate) fn create(
        vfs: &dyn Vfs,
        path: &Path,
        uuid: Uuid,
        first_row: u64,
        schema: SchemaRef,
        properties: WriterProperties,
        about: TableMetadata,
    ) -> Result<Self, StorageError> {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let file = vfs.create(path).map_err(|e| StorageError::io(format!("create {name}"), e))?;
        let sink = Sink { file, pos: 0, hash: Xxh3::new(), chunks: Vec::new() };
        let rows = PAGE_ROWS.saturating_mul((schema.fields().len() / COLUMNS).max(1));
        let properties =
            properties.into_builder().set_data_page_row_count_limit(rows).set_write_batch_size(rows).build();
        let writer = ArrowWriter::try_new(sink, schema, Some(properties))
            .map_err(|e| StorageError::io(format!("create {name}"), into_io(e)))?;
        Ok(TableWriter { path: path.to_owned(), name, uuid, first_row, rows: 0, about, writer: Some(writer) })
    }

    /// Bytes written so far and waiting in memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, |w| (w.bytes_written() + w.in_progress_size()) as u64)
    }

    /// Adds rows; the first of them is `first_row + rows`.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        let Some(mut writer) = self.writer.take() else {
            return Err(WriteError::Poisoned(self.name.clone()));
        };
        writer.write(batch).map_err(|e| StorageError::io(format!("write {}", self.name), into_io(e)))?;
        self.rows += batch.num_rows() as u64;
        self.writer = Some(writer);
        Ok(())
    }

    /// Writes what is left and flushes the file to the medium.
    pub(crate) fn finish(mut self) -> Result<(PathBuf, FileEntry), WriteError> {
        let Some(mut writer) = self.writer.take() else { return Err(WriteError::Poisoned(self.name)) };
        if self.rows == 0 {
            return Err(WriteError::Empty);
        }
        for (key, value) in self.about.pairs(self.first_row, self.first_row + self.rows, now()) {
            writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        let io = |e| StorageError::io(format!("finish {}", self.name), e);
        // Not `into_inner`: its error is a text that no longer says what the medium said.
        writer.finish().map_err(|e| io(into_io(e)))?;
        let sink = writer.inner_mut();
        if !sink.pos.is_multiple_of(CHUNK) {
            sink.close_chunk();
        }
        sink.file.flush().map_err(io)?;
        sink.file.sync().map_err(io)?;
        let entry = FileEntry {
            uuid: self.uuid,
            first_row: self.first_row,
            end_row: self.first_row + self.rows,
            rows: self.rows,
            len: sink.pos,
            chunks: std::mem::take(&mut sink.chunks),
            extra: Extra::new(),
        };
        Ok((self.path, entry))
    }
}

fn into_io(e: ParquetError) -> io::Error {
    match e {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(e) => *e,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    }
}
