//! Writing a result: as a table for people, as CSV or JSON lines for tools, as Parquet or Arrow for programs.
//!
//! Invariants
//! - a format may be written to a pipe: nothing seeks
//! - column names are unique in every format that needs it; a repeated name gets `_2`, `_3`, ...
//! - numbers are written with all their digits except in a table, which is for reading

mod cell;
mod table;

use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use datafusion::arrow::ipc::writer::FileWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

pub use table::TableStyle;
use table::TableWriter;

use super::error::{SqlError, SqlErrorKind};

/// Bytes of a row group of Parquet, which is in memory until it is complete; rows of long vectors fill the usual
/// million of rows never.
const ROW_GROUP: usize = 128 << 20;

/// A way to write a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Aligned columns, numbers to six digits, long text cut.
    #[default]
    Table,
    /// Comma-separated with a header line; lists as JSON, bytes as hex digits.
    Csv,
    /// The same with tabs.
    Tsv,
    /// One JSON object a line.
    Json,
    /// A Parquet file.
    Parquet,
    /// An Arrow IPC file.
    Arrow,
}

impl Format {
    /// The words that name the formats.
    pub const WORDS: [&'static str; 6] = ["table", "csv", "tsv", "json", "parquet", "arrow"];

    /// Whether the output is bytes that do not belong on a terminal.
    pub fn is_binary(self) -> bool {
        matches!(self, Self::Parquet | Self::Arrow)
    }
}

impl FromStr for Format {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        match word.to_ascii_lowercase().as_str() {
            "table" => Ok(Self::Table),
            "csv" => Ok(Self::Csv),
            "tsv" => Ok(Self::Tsv),
            "json" | "jsonl" | "ndjson" => Ok(Self::Json),
            "parquet" => Ok(Self::Parquet),
            "arrow" | "ipc" | "feather" => Ok(Self::Arrow),
            _ => Err(format!("format cannot be `{word}`: it is one of {}", Self::WORDS.join(", "))),
        }
    }
}

enum Inner<W: Write + Send> {
    Table(TableWriter<W>),
    Csv { out: arrow_csv::Writer<W>, schema: SchemaRef },
    Json { out: arrow_json::LineDelimitedWriter<W>, schema: SchemaRef },
    Parquet { out: ArrowWriter<W>, schema: SchemaRef },
    Arrow { out: FileWriter<W>, schema: SchemaRef },
}

/// Writes the batches of one result.
pub struct ResultWriter<W: Write + Send> {
    inner: Inner<W>,
    rows: u64,
}

impl<W: Write + Send> ResultWriter<W> {
    /// Starts a result. Formats with a header write it now, so that an empty result is still a valid file.
    pub fn new(format: Format, schema: &SchemaRef, out: W, style: TableStyle) -> Result<Self, SqlError> {
        let inner = match format {
            Format::Table => Inner::Table(TableWriter::new(schema, out, style)),
            Format::Csv | Format::Tsv => {
                let schema = cell::flat_schema(schema);
                let delimiter = if format == Format::Tsv { b'\t' } else { b',' };
                let builder = arrow_csv::WriterBuilder::new().with_header(true).with_delimiter(delimiter);
                let mut out = builder.build(out);
                out.write(&RecordBatch::new_empty(Arc::clone(&schema))).map_err(failed)?;
                Inner::Csv { out, schema }
            }
            Format::Json => {
                let builder = arrow_json::WriterBuilder::new().with_explicit_nulls(true);
                Inner::Json { out: builder.build(out), schema: unique_names(schema) }
            }
            Format::Parquet => {
                let schema = unique_names(schema);
                let zstd = ZstdLevel::try_new(3).map_err(|e| failed(e.into()))?;
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(zstd))
                    .set_max_row_group_bytes(Some(ROW_GROUP))
                    .build();
                let out = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties))
                    .map_err(|e| failed(e.into()))?;
                Inner::Parquet { out, schema }
            }
            Format::Arrow => {
                let schema = unique_names(schema);
                Inner::Arrow { out: FileWriter::try_new(out, &schema).map_err(failed)?, schema }
            }
        };
        Ok(Self { inner, rows: 0 })
    }

    /// Adds a batch of the result.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), SqlError> {
        self.rows += batch.num_rows() as u64;
        match &mut self.inner {
            Inner::Table(out) => out.write(batch).map_err(failed),
            Inner::Csv { out, schema } => {
                cell::flatten(batch, schema).and_then(|b| out.write(&b)).map_err(failed)
            }
            Inner::Json { out, schema } => renamed(batch, schema).and_then(|b| out.write(&b)).map_err(failed),
            Inner::Parquet { out, schema } => {
                let batch = renamed(batch, schema).map_err(failed)?;
                out.write(&batch).map_err(|e| failed(e.into()))
            }
            Inner::Arrow { out, schema } => {
                renamed(batch, schema).and_then(|b| out.write(&b)).map_err(failed)
            }
        }
    }

    /// Ends the result and flushes. Returns the number of rows.
    pub fn finish(self) -> Result<u64, SqlError> {
        let mut out: Box<dyn Write + '_> = match self.inner {
            Inner::Table(out) => Box::new(out.finish().map_err(failed)?),
            Inner::Csv { out, .. } => Box::new(out.into_inner()),
            Inner::Json { mut out, .. } => {
                out.finish().map_err(failed)?;
                Box::new(out.into_inner())
            }
            Inner::Parquet { out, .. } => Box::new(out.into_inner().map_err(|e| failed(e.into()))?),
            Inner::Arrow { mut out, .. } => {
                out.finish().map_err(failed)?;
                Box::new(out.into_inner().map_err(failed)?)
            }
        };
        out.flush().map_err(|e| failed(e.into()))?;
        Ok(self.rows)
    }
}

fn failed(error: ArrowError) -> SqlError {
    SqlError::new(SqlErrorKind::Failed, format!("the result cannot be written: {error}"))
}

fn renamed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &options)
}

/// The schema with every name once. Columns may come from two tables and have the same name.
pub fn unique_names(schema: &SchemaRef) -> SchemaRef {
    let mut seen = std::collections::HashSet::new();
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            let mut name = field.name().clone();
            let mut n = 1;
            while !seen.insert(name.clone()) {
                n += 1;
                name = format!("{}_{n}", field.name());
            }
            field.as_ref().clone().with_name(name)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// Whether a column is text in a format without types.
fn is_plain(data_type: &DataType) -> bool {
    !data_type.is_nested()
        && !matches!(
            data_type,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_)
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::builder::{FixedSizeListBuilder, Float16Builder};
    use arrow_array::{ArrayRef, BinaryArray, Float32Array, Int64Array, StringArray};
    use half::f16;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    fn sample() -> RecordBatch {
        let mut vectors = FixedSizeListBuilder::new(Float16Builder::new(), 2);
        for v in [0.5, -3.0] {
            vectors.values().append_value(f16::from_f32(v));
            vectors.values().append_value(f16::from_f32(0.0));
            vectors.append(true);
        }
        let columns: [(&str, ArrayRef); 6] = [
            ("row", Arc::new(Int64Array::from(vec![0, 1]))),
            ("row", Arc::new(Int64Array::from(vec![7, 8]))),
            ("score", Arc::new(Float32Array::from(vec![0.1, f32::NAN]))),
            ("text", Arc::new(StringArray::from(vec![Some("a,\"b\"\nc"), None]))),
            ("raw", Arc::new(BinaryArray::from(vec![&b"\x00\xff"[..], b""]))),
            ("vector", Arc::new(vectors.finish())),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
    }

    fn written(format: Format, batches: &[RecordBatch]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer =
            ResultWriter::new(format, &sample().schema(), &mut out, TableStyle::default()).unwrap();
        batches.iter().for_each(|b| writer.write(b).unwrap());
        assert_eq!(writer.finish().unwrap(), batches.iter().map(|b| b.num_rows() as u64).sum::<u64>());
        out
    }

    fn text(format: Format) -> String {
        String::from_utf8(written(format, &[sample()])).unwrap()
    }

    #[test]
    fn csv_has_a_place_for_lists_and_bytes() {
        assert_eq!(
            text(Format::Csv),
            "row,row,score,text,raw,vector\n0,7,0.1,\"a,\"\"b\"\"\nc\",00ff,\"[0.5,0.0]\"\n1,8,NaN,,,\"[-3.0,0.0]\"\n"
        );
    }

    #[test]
    fn tabs_take_the_place_of_commas() {
        assert_eq!(
            text(Format::Tsv),
            "row\trow\tscore\ttext\traw\tvector\n0\t7\t0.1\t\"a,\"\"b\"\"\nc\"\t00ff\t[0.5,0.0]\n1\t8\tNaN\t\t\t[-3.0,0.0]\n"
        );
    }

    #[test]
    fn json_is_one_object_a_line_with_every_name_once() {
        assert_eq!(
            text(Format::Json),
            "{\"row\":0,\"row_2\":7,\"score\":0.1,\"text\":\"a,\\\"b\\\"\\nc\",\"raw\":\"00ff\",\"vector\":[0.5,0.0]}\n\
             {\"row\":1,\"row_2\":8,\"score\":null,\"text\":null,\"raw\":\"\",\"vector\":[-3.0,0.0]}\n"
        );
    }

    #[test]
    fn a_table_is_for_reading() {
        assert_eq!(
            text(Format::Table),
            "row  row  score  text      raw   vector\n---  ---  -----  --------  ----  ----------\n  \
             0    7    0.1  a,\"b\"\\nc  00ff  [0.5,0.0]\n  1    8    NaN                  [-3.0,0.0]\n"
        );
    }

    #[test]
    fn arrow_and_parquet_keep_the_values_and_the_types() {
        let bytes = written(Format::Arrow, &[sample(), sample()]);
        let reader =
            datafusion::arrow::ipc::reader::FileReader::try_new(std::io::Cursor::new(bytes), None).unwrap();
        let back: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        assert_eq!(back.len(), 2);
        assert_eq!(back[0].columns()[3..], sample().columns()[3..]);
        assert_eq!(back[0].schema().field(1).name(), "row_2");

        let bytes = written(Format::Parquet, &[sample()]);
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap();
        let back: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        assert_eq!(back[0].columns()[3..], sample().columns()[3..]);
    }

    #[test]
    fn an_empty_result_is_a_valid_file() {
        assert_eq!(written(Format::Csv, &[]), b"row,row,score,text,raw,vector\n");
        assert_eq!(written(Format::Json, &[]), b"");
        assert!(String::from_utf8(written(Format::Table, &[])).unwrap().starts_with("row  row  score"));
        let reader = std::io::Cursor::new(written(Format::Arrow, &[]));
        assert_eq!(
            datafusion::arrow::ipc::reader::FileReader::try_new(reader, None).unwrap().num_batches(),
            0
        );
        let bytes = bytes::Bytes::from(written(Format::Parquet, &[]));
        assert_eq!(ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().metadata().num_row_groups(), 0);
    }

    #[test]
    fn formats_are_known_by_their_words() {
        for word in Format::WORDS {
            word.parse::<Format>().unwrap();
        }
        assert_eq!(
            "exel".parse::<Format>().unwrap_err(),
            "format cannot be `exel`: it is one of table, csv, tsv, json, parquet, arrow"
        );
    }
}
