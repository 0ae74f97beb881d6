//! A file of the user's own as a table: Parquet, CSV or JSON lines, to be joined with those of the store.
//!
//! Invariants
//! - the program names the file, never a statement
//! - nothing but a batch is in memory: a table is read from its file each time that a statement reads it
//! - a column of CSV is a number only if its fields read back: with `007` in it, it is text

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use datafusion::common::stats::Precision;
use gstore_core::{DatasetName, other_separator, shortened};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::blocking::Demand;
use super::error::{SqlError, SqlErrorKind};
use super::leaf::{Each, Rows, Want};

/// Rows that are read at a time.
const BATCH: usize = 4096;
/// Characters of another library's message that are shown: some quote what they cannot read, which may be all
/// of a file.
const SHOWN: usize = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Parquet,
    Separated(u8),
    Json,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match ending.as_str() {
            "parquet" => Self::Parquet,
            "csv" => Self::Separated(b','),
            "tsv" => Self::Separated(b'\t'),
            "jsonl" | "ndjson" | "json" => Self::Json,
            _ => return None,
        })
    }
}

/// A file that statements read as a table.
#[derive(Debug, Clone)]
pub struct OwnTable {
    name: String,
    path: PathBuf,
    format: Format,
    schema: SchemaRef,
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>;

impl OwnTable {
    /// A file under a name. Of CSV and JSON lines the whole file is read for the types of its columns.
    ///
    /// # Errors
    /// A name that no table can have, an ending that says no format, and a file that cannot be read.
    pub fn open(name: &str, path: &Path) -> Result<Self, SqlError> {
        DatasetName::try_from(name).map_err(|error| SqlError::invalid(error.to_string()))?;
        let format = Format::of(path).ok_or_else(|| {
            let why = format!(
                "{}: a table is read from a file ending in .parquet, .csv, .tsv or .jsonl",
                path.display()
            );
            SqlError::invalid(why)
        })?;
        let mut table =
            Self { name: name.to_owned(), path: path.to_owned(), format, schema: Arc::new(Schema::empty()) };
        table.schema = Arc::new(match format {
            Format::Parquet => table.parquet()?.schema().as_ref().clone(),
            Format::Separated(delimiter) => table.separated(delimiter)?,
            Format::Json if table.is_list()? => {
                return Err(table.failed(
                    "it is one JSON list, and a table is read from one object a line; `jq -c '.[]'` makes lines of it",
                ));
            }
            Format::Json => {
                arrow_json::reader::infer_json_schema(table.text()?, None).map_err(|e| table.failed(e))?.0
            }
        });
        if table.schema.fields().is_empty() {
            return Err(table.failed("it has no columns"));
        }
        let names: Vec<&str> = table.schema.fields().iter().map(|field| field.name().as_str()).collect();
        if let Some((_, twice)) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
            return Err(table.failed(format!("two columns are called {twice:?}; rename one in the file")));
        }
        Ok(table)
    }

    /// Whether the ending of a name is one of a file that can be a table.
    pub(crate) fn takes(path: &Path) -> bool {
        Format::of(path).is_some()
    }

    /// The name in statements.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self) -> Result<std::fs::File, SqlError> {
        let file =
            fs_err::File::open(&self.path).map_err(|e| SqlError::new(SqlErrorKind::Failed, e.to_string()))?;
        Ok(file.into_parts().0)
    }

    /// The text of the file, behind the byte order mark that it may begin with.
    fn text(&self) -> Result<BufReader<std::fs::File>, SqlError> {
        let mut text = BufReader::new(self.file()?);
        let start = text.fill_buf().map_err(|e| self.failed(e))?;
        if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
            return Err(self.failed("it is text in UTF-16; save it as UTF-8"));
        }
        if start.starts_with(b"\xef\xbb\xbf") {
            text.consume(3);
        }
        Ok(text)
    }

    /// Whether the text is a list in JSON.
    fn is_list(&self) -> Result<bool, SqlError> {
        let mut text = self.text()?;
        let start = text.fill_buf().map_err(|e| self.failed(e))?;
        Ok(start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'['))
    }

    /// The columns of delimited text, by its header line and all its fields.
    fn separated(&self, delimiter: u8) -> Result<Schema, SqlError> {
        let format = arrow_csv::reader::Format::default().with_header(true).with_delimiter(delimiter);
        let infer = |most| format.infer_schema(self.text()?, most).map_err(|e| self.failed(e));
        let header: Vec<String> =
            infer(Some(0))?.0.fields().iter().map(|field| field.name().clone()).collect();
        if let Some(why) = other_separator(&header, delimiter) {
            return Err(self.failed(why));
        }
        let found = infer(None)?.0;
        let is_number =
            |i: &usize| matches!(found.field(*i).data_type(), DataType::Int64 | DataType::Float64);
        let numbers: Vec<usize> = (0..header.len()).filter(is_number).collect();
        let mut padded = vec![false; header.len()];
        if !numbers.is_empty() {
            // The same fields as they are written.
            let text: Vec<Field> = header.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
            let table = Self { schema: Arc::new(Schema::new(text)), ..self.clone() };
            for batch in table.batches(&numbers)? {
                let batch = batch.map_err(|e| self.failed(e))?;
                for (number, column) in numbers.iter().zip(batch.columns()) {
                    padded[*number] |= column.as_string::<i32>().iter().flatten().any(is_padded);
                }
            }
        }
        let field = |(i, name): (usize, &String)| match padded[i] {
            true => Field::new(name, DataType::Utf8, true),
            false => found.field(i).clone(),
        };
        Ok(Schema::new(header.iter().enumerate().map(field).collect::<Vec<_>>()))
    }

    fn parquet(&self) -> Result<ParquetRecordBatchReaderBuilder<std::fs::File>, SqlError> {
        ParquetRecordBatchReaderBuilder::try_new(self.file()?).map_err(|e| self.failed(e))
    }

    fn failed(&self, why: impl std::fmt::Display) -> SqlError {
        let why = shortened(&why.to_string(), SHOWN);
        SqlError::new(
            SqlErrorKind::Failed,
            format!("{} cannot be read as a table: {why}", self.path.display()),
        )
    }

    /// Some columns of the file.
    fn batches(&self, columns: &[usize]) -> Result<Batches, SqlError> {
        Ok(match self.format {
            Format::Parquet => {
                let file = self.parquet()?;
                let mask = ProjectionMask::roots(file.parquet_schema(), columns.iter().copied());
                let reader = file.with_projection(mask).with_batch_size(BATCH).build();
                Box::new(reader.map_err(|e| self.failed(e))?)
            }
            Format::Separated(delimiter) => {
                let reader = arrow_csv::ReaderBuilder::new(Arc::clone(&self.schema))
                    .with_header(true)
                    .with_delimiter(delimiter)
                    .with_projection(columns.to_vec())
                    .with_batch_size(BATCH)
                    .build(self.text()?);
                Box::new(reader.map_err(|e| self.failed(e))?)
            }
            Format::Json => {
                let schema = self.schema.project(columns).map_err(|e| self.failed(e))?;
                let reader = arrow_json::ReaderBuilder::new(Arc::new(schema)).with_batch_size(BATCH);
                Box::new(reader.build(self.text()?).map_err(|e| self.failed(e))?)
            }
        })
    }
}

impl Rows for OwnTable {
    fn describe(&self) -> (&'static str, String) {
        ("FileExec", format!("table={}", self.name))
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn count(&self) -> Precision<usize> {
        Precision::Absent
    }

    fn read(&self, want: &Want, each: Each<'_>) -> Result<(), SqlError> {
        // Rows are counted by a column where none is wanted.
        let columns = if want.columns.is_empty() { vec![0] } else { want.columns.clone() };
        let schema = Arc::new(self.schema.project(&want.columns).map_err(|e| self.failed(e))?);
        for batch in self.batches(&columns)? {
            let batch = batch.map_err(|e| self.failed(e))?;
            let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let values = if want.columns.is_empty() { Vec::new() } else { batch.columns().to_vec() };
            let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), values, &options);
            if each(batch.map_err(|e| self.failed(e))?)? == Demand::Enough {
                break;
            }
        }
        Ok(())
    }
}

/// Whether a number has zeros in front, which would be lost.
fn is_padded(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.strip_prefix('0').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}
