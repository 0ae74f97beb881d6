//! A file of the user's own as a table: Parquet, CSV or JSON, to be joined with those of the store.
//!
//! Invariants
//! - the program names the file, never a statement
//! - no column is a dictionary: functions of numbers and of texts do not all take one
//! - nothing but a batch is in memory: a table is read from its file each time that a statement reads it
//! - columns are read by their places only of a file that still has them there

mod digits;
mod objects;
mod shape;
mod times;
mod types;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use gstore_core::{DatasetName, Remedy, shortened};
use gstore_data::{DataError, DataFile, parquet_batches, parquet_metadata};
use gstore_functions::{canonical, read_times};
use gstore_store::batch_rows;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use super::blocking::Demand;
use super::error::{SqlError, SqlErrorKind};
use super::formats::Format;
use super::leaf::{BatchConsumer, ReadRequest, RowReader, batch_of};
use super::output::{plain_batch, plain_schema};
use super::types::field_with_leaves;
use objects::ObjectBatches;

/// Rows that are read at a time.
const BATCH: usize = 4096;
/// Bytes of the largest rows that are read at a time, about; of separated text, rows alone count.
const BATCH_BYTES: u64 = 32 << 20;
/// Bytes at the beginning of a file that are looked at before it is read.
const BEGIN: u64 = 64 << 10;
/// Most characters of what a reader says: it may quote the file.
const SAYS: usize = 300;

/// A file that statements read as a table.
#[derive(Debug, Clone)]
pub struct OwnTable {
    name: String,
    file: DataFile,
    format: Format,
    schema: SchemaRef,
    note: Option<String>,
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, SqlError>>>;
type Text = BufReader<Box<dyn Read + Send>>;

impl OwnTable {
    /// A file under a name. Of CSV and JSON the whole file is read for what is wrong in it and for the types
    /// of its columns, and once more for the digits of numbers.
    ///
    /// # Errors
    /// A name that no table can have, an ending that says no format, and a file that cannot be read.
    pub fn open(name: &str, path: &Path) -> Result<Self, SqlError> {
        DatasetName::try_from(name).map_err(|error| SqlError::invalid(error.to_string()))?;
        let format = Format::of(path).ok_or_else(|| {
            let why = format!(
                "{}: a table is read from a file ending in .parquet, .csv, .tsv, .jsonl or .json, text also with \
                 .gz or .zst",
                path.display()
            );
            SqlError::invalid(why)
        })?;
        let (file, schema) = (DataFile::detect(path).map_err(data_error)?, Arc::new(Schema::empty()));
        let mut table = Self { name: name.to_owned(), file, format, schema, note: None };
        table.look_inside()?;
        let format = table.format;
        let schema = match format {
            Format::Parquet => columns_of(&table.parquet()?.1),
            Format::Separated(usual) => {
                table.check_begin()?;
                let delimiter = table.file.delimiter().unwrap_or(usual);
                table.format = Format::Separated(delimiter);
                table.note = table.file.note();
                table.file.check_rows(delimiter).map_err(data_error)?;
                table.columns(delimiter)?
            }
            Format::Json => table.objects()?,
        };
        if schema.fields().is_empty() {
            return Err(table.failed("it has no columns"));
        }
        let mut names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]) {
            return Err(table.failed(format!("two columns are called {twice:?}; rename one in the file")));
        }
        table.schema = Arc::new(schema);
        Ok(table)
    }

    /// The name in statements.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// What was found in the file and its name does not say.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Takes Parquet for what it is, whatever its name, and refuses what no table is read from.
    fn look_inside(&mut self) -> Result<(), SqlError> {
        if self.file.is_arrow() {
            return Err(self.failed("it is an Arrow file; write it as Parquet"));
        }
        if self.file.is_parquet() && self.file.is_packed() {
            return Err(self.failed("it is Parquet within a packed file; unpack it"));
        }
        if self.file.is_parquet() && self.format != Format::Parquet {
            self.format = Format::Parquet;
            self.note = Some(format!("{}: it is Parquet", self.path().display()));
        }
        Ok(())
    }

    /// The text of the file, behind the byte order mark that it may begin with.
    fn text(&self) -> Result<Text, SqlError> {
        let mut text = BufReader::new(self.file.bytes().map_err(data_error)?);
        let start = text.fill_buf().map_err(|e| self.failed(e))?;
        if start.starts_with(b"\xef\xbb\xbf") {
            text.consume(3);
        }
        Ok(text)
    }

    /// A Parquet file, and what its footer says.
    fn parquet(&self) -> Result<(std::fs::File, ArrowReaderMetadata), SqlError> {
        let file = fs_err::File::open(self.path())
            .map_err(|e| SqlError::new(SqlErrorKind::Failed, e.to_string()))?;
        let file = file.into_parts().0;
        let metadata = parquet_metadata(&file).map_err(|e| self.failed(e))?;
        Ok((file, metadata))
    }

    /// Refuses what is damaged from its beginning on.
    fn check_begin(&self) -> Result<(), SqlError> {
        let read = self.text()?.take(BEGIN).read_to_end(&mut Vec::new());
        read.map(|_| ()).map_err(|e| self.failed(e))
    }

    fn separated(&self, schema: &SchemaRef, delimiter: u8, columns: &[usize]) -> Result<Batches, SqlError> {
        let reader = arrow_csv::ReaderBuilder::new(Arc::clone(schema))
            .with_header(true)
            .with_delimiter(delimiter)
            .with_projection(columns.to_vec())
            .with_batch_size(BATCH)
            .build(self.text()?);
        Ok(self.named(reader.map_err(|e| self.failed(e))?))
    }

    /// Batches whose errors name the file.
    fn named(&self, batches: impl Iterator<Item = Result<RecordBatch, ArrowError>> + 'static) -> Batches {
        let table = self.clone();
        Box::new(batches.map(move |batch| batch.map_err(|e| table.failed(e))))
    }

    fn failed(&self, why: impl std::fmt::Display) -> SqlError {
        let why = shortened(&why.to_string(), SAYS);
        SqlError::new(
            SqlErrorKind::Failed,
            format!("{} cannot be read as a table: {why}", self.path().display()),
        )
    }

    /// Refuses a file that has been rewritten with other columns since it was opened.
    fn check_columns(
        &self,
        now: &Fields,
        is_same: impl Fn(&FieldRef, &FieldRef) -> bool,
    ) -> Result<(), SqlError> {
        let then = self.schema.fields();
        if now.len() == then.len() && now.iter().zip(then).all(|(now, then)| is_same(now, then)) {
            return Ok(());
        }
        let why = "the file has other columns than when it was opened";
        Err(self.failed(why).hint(format!("{} opens it as it is now", Remedy::OwnTable)))
    }

    fn batches(&self, columns: &[usize]) -> Result<Batches, SqlError> {
        Ok(match self.format {
            Format::Parquet => {
                let (file, metadata) = self.parquet()?;
                let now = columns_of(&metadata);
                self.check_columns(now.fields(), |now, then| {
                    (now.name(), now.data_type()) == (then.name(), then.data_type())
                })?;
                let mask = ProjectionMask::roots(metadata.parquet_schema(), columns.iter().copied());
                let limits = (BATCH_BYTES, BATCH as u64);
                let rows = batch_rows(metadata.metadata(), &mask, &[0..u64::MAX], limits);
                let reader = parquet_batches(file, &metadata, mask, rows);
                self.named(reader.map_err(|e| self.failed(e))?)
            }
            Format::Separated(delimiter) => {
                let now = Fields::from(self.headed(delimiter, Some(0))?);
                self.check_columns(&now, |now, then| now.name() == then.name())?;
                let written = |field: &FieldRef| match field.data_type().is_temporal() {
                    true => field.as_ref().clone().with_data_type(DataType::Utf8),
                    false => field.as_ref().clone(),
                };
                let written: Vec<Field> = self.schema.fields().iter().map(written).collect();
                self.separated(&Arc::new(Schema::new(written)), delimiter, columns)?
            }
            Format::Json => Box::new(ObjectBatches::open(
                self,
                self.schema.project(columns).map_err(|e| self.failed(e))?,
            )?),
        })
    }

    /// The values of a column in its type. Texts that are times are read as a cast reads them.
    fn typed(&self, values: &ArrayRef, to: &DataType) -> Result<ArrayRef, SqlError> {
        match values.as_string_opt::<i32>().filter(|_| to.is_temporal()) {
            Some(texts) => read_times(texts, to, false).map_err(|e| self.failed(e)),
            None => arrow_cast::cast(values, to).map_err(|e| self.failed(e)),
        }
    }
}

/// The columns of a Parquet file as a table has them.
fn columns_of(metadata: &ArrowReaderMetadata) -> Schema {
    with_usual_times(&plain_schema(metadata.schema()))
}

/// The columns with dates and times of the types that statements write.
fn with_usual_times(schema: &Schema) -> Schema {
    let fields: Fields = schema.fields().iter().map(|field| field_with_leaves(field, usual_time)).collect();
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

/// The type in which dates and times are read. Times of the day in another unit go together with no other,
/// and dates in milliseconds are shown with a time of day.
fn usual_time(leaf: &DataType) -> DataType {
    match leaf {
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Nanosecond),
        DataType::Date64 => DataType::Date32,
        other => other.clone(),
    }
}

/// What the reader of training data says, which names the file.
fn data_error(error: DataError) -> SqlError {
    SqlError::new(SqlErrorKind::Failed, error.to_string())
}

impl RowReader for OwnTable {
    fn describe(&self) -> (&'static str, String) {
        ("FileExec", format!("table={}", self.name))
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn read(&self, want: &ReadRequest, each: BatchConsumer<'_>) -> Result<(), SqlError> {
        // Rows are counted by a column where none is wanted.
        let columns = if want.columns.is_empty() { vec![0] } else { want.columns.clone() };
        let schema = Arc::new(self.schema.project(&want.columns).map_err(|e| self.failed(e))?);
        for batch in self.batches(&columns)? {
            let batch = plain_batch(batch?).map_err(|e| self.failed(e))?;
            let column = |(values, field): (&ArrayRef, &FieldRef)| {
                self.typed(values, field.data_type()).map(|values| canonical(&values))
            };
            // None where rows are counted.
            let values = batch.columns().iter().zip(schema.fields()).map(column);
            let values = values.collect::<Result<_, SqlError>>()?;
            let batch = batch_of(Arc::clone(&schema), values, batch.num_rows());
            if each(batch.map_err(|e| self.failed(e))?)? == Demand::Enough {
                break;
            }
        }
        Ok(())
    }
}
