//! Writing a result: as a table for people, for Markdown or on a page of HTML, as CSV or JSON lines for
//! tools, as Parquet or Arrow for programs.
//!
//! Invariants
//! - a format may be written to a pipe: nothing seeks
//! - column names are unique in every format that needs it; a repeated name gets `_2`, `_3`, ...
//! - numbers are written with all their digits except in a table, which is for reading
//! - a dictionary is written as its values, except in Parquet, so that a result of a server, which has none,
//!   is written alike

mod below;
mod cell;
mod exact;
mod html;
mod layout;
mod markdown;
mod plain;
mod plan;
mod record;
mod table;
mod times;

use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::ipc::writer::FileWriter;
use gstore_core::visible;
use gstore_functions::spans::has_intervals;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

pub use below::write_below;
use cell::is_plain;
pub use plain::{plain_batch, plain_schema};
pub use record::RecordWriter;
pub use table::TableStyle;
use table::TableWriter;

use super::error::{SqlError, SqlErrorKind};
use super::types::{field_with_leaves, in_sql};
use super::wording::{beyond_calendar, no_text};

/// Bytes of a row group of Parquet in a file. The usual limit, a million rows, is too much for rows of long
/// vectors.
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
    /// The only column as it is, each value followed by the end of a line; null as an empty one. On a
    /// terminal what is hidden in a value is escaped.
    Lines,
    /// A Markdown table; lists as JSON, bytes as hex digits.
    Markdown,
    /// A page of HTML with one table; lists as JSON, bytes as hex digits.
    Html,
}

impl Format {
    /// The words that name the formats.
    pub const WORDS: [&'static str; 9] =
        ["table", "csv", "tsv", "json", "parquet", "arrow", "lines", "markdown", "html"];

    /// Its word.
    pub fn name(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    /// Whether the output is bytes that do not belong on a terminal.
    pub fn is_binary(self) -> bool {
        matches!(self, Self::Parquet | Self::Arrow)
    }

    /// Whether an output has one result and no other behind it.
    pub fn is_whole(self) -> bool {
        self.is_binary() || self == Self::Html
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
            "lines" => Ok(Self::Lines),
            "markdown" | "md" => Ok(Self::Markdown),
            "html" | "htm" => Ok(Self::Html),
            _ => Err(format!("format cannot be `{word}`: it is one of {}", Self::WORDS.join(", "))),
        }
    }
}

enum FormatWriter<W: Write + Send> {
    Table(TableWriter<W>),
    Csv(arrow_csv::Writer<W>),
    Json(arrow_json::LineDelimitedWriter<W>),
    Parquet(ArrowWriter<W>),
    Arrow(FileWriter<W>),
    Lines { out: W, terminal: bool },
    Markdown(W),
    Html(W),
}

/// Writes the batches of one result.
pub struct ResultWriter<W: Write + Send> {
    inner: FormatWriter<W>,
    /// Of what is written.
    schema: SchemaRef,
    rows: u64,
}

impl<W: Write + Send> ResultWriter<W> {
    /// Starts a result. Formats with a header write it now, so that an empty result is still a valid file.
    pub fn new(format: Format, schema: &SchemaRef, out: W, style: TableStyle) -> Result<Self, SqlError> {
        Self::in_row_groups(ROW_GROUP, format, schema, out, style)
    }

    /// The same with row groups of about so many bytes in Parquet. Each is in memory until it is complete.
    pub fn in_row_groups(
        bytes: usize,
        format: Format,
        schema: &SchemaRef,
        out: W,
        style: TableStyle,
    ) -> Result<Self, SqlError> {
        if format == Format::Lines && schema.fields().len() != 1 {
            let n = schema.fields().len();
            let why = format!("the format lines is for one column, and the result has {n}");
            return Err(SqlError::invalid(why).hint("select the one that is meant, for example record"));
        }
        let mut fields = schema.fields().iter();
        if format == Format::Parquet
            && let Some(field) = fields.find(|field| has_intervals(field.data_type()))
        {
            let why = format!("Parquet has no type for the intervals of column `{}`", visible(field.name()));
            let way = "CAST(.. AS VARCHAR) makes them texts; the format arrow keeps them";
            return Err(SqlError::invalid(why).hint(way));
        }
        Self::begun(bytes, format, schema, out, style).map_err(output_error)
    }

    fn begun(
        row_group: usize,
        format: Format,
        columns: &SchemaRef,
        mut out: W,
        style: TableStyle,
    ) -> Result<Self, ArrowError> {
        let schema = written_schema(format, columns);
        let inner = match format {
            Format::Table => FormatWriter::Table(TableWriter::new(&schema, out, style)),
            Format::Csv | Format::Tsv => {
                let mut out = csv_builder(format).build(out);
                out.write(&RecordBatch::new_empty(Arc::clone(&schema)))?;
                FormatWriter::Csv(out)
            }
            Format::Json => FormatWriter::Json(cell::json().build(out)),
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
                    .set_max_row_group_bytes(Some(row_group))
                    .build();
                FormatWriter::Parquet(ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties))?)
            }
            Format::Arrow => FormatWriter::Arrow(FileWriter::try_new(out, &schema)?),
            Format::Lines => FormatWriter::Lines { out, terminal: style.width.is_some() },
            Format::Markdown => {
                markdown::header(&schema, &mut out)?;
                FormatWriter::Markdown(out)
            }
            Format::Html => {
                html::header(&schema, &mut out)?;
                FormatWriter::Html(out)
            }
        };
        Ok(Self { inner, schema, rows: 0 })
    }

    /// Starts a result that goes on where one of the same columns ended: without another header.
    pub fn continued(
        format: Format,
        schema: &SchemaRef,
        out: W,
        style: TableStyle,
    ) -> Result<Self, SqlError> {
        let inner = match format {
            Format::Csv | Format::Tsv => FormatWriter::Csv(csv_builder(format).with_header(false).build(out)),
            Format::Markdown => FormatWriter::Markdown(out),
            _ => return Self::new(format, schema, out, style),
        };
        Ok(Self { inner, schema: written_schema(format, schema), rows: 0 })
    }

    /// Starts a result as JSON lines for a reader whose numbers are doubles: a number that such a reader
    /// would change, or that JSON does not have, is written as `{"$number":"9007199254740993"}`.
    pub fn exact_json(schema: &SchemaRef, out: W) -> Self {
        let builder = arrow_json::WriterBuilder::new().with_explicit_nulls(true);
        let out = builder.with_encoder_factory(Arc::new(exact::ExactNumbers)).build(out);
        Self { inner: FormatWriter::Json(out), schema: written_schema(Format::Json, schema), rows: 0 }
    }

    /// The same with another word for null in a table; the other formats have their own.
    pub fn with_null(self, null: &'static str) -> Self {
        match self.inner {
            FormatWriter::Table(out) => Self { inner: FormatWriter::Table(out.with_null(null)), ..self },
            inner => Self { inner, ..self },
        }
    }

    /// Adds a batch of the result.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), SqlError> {
        self.rows += batch.num_rows() as u64;
        self.put(batch).map_err(output_error)
    }

    fn put(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let schema = &self.schema;
        let batch = &match self.inner {
            FormatWriter::Parquet(_) => batch.clone(),
            _ => plain_batch(batch.clone())?,
        };
        match &mut self.inner {
            FormatWriter::Table(out) => out.write(batch),
            FormatWriter::Csv(out) => out.write(&cell::flatten(batch, schema)?),
            FormatWriter::Json(out) => {
                batch.columns().iter().try_for_each(|column| times::check(column))?;
                out.write(&with_schema(batch, schema)?)
            }
            FormatWriter::Parquet(out) => Ok(out.write(&with_schema(batch, schema)?)?),
            FormatWriter::Arrow(out) => out.write(&with_schema(batch, schema)?),
            FormatWriter::Markdown(out) => markdown::rows(&cell::flatten(batch, schema)?, out),
            FormatWriter::Html(out) => html::rows(&cell::flatten(batch, schema)?, out),
            FormatWriter::Lines { out, terminal } => lines(batch, out, *terminal),
        }
    }

    /// Ends the result and flushes. Returns the number of rows.
    pub fn finish(self) -> Result<u64, SqlError> {
        let rows = self.rows;
        self.ended().map_err(output_error)?;
        Ok(rows)
    }

    fn ended(self) -> Result<(), ArrowError> {
        let mut out: W = match self.inner {
            FormatWriter::Table(out) => out.finish()?,
            FormatWriter::Csv(out) => out.into_inner(),
            FormatWriter::Json(mut out) => {
                out.finish()?;
                out.into_inner()
            }
            FormatWriter::Lines { out, .. } | FormatWriter::Markdown(out) => out,
            FormatWriter::Html(mut out) => {
                html::end(&mut out)?;
                out
            }
            FormatWriter::Parquet(out) => out.into_inner()?,
            FormatWriter::Arrow(mut out) => {
                out.finish()?;
                out.into_inner()?
            }
        };
        Ok(out.flush()?)
    }
}

fn written_schema(format: Format, schema: &SchemaRef) -> SchemaRef {
    match format {
        Format::Csv | Format::Tsv | Format::Markdown | Format::Html => {
            cell::flat_schema(&plain_schema(schema))
        }
        Format::Json | Format::Arrow => unique_names(&plain_schema(schema)),
        Format::Parquet => {
            let named = unique_names(schema);
            let typed = named.fields().iter().map(|field| field_with_leaves(field, parquet_type));
            Arc::new(Schema::new(typed.collect::<Fields>()))
        }
        Format::Table | Format::Lines => plain_schema(schema),
    }
}

/// A type as Parquet has it. Its times have no seconds as a unit, and its dates no time of day, which one in
/// milliseconds may have.
fn parquet_type(of: &DataType) -> DataType {
    match of {
        DataType::Timestamp(TimeUnit::Second, zone) => {
            DataType::Timestamp(TimeUnit::Millisecond, zone.clone())
        }
        DataType::Date64 => DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Time32(_) => DataType::Time32(TimeUnit::Millisecond),
        DataType::Dictionary(keys, values) => {
            DataType::Dictionary(keys.clone(), Box::new(parquet_type(values)))
        }
        other => other.clone(),
    }
}

/// How values are separated, below a header.
fn csv_builder(format: Format) -> arrow_csv::WriterBuilder {
    let delimiter = if format == Format::Tsv { b'\t' } else { b',' };
    arrow_csv::WriterBuilder::new().with_header(true).with_delimiter(delimiter)
}

/// The values of the first column, one a line.
fn lines(batch: &RecordBatch, out: &mut impl Write, terminal: bool) -> Result<(), ArrowError> {
    let Some(column) = batch.columns().first() else { return Ok(()) };
    let texts = match is_plain(column.data_type()) {
        true => arrow_cast::cast(column, &DataType::Utf8)?,
        false => cell::as_text(column)?,
    };
    let texts = texts.as_string_opt::<i32>().into_iter().flatten();
    for text in texts {
        let text = text.unwrap_or_default();
        match terminal {
            // A value of several lines keeps them.
            true => text.split('\n').try_for_each(|line| writeln!(out, "{}", visible(line)))?,
            false => writeln!(out, "{text}")?,
        }
    }
    Ok(())
}

fn output_error(error: ArrowError) -> SqlError {
    let said = error.to_string();
    match beyond_calendar(&said) {
        Some(error) => {
            let worded = in_sql(error.message());
            error.worded(worded)
        }
        // Of what is in a list or struct only times can fail.
        None if said.ends_with("Format error") => no_text("a date or time in a list or struct", false),
        None => SqlError::new(SqlErrorKind::Failed, format!("the result cannot be written: {said}")),
    }
}

/// The batch with the names and the types of a schema.
fn with_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    // A time that is too large is an error; by default it would be null.
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| match column.data_type() == field.data_type() {
        true => Ok(Arc::clone(column)),
        false => cast_with_options(column, field.data_type(), &strict),
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
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

#[cfg(test)]
mod tests;
