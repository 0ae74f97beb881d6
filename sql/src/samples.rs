//! Samples of a dataset as columns: content of the sample files, with token counts of one encoding.
//!
//! Invariants
//! - `row` ascends in everything that is read from front to back
//! - a sample that the encoding does not cover has null in `tokens`, `scored_tokens` and `truncated`

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use datafusion::common::stats::Precision;
use gstore_store::{
    ColumnType, DatasetPart, EncodingEntry, EncodingReader, ReadError, SampleReader, Snapshot, TokenCount,
};

use super::blocking::Demand;
use super::counts::{self, Counted};
use super::distinct::Distinct;
use super::error::SqlError;
use super::leaf::{Each, Fetch, Rows, Want, keep};
use super::measured::{self, Measured};
use super::union::Source;
use super::virtuals::{self, Asked, Virtual};

/// Where the values of a column come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    Row,
    Id,
    Record,
    /// A metadata column, by its name in the sample files.
    Metadata(String),
    Tokens,
    ScoredTokens,
    Truncated,
    /// A column that is there because the statement names it.
    Virtual(Virtual),
}

impl Cell {
    /// The column of the sample files that has it.
    fn stored(&self) -> Option<&str> {
        match self {
            Self::Row => Some("row"),
            Self::Id => Some("id"),
            Self::Record => Some("record"),
            Self::Metadata(name) => Some(name),
            Self::Virtual(column) => column.is_of_record().then_some("record"),
            Self::Tokens | Self::ScoredTokens | Self::Truncated => None,
        }
    }

    /// Whether it is counted by an encoding.
    fn is_counted(&self) -> bool {
        matches!(self, Self::Tokens | Self::ScoredTokens | Self::Truncated)
    }
}

/// A dataset's samples as a table.
pub(crate) struct SampleTable {
    snapshot: Arc<Snapshot>,
    dataset: Arc<DatasetPart>,
    encoding: Option<EncodingEntry>,
    cells: Vec<Cell>,
    schema: SchemaRef,
    /// Kept open: rows are fetched in many small requests, and each file's metadata is read once.
    samples: OnceLock<SampleReader>,
    counts: OnceLock<EncodingReader>,
    /// The features that columns are read from.
    measured: Vec<Measured>,
}

impl fmt::Debug for SampleTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "samples of {}", self.dataset.name)
    }
}

impl SampleTable {
    /// All columns of a dataset, and of the virtual ones those that are asked for. `encoding` is the key of the
    /// encoding whose counts are shown.
    pub(crate) fn new(
        snapshot: Arc<Snapshot>,
        dataset: Arc<DatasetPart>,
        encoding: Option<&str>,
        asked: Asked,
    ) -> Self {
        let encoding = encoding.and_then(|key| dataset.encoding(key)).cloned();
        let mut table = Self {
            snapshot,
            dataset,
            encoding,
            cells: Vec::new(),
            schema: Arc::new(Schema::empty()),
            samples: OnceLock::new(),
            counts: OnceLock::new(),
            measured: Vec::new(),
        };
        let mut fields = Vec::new();
        let mut add = |cell: Cell, name: String, ty: DataType, nullable: bool| {
            table.cells.push(cell);
            fields.push(Field::new(name, ty, nullable));
        };
        add(Cell::Row, "row".into(), DataType::UInt64, false);
        add(Cell::Id, "id".into(), DataType::Utf8, false);
        let counts = [
            (Cell::Tokens, "tokens", DataType::UInt32),
            (Cell::ScoredTokens, "scored_tokens", DataType::UInt32),
            (Cell::Truncated, "truncated", DataType::Boolean),
        ];
        let mut taken: Vec<String> =
            ["row", "id", "tokens", "scored_tokens", "truncated", "record"].map(String::from).into();
        for column in &table.dataset.columns {
            let name = free_name(&column.name, &mut taken);
            add(Cell::Metadata(column.name.clone()), name, arrow_type(column.ty), true);
        }
        if table.encoding.is_some() {
            for (cell, name, ty) in counts {
                add(cell, name.into(), ty, true);
            }
        }
        add(Cell::Record, "record".into(), DataType::Utf8, true);
        for column in asked.columns().filter(|column| !taken.iter().any(|name| name == column.name())) {
            if !column.is_of_record() {
                let feature = measured::feature(&table.snapshot, &table.dataset.name, column);
                let Some(feature) = feature else { continue };
                table.measured.push(Measured::new(column, feature));
            }
            table.cells.push(Cell::Virtual(column));
            fields.push(Field::new(column.name(), column.data_type(), true));
        }
        table.schema = Arc::new(Schema::new(fields));
        table
    }

    /// The table of a dataset as a query sees it: with token counts where only one encoding has any.
    pub(crate) fn of_dataset(snapshot: Arc<Snapshot>, dataset: Arc<DatasetPart>, asked: Asked) -> Self {
        let only = match dataset.encodings.as_slice() {
            [only] => Some(only.key.clone()),
            _ => None,
        };
        Self::new(snapshot, dataset, only.as_deref(), asked)
    }

    pub(crate) fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// This table's part in a union's column.
    pub(crate) fn source(&self, cell: &Cell) -> Source {
        self.cells.iter().position(|c| c == cell).map_or(Source::Absent, Source::Sample)
    }

    pub(crate) fn dataset(&self) -> &DatasetPart {
        &self.dataset
    }

    fn samples(&self) -> Result<&SampleReader, SqlError> {
        if let Some(open) = self.samples.get() {
            return Ok(open);
        }
        let reader = self.snapshot.samples(&self.dataset).map_err(SqlError::read)?;
        Ok(self.samples.get_or_init(|| reader))
    }

    /// The counts, if a column needs them.
    fn counts(&self, columns: &[usize]) -> Result<Option<&EncodingReader>, SqlError> {
        let wanted = columns.iter().any(|c| self.cells.get(*c).is_some_and(Cell::is_counted));
        let Some(encoding) = self.encoding.as_ref().filter(|_| wanted) else { return Ok(None) };
        if let Some(open) = self.counts.get() {
            return Ok(Some(open));
        }
        let reader = self.snapshot.encoding(encoding).map_err(SqlError::read)?;
        Ok(Some(self.counts.get_or_init(|| reader)))
    }

    /// The columns of the sample files to read for `columns`; the row number is always one of them.
    fn stored(&self, columns: &[usize]) -> Vec<&str> {
        let mut names = vec!["row"];
        for name in columns.iter().filter_map(|c| self.cells.get(*c)).filter_map(Cell::stored) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Ascending rows of a range, by reading all of it.
    fn within(&self, span: Range<u64>, rows: &[u64], names: &[&str]) -> Result<RecordBatch, SqlError> {
        let mut parts = Vec::new();
        for batch in self.samples()?.scan(names, Some(span)) {
            let batch = batch.map_err(SqlError::read)?;
            let wanted: BooleanArray =
                row_numbers(&batch)?.iter().map(|row| Some(rows.binary_search(row).is_ok())).collect();
            parts.push(keep(&batch, &wanted)?);
        }
        let schema = parts.first().map(RecordBatch::schema).ok_or_else(|| missing(&self.dataset.name))?;
        for column in 0..schema.fields().len() {
            let text: usize = parts.iter().map(|p| text_bytes(p.column(column), 0..p.num_rows())).sum();
            if i32::try_from(text).is_err() {
                let dataset = self.dataset.name.clone();
                return Err(SqlError::read(ReadError::TooLarge { dataset, rows: rows.len() }));
            }
        }
        let all = concat_batches(&schema, &parts).map_err(arrow)?;
        match all.num_rows() == rows.len() {
            true => Ok(all),
            false => Err(missing(&self.dataset.name)),
        }
    }

    /// A batch of the sample files, joined with the counts, as the columns that were asked for.
    fn assemble(
        &self,
        columns: &[usize],
        stored: &RecordBatch,
        counts: &[TokenCount],
    ) -> Result<RecordBatch, SqlError> {
        let schema = self.schema.project(columns).map_err(arrow)?;
        let counted = Counted::new(stored, counts)?;
        let mut values: Vec<ArrayRef> = Vec::with_capacity(columns.len());
        for (column, field) in columns.iter().zip(schema.fields()) {
            let cell =
                self.cells.get(*column).ok_or_else(|| SqlError::internal("a column is out of range"))?;
            let array = match cell {
                Cell::Tokens => counted.number(|c| c.tokens),
                Cell::ScoredTokens => counted.number(|c| c.scored),
                Cell::Truncated => counted.flag(|c| c.truncated),
                Cell::Virtual(column) if column.is_of_record() => {
                    virtuals::of_records(*column, &stored_column(stored, "record", &DataType::Utf8)?)?
                }
                Cell::Virtual(column) => {
                    let measured = self.measured.iter().find(|measured| measured.column == *column);
                    let measured = measured.ok_or_else(|| SqlError::internal("a feature is lost"))?;
                    measured.of_rows(&self.snapshot, row_numbers(stored)?)?
                }
                cell => stored_column(stored, cell.stored().unwrap_or_default(), field.data_type())?,
            };
            values.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(stored.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(schema), values, &options).map_err(arrow)
    }
}

/// A column of the sample files in the type of the table.
fn stored_column(stored: &RecordBatch, name: &str, ty: &DataType) -> Result<ArrayRef, SqlError> {
    let array = stored.column_by_name(name);
    as_type(array.ok_or_else(|| SqlError::internal(&format!("column `{name}` was not read")))?, ty)
}

fn missing(dataset: &str) -> SqlError {
    SqlError::internal(&format!("rows of dataset `{dataset}` that should be there were not found"))
}

impl SampleTable {
    /// Whether some row was ever deleted.
    pub(super) fn has_deleted_rows(&self) -> bool {
        self.dataset.rows != self.dataset.next_row
    }
}

impl Rows for SampleTable {
    fn describe(&self) -> (&'static str, String) {
        ("SampleExec", format!("dataset={}", self.dataset.name))
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn count(&self) -> Precision<usize> {
        usize::try_from(self.dataset.rows).map_or(Precision::Absent, Precision::Exact)
    }

    fn row_column(&self) -> Option<usize> {
        Some(0)
    }

    fn ascends(&self) -> bool {
        true
    }

    fn read(&self, want: &Want, each: Each<'_>) -> Result<(), SqlError> {
        let samples = self.samples()?;
        let counts = self.counts(&want.columns)?;
        let names = self.stored(&want.columns);
        for batch in samples.scan(&names, Some(want.rows.clone())) {
            let batch = batch.map_err(SqlError::read)?;
            let counted = match (counts, span(&batch)?) {
                (Some(counts), Some(rows)) => counts.counts(rows).map_err(SqlError::read)?,
                _ => Vec::new(),
            };
            if each(self.assemble(&want.columns, &batch, &counted)?)? == Demand::Enough {
                break;
            }
        }
        Ok(())
    }

    fn by_number(&self) -> Option<&dyn Fetch> {
        Some(self)
    }

    fn unopened(&self) -> Option<Arc<dyn Rows>> {
        Some(Arc::new(Self {
            snapshot: Arc::clone(&self.snapshot),
            dataset: Arc::clone(&self.dataset),
            encoding: self.encoding.clone(),
            cells: self.cells.clone(),
            schema: Arc::clone(&self.schema),
            samples: OnceLock::new(),
            counts: OnceLock::new(),
            measured: self.measured.iter().map(Measured::unopened).collect(),
        }))
    }
}

impl Fetch for SampleTable {
    fn fetch(&self, rows: &[u64], columns: &[usize]) -> Result<RecordBatch, SqlError> {
        let counts = self.counts(columns)?;
        let names = self.stored(columns);
        let distinct = Distinct::new(rows);
        let rows = distinct.rows();
        let batch = match distinct.near_together() {
            Some(span) => self.within(span, rows, &names)?,
            None => self.samples()?.get(rows, &names).map_err(SqlError::read)?,
        };
        let counted = match counts {
            Some(counts) => counts::of_rows(counts, rows)?,
            None => Vec::new(),
        };
        distinct.arrange(self.assemble(columns, &batch, &counted)?)
    }
}

pub(super) fn row_numbers(stored: &RecordBatch) -> Result<&[u64], SqlError> {
    let rows = stored.column_by_name("row").and_then(|c| c.as_primitive_opt::<UInt64Type>());
    Ok(rows.ok_or_else(|| SqlError::internal("the row numbers were not read"))?.values())
}

/// First to one past last row of a batch whose rows ascend.
fn span(stored: &RecordBatch) -> Result<Option<Range<u64>>, SqlError> {
    let rows = row_numbers(stored)?;
    Ok(rows.first().zip(rows.last()).map(|(first, last)| *first..last.saturating_add(1)))
}

/// Bytes of text in some rows of a column.
pub(crate) fn text_bytes(array: &ArrayRef, rows: Range<usize>) -> usize {
    let offsets = match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value_offsets(),
        DataType::Binary => array.as_binary::<i32>().value_offsets(),
        _ => return 0,
    };
    let at = |row: usize| offsets.get(row).copied().unwrap_or_default();
    usize::try_from(at(rows.end) - at(rows.start)).unwrap_or_default()
}

/// The array in the table's type. A record is bytes in the files and text in SQL; one that is
/// no valid text is null.
pub(crate) fn as_type(array: &ArrayRef, ty: &DataType) -> Result<ArrayRef, SqlError> {
    if array.data_type() == ty {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    cast_with_options(array, ty, &options).map_err(arrow)
}

/// The column type of a metadata column.
pub(crate) fn arrow_type(ty: ColumnType) -> DataType {
    match ty {
        ColumnType::Bool => DataType::Boolean,
        ColumnType::Int => DataType::Int64,
        ColumnType::Float => DataType::Float64,
        ColumnType::Text => DataType::Utf8,
    }
}

/// `name`, with `_` after it as often as needed to differ from the names already taken.
pub(crate) fn free_name(name: &str, taken: &mut Vec<String>) -> String {
    let mut free = name.to_string();
    while taken.contains(&free) {
        free.push('_');
    }
    taken.push(free.clone());
    free
}

pub(crate) fn arrow(error: arrow_schema::ArrowError) -> SqlError {
    SqlError::from_datafusion(error.into(), &[])
}
