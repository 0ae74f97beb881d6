//! Samples of a dataset as columns: content of the sample files, with token counts of one encoding.
//!
//! Invariants
//! - `row` ascends in everything that is read from front to back
//! - a sample that the encoding does not cover has null in `tokens`, `scored_tokens` and `truncated`

mod arrays;
mod cell;
mod counts;
mod read;

use std::sync::{Arc, OnceLock};

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gstore_query::influence::Plan;
use gstore_store::{DatasetPart, EncodingEntry, EncodingReader, SampleReader, Snapshot};

pub(crate) use self::arrays::{as_type, text_bytes};
pub(crate) use self::cell::{ColumnSource, PartSource, free_name};
use super::error::SqlError;
use super::measured::{self, FeatureNumbers};
use super::virtuals::NamedVirtuals;

/// The columns that an encoding counts.
pub(crate) const COUNTS: [(ColumnSource, &str, DataType); 3] = [
    (ColumnSource::Tokens, "tokens", DataType::UInt32),
    (ColumnSource::ScoredTokens, "scored_tokens", DataType::UInt32),
    (ColumnSource::Truncated, "truncated", DataType::Boolean),
];

/// A dataset's samples as a table.
pub(crate) struct SampleTable {
    snapshot: Arc<Snapshot>,
    dataset: Arc<DatasetPart>,
    encoding: Option<EncodingEntry>,
    cells: Vec<ColumnSource>,
    schema: SchemaRef,
    /// Kept open: rows are fetched in many small requests, and each file's metadata is read once.
    samples: OnceLock<SampleReader>,
    counts: OnceLock<EncodingReader>,
    /// The features that columns are read from.
    measured: Vec<FeatureNumbers>,
}

impl SampleTable {
    /// All columns of a dataset, and of the virtual ones those that are asked for. `encoding` is the key of
    /// the encoding whose counts are shown; `question` is the one next to whose scores the columns stand.
    pub(crate) fn new(
        snapshot: Arc<Snapshot>,
        dataset: Arc<DatasetPart>,
        encoding: Option<&str>,
        asked: NamedVirtuals,
        question: Option<&Plan>,
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
        let mut add = |cell: ColumnSource, name: String, ty: DataType, nullable: bool| {
            table.cells.push(cell);
            fields.push(Field::new(name, ty, nullable));
        };
        add(ColumnSource::Row, "row".into(), DataType::UInt64, false);
        add(ColumnSource::Id, "id".into(), DataType::Utf8, false);
        let mut taken: Vec<String> =
            ["row", "id", "tokens", "scored_tokens", "truncated", "record"].map(String::from).into();
        for column in &table.dataset.columns {
            let name = free_name(&column.name, &mut taken);
            add(ColumnSource::Metadata(column.name.clone()), name, column.ty.arrow_type(), true);
        }
        if table.encoding.is_some() {
            for (cell, name, ty) in COUNTS {
                add(cell, name.into(), ty, true);
            }
        }
        add(ColumnSource::Record, "record".into(), DataType::Utf8, true);
        for column in asked.columns().filter(|column| !taken.iter().any(|name| name == column.name())) {
            if !column.is_of_record() {
                let feature = measured::feature(&table.snapshot, &table.dataset.name, column, question);
                let Some(feature) = feature else { continue };
                table.measured.push(FeatureNumbers::new(column, feature));
            }
            table.cells.push(ColumnSource::Virtual(column));
            fields.push(Field::new(column.name(), column.data_type(), true));
        }
        table.schema = Arc::new(Schema::new(fields));
        table
    }

    /// The table of a dataset as a query sees it: with token counts where only one encoding has any.
    pub(crate) fn of_dataset(
        snapshot: Arc<Snapshot>,
        dataset: Arc<DatasetPart>,
        asked: NamedVirtuals,
    ) -> Self {
        let only = match dataset.encodings.as_slice() {
            [only] => Some(only.key.clone()),
            _ => None,
        };
        Self::new(snapshot, dataset, only.as_deref(), asked, None)
    }

    pub(crate) fn cells(&self) -> &[ColumnSource] {
        &self.cells
    }

    /// This table's part in a union's column.
    pub(crate) fn source(&self, cell: &ColumnSource) -> PartSource {
        self.cells.iter().position(|c| c == cell).map_or(PartSource::Absent, PartSource::Sample)
    }

    pub(crate) fn dataset(&self) -> &DatasetPart {
        &self.dataset
    }

    /// What is said next to the scores of a question of columns that are of other models.
    pub(crate) fn notes(&self, question: &Plan) -> Vec<String> {
        self.measured.iter().filter_map(|numbers| numbers.note(&self.snapshot, question)).collect()
    }

    fn samples(&self) -> Result<&SampleReader, SqlError> {
        if let Some(open) = self.samples.get() {
            return Ok(open);
        }
        let reader = self.snapshot.samples(&self.dataset)?;
        Ok(self.samples.get_or_init(|| reader))
    }

    /// The counts, if a column needs them.
    fn counts(&self, columns: &[usize]) -> Result<Option<&EncodingReader>, SqlError> {
        let wanted = columns.iter().any(|c| self.cells.get(*c).is_some_and(ColumnSource::is_counted));
        let Some(encoding) = self.encoding.as_ref().filter(|_| wanted) else { return Ok(None) };
        if let Some(open) = self.counts.get() {
            return Ok(Some(open));
        }
        let reader = self.snapshot.encoding(encoding)?;
        Ok(Some(self.counts.get_or_init(|| reader)))
    }

    /// The columns of the sample files to read for `columns`; the row number is always one of them.
    fn stored(&self, columns: &[usize]) -> Vec<&str> {
        let mut names = vec!["row"];
        for name in columns.iter().filter_map(|c| self.cells.get(*c)).filter_map(ColumnSource::stored) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Whether some row was ever deleted.
    pub(super) fn has_deleted_rows(&self) -> bool {
        self.dataset.rows != self.dataset.next_row
    }
}
