//! Tiles as row groups of Parquet, encoded by the thread that scored them.

use std::io::BufWriter;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gstore_core::DigestWriter;
use gstore_store::SampleReader;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;

use super::error::MatrixError;
use super::files::{PartPlace, json};
use super::work::{PART_KEY, PartNote};
use crate::error::QueryError;
use crate::influence::{ExcludedCounts, Prepared, Tile};

pub(super) struct Encoder<'a> {
    prepared: &'a Prepared,
    samples: &'a [SampleReader],
    schema: SchemaRef,
    factory: ArrowRowGroupWriterFactory,
}

pub(super) struct Encoded {
    pub(super) rows: u64,
    pub(super) excluded: ExcludedCounts,
    columns: Vec<ArrowColumnChunk>,
}

/// `pool` where there are several, `row`, `id`, and the scores with all samples of a group in
/// one list of fixed size.
pub(super) fn schema(pools: usize, width: usize) -> SchemaRef {
    let mut fields = Vec::new();
    if pools > 1 {
        fields.push(Field::new("pool", DataType::Utf8, false));
    }
    fields.push(Field::new("row", DataType::UInt64, false));
    fields.push(Field::new("id", DataType::Utf8, false));
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let width = i32::try_from(width).unwrap_or(i32::MAX);
    fields.push(Field::new("scores", DataType::FixedSizeList(item, width), false));
    Arc::new(Schema::new(fields))
}

/// Scores are as good as random bits: neither a dictionary nor a compression is worth its time.
pub(super) fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_created_by(format!("gstore {}", env!("CARGO_PKG_VERSION")))
        .set_dictionary_enabled(false)
        .set_column_dictionary_enabled("pool".into(), true)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_statistics_enabled("row".into(), EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .build()
}

/// A tile with rows as the columns of a schema; `samples` are those of the pools.
pub(super) fn columns(
    prepared: &Prepared,
    samples: &[SampleReader],
    schema: &Schema,
    tile: Tile,
) -> Result<Vec<ArrayRef>, MatrixError> {
    let Tile { pool, rows, scores, .. } = tile;
    let pool = pool as usize;
    let (Some(reader), Some(side)) = (samples.get(pool), prepared.pools().get(pool)) else {
        return Err(MatrixError::Refused("a tile of no pool".into()));
    };
    let ids = reader.get(&rows, &["id"]).map_err(QueryError::from)?;
    let ids = ids.column_by_name("id").map(Arc::clone);
    let ids = ids.ok_or_else(|| MatrixError::Refused("the samples have no ids".into()))?;
    let mut columns: Vec<ArrayRef> = Vec::new();
    if prepared.pools().len() > 1 {
        let names = std::iter::repeat_n(side.dataset.name.as_str(), rows.len());
        columns.push(Arc::new(StringArray::from_iter_values(names)));
    }
    columns.push(Arc::new(UInt64Array::from(rows)));
    columns.push(ids);
    let (item, width) = match schema.field_with_name("scores").map(Field::data_type) {
        Ok(DataType::FixedSizeList(item, width)) => (Arc::clone(item), *width),
        _ => return Err(MatrixError::Refused("a matrix without scores".into())),
    };
    let lists = FixedSizeListArray::try_new(item, width, Arc::new(Float32Array::from(scores)), None);
    columns.push(Arc::new(lists.map_err(QueryError::from)?));
    Ok(columns)
}

impl<'a> Encoder<'a> {
    /// For scores with `width` samples; `samples` are those of the pools.
    pub(super) fn new(
        prepared: &'a Prepared,
        samples: &'a [SampleReader],
        width: usize,
    ) -> Result<Self, MatrixError> {
        let schema = schema(prepared.pools().len(), width);
        let none = |error| MatrixError::parquet(std::path::Path::new("scores"), error);
        let writer = ArrowWriter::try_new(std::io::sink(), Arc::clone(&schema), Some(properties()));
        let (_, factory) = writer.and_then(ArrowWriter::into_serialized_writer).map_err(none)?;
        Ok(Self { prepared, samples, schema, factory })
    }

    pub(super) fn encode(&self, tile: Tile) -> Result<Encoded, MatrixError> {
        let (rows, excluded) = (tile.rows.len() as u64, tile.excluded);
        if rows == 0 {
            return Ok(Encoded { rows, excluded, columns: Vec::new() });
        }
        let columns = columns(self.prepared, self.samples, &self.schema, tile)?;
        let columns = self.chunks(&columns);
        let columns = columns.map_err(|error| MatrixError::parquet(std::path::Path::new("scores"), error))?;
        Ok(Encoded { rows, excluded, columns })
    }

    fn chunks(&self, columns: &[ArrayRef]) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
        let mut writers = self.factory.create_column_writers(0)?.into_iter();
        let mut chunks = Vec::new();
        for (field, column) in self.schema.fields().iter().zip(columns) {
            for leaf in compute_leaves(field, column)? {
                let Some(mut writer) = writers.next() else {
                    return Err(ParquetError::General("a column has no writer".into()));
                };
                writer.write(&leaf)?;
                chunks.push(writer.close()?);
            }
        }
        Ok(chunks)
    }
}

pub(super) struct PartWriter {
    place: PartPlace,
    out: SerializedFileWriter<BufWriter<DigestWriter<fs_err::File>>>,
}

impl PartWriter {
    pub(super) fn create(place: PartPlace, encoder: &Encoder<'_>) -> Result<Self, MatrixError> {
        let file = DigestWriter::new(fs_err::File::create(&place.temporary)?);
        let file = BufWriter::with_capacity(1 << 20, file);
        let writer = ArrowWriter::try_new(file, Arc::clone(&encoder.schema), Some(properties()));
        let out = writer.and_then(ArrowWriter::into_serialized_writer);
        let (out, _) = out.map_err(|error| MatrixError::parquet(&place.temporary, error))?;
        Ok(Self { place, out })
    }

    pub(super) fn push(&mut self, encoded: Encoded) -> Result<(), MatrixError> {
        if encoded.columns.is_empty() {
            return Ok(());
        }
        let failed = |error| MatrixError::parquet(&self.place.temporary, error);
        let mut group = self.out.next_row_group().map_err(failed)?;
        for column in encoded.columns {
            column.append_to_row_group(&mut group).map_err(failed)?;
        }
        group.close().map_err(failed)?;
        Ok(())
    }

    /// Puts the part and its digest on the medium, then the part under its name.
    pub(super) fn finish(mut self, note: &PartNote, digest: &PartPlace) -> Result<(), MatrixError> {
        self.out.append_key_value_metadata(KeyValue::new(PART_KEY.to_owned(), json(note)?));
        let file =
            self.out.into_inner().map_err(|error| MatrixError::parquet(&self.place.temporary, error))?;
        let (file, written) = file.into_inner().map_err(|error| error.into_error())?.finish();
        digest.made(digest.write(written.to_string().as_bytes()))?;
        self.place.publish(&file)
    }
}
