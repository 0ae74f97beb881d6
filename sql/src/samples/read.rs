//! Reading of samples, all in their order or some by their numbers.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use arrow_select::concat::concat_batches;
use datafusion::common::stats::Precision;
use gstore_functions::{canonical, record_texts};
use gstore_store::{ReadError, TokenCount};

use super::arrays::{as_type, row_numbers, span, text_bytes};
use super::counts::{self, BatchTokenCounts};
use super::{ColumnSource, SampleTable};
use crate::blocking::Demand;
use crate::distinct::DistinctRows;
use crate::error::SqlError;
use crate::filter::keep;
use crate::leaf::{BatchConsumer, Fetch, ReadRequest, RowReader, batch_of};
use crate::measured::FeatureNumbers;
use crate::virtuals::VirtualColumn;

impl SampleTable {
    /// Ascending rows of a range, by reading all of it.
    fn within(&self, span: Range<u64>, rows: &[u64], names: &[&str]) -> Result<RecordBatch, SqlError> {
        let mut parts = Vec::new();
        for batch in self.samples()?.scan(names, Some(span)) {
            let batch = batch?;
            let wanted: BooleanArray =
                row_numbers(&batch)?.iter().map(|row| Some(rows.binary_search(row).is_ok())).collect();
            parts.push(keep(&batch, &wanted)?);
        }
        let schema = parts.first().map(RecordBatch::schema).ok_or_else(|| missing(&self.dataset.name))?;
        for column in 0..schema.fields().len() {
            let text: usize = parts.iter().map(|p| text_bytes(p.column(column), 0..p.num_rows())).sum();
            if i32::try_from(text).is_err() {
                let dataset = self.dataset.name.clone();
                return Err(ReadError::TooLarge { dataset, rows: rows.len() }.into());
            }
        }
        let all = concat_batches(&schema, &parts)?;
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
        let schema = self.schema.project(columns)?;
        let counted = BatchTokenCounts::new(stored, counts)?;
        let mut values: Vec<ArrayRef> = Vec::with_capacity(columns.len());
        for (column, field) in columns.iter().zip(schema.fields()) {
            let cell =
                self.cells.get(*column).ok_or_else(|| SqlError::internal("a column is out of range"))?;
            let array = match cell {
                ColumnSource::Tokens => counted.number(|c| c.tokens),
                ColumnSource::ScoredTokens => counted.number(|c| c.scored),
                ColumnSource::Truncated => counted.flag(|c| c.truncated),
                ColumnSource::Virtual(VirtualColumn::Of(part)) => {
                    record_texts(*part, &stored_column(stored, "record", &DataType::Utf8)?)?
                }
                ColumnSource::Virtual(column) => {
                    let measured = self.measured.iter().find(|measured| measured.column == *column);
                    let measured = measured.ok_or_else(|| SqlError::internal("a feature is lost"))?;
                    measured.of_rows(&self.snapshot, row_numbers(stored)?)?
                }
                cell => stored_column(stored, cell.stored().unwrap_or_default(), field.data_type())?,
            };
            values.push(canonical(&array));
        }
        Ok(batch_of(Arc::new(schema), values, stored.num_rows())?)
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

impl RowReader for SampleTable {
    fn describe(&self) -> (&'static str, String) {
        ("SampleExec", format!("dataset={}", self.dataset.name))
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn has_records(&self) -> bool {
        true
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

    fn read(&self, want: &ReadRequest, each: BatchConsumer<'_>) -> Result<(), SqlError> {
        let samples = self.samples()?;
        let counts = self.counts(&want.columns)?;
        let names = self.stored(&want.columns);
        for batch in samples.scan(&names, Some(want.rows.clone())) {
            let batch = batch?;
            let counted = match (counts, span(&batch)?) {
                (Some(counts), Some(rows)) => counts.counts(rows)?,
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

    fn unopened(&self) -> Option<Arc<dyn RowReader>> {
        Some(Arc::new(Self {
            snapshot: Arc::clone(&self.snapshot),
            dataset: Arc::clone(&self.dataset),
            encoding: self.encoding.clone(),
            cells: self.cells.clone(),
            schema: Arc::clone(&self.schema),
            samples: OnceLock::new(),
            counts: OnceLock::new(),
            measured: self.measured.iter().map(FeatureNumbers::unopened).collect(),
        }))
    }
}

impl Fetch for SampleTable {
    fn fetch(&self, rows: &[u64], columns: &[usize]) -> Result<RecordBatch, SqlError> {
        let counts = self.counts(columns)?;
        let names = self.stored(columns);
        let distinct = DistinctRows::new(rows);
        let rows = distinct.rows();
        let batch = match distinct.near_together() {
            Some(span) => self.within(span, rows, &names)?,
            None => self.samples()?.get(rows, &names)?,
        };
        let counted = match counts {
            Some(counts) => counts::token_counts(counts, rows)?,
            None => Vec::new(),
        };
        Ok(distinct.arrange(self.assemble(columns, &batch, &counted)?)?)
    }
}
