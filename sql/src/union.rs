//! The samples of several datasets under one schema.
//!
//! A part that lacks a column has null there; a part whose column has another type is cast.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use datafusion::common::stats::Precision;

use super::blocking::Demand;
use super::distinct::distinct;
use super::error::SqlError;
use super::leaf::{BatchConsumer, Fetch, ReadRequest, RowReader, batch_of};
use super::samples::{PartSource, SampleTable, as_type};

/// One dataset in a union.
pub(crate) struct UnionPart {
    pub(crate) samples: SampleTable,
    /// One source for each column of the union.
    pub(crate) sources: Vec<PartSource>,
}

/// Several datasets, one after the other.
pub(crate) struct SampleUnion {
    pub(crate) schema: SchemaRef,
    pub(crate) parts: Vec<UnionPart>,
}

impl SampleUnion {
    pub(crate) fn read_part(
        &self,
        part: usize,
        want: &ReadRequest,
        each: BatchConsumer<'_>,
    ) -> Result<(), SqlError> {
        let (part, read) = self.plan(part, &want.columns)?;
        if self.skips(part, want)? {
            return Ok(());
        }
        let inner = ReadRequest { columns: read.clone(), ..want.clone() };
        part.samples.read(&inner, &mut |batch| each(self.widen(part, &want.columns, &read, &batch)?))
    }

    /// Some columns of given rows of one part, in this order; a row that is given repeatedly is read once.
    pub(crate) fn fetch_part(
        &self,
        part: usize,
        rows: &[u64],
        columns: &[usize],
    ) -> Result<RecordBatch, SqlError> {
        let (part, read) = self.plan(part, columns)?;
        let batch = match read.is_empty() {
            true => without_columns(rows.len())?,
            false => part.samples.fetch(rows, &read)?,
        };
        self.widen(part, columns, &read, &batch)
    }

    /// Whether the filter drops all of a part because of values that are the same in all its rows.
    fn skips(&self, part: &UnionPart, want: &ReadRequest) -> Result<bool, SqlError> {
        let Some(filter) = &want.filter else { return Ok(false) };
        let constant = |source: &PartSource| matches!(source, PartSource::Constant(_));
        let columns: Vec<usize> =
            part.sources.iter().enumerate().filter(|(_, s)| constant(s)).map(|(i, _)| i).collect();
        let row = self.widen(part, &columns, &[], &without_columns(1)?)?;
        filter.drops(&columns, &row)
    }

    /// The part, and the columns of its samples that are read for `columns`.
    fn plan(&self, part: usize, columns: &[usize]) -> Result<(&UnionPart, Vec<usize>), SqlError> {
        let part = self.parts.get(part).ok_or_else(|| SqlError::internal("no such part of a union"))?;
        let read = columns.iter().filter_map(|c| match part.sources.get(*c) {
            Some(PartSource::Sample(column)) => Some(*column),
            _ => None,
        });
        Ok((part, distinct(read)))
    }

    fn widen(
        &self,
        part: &UnionPart,
        columns: &[usize],
        read: &[usize],
        batch: &RecordBatch,
    ) -> Result<RecordBatch, SqlError> {
        let schema = Arc::new(self.schema.project(columns)?);
        let rows = batch.num_rows();
        let mut values: Vec<ArrayRef> = Vec::with_capacity(columns.len());
        for (column, field) in columns.iter().zip(schema.fields()) {
            values.push(match part.sources.get(*column) {
                Some(PartSource::Constant(value)) => {
                    Arc::new(StringArray::from_iter(std::iter::repeat_n(value.as_deref(), rows)))
                }
                Some(PartSource::Sample(source)) => {
                    let i = read.iter().position(|r| r == source);
                    let array = i
                        .map(|i| batch.column(i))
                        .ok_or_else(|| SqlError::internal("a column was not read"))?;
                    as_type(array, field.data_type())?
                }
                _ => new_null_array(field.data_type(), rows),
            });
        }
        Ok(batch_of(schema, values, rows)?)
    }
}

fn without_columns(rows: usize) -> Result<RecordBatch, ArrowError> {
    batch_of(Arc::new(Schema::empty()), Vec::new(), rows)
}

impl RowReader for SampleUnion {
    fn describe(&self) -> (&'static str, String) {
        let names: Vec<&str> = self.parts.iter().map(|p| p.samples.dataset().name.as_str()).collect();
        ("SampleExec", format!("datasets=[{}]", names.join(", ")))
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn count(&self) -> Precision<usize> {
        let rows = self.parts.iter().fold(0u64, |n, p| n.saturating_add(p.samples.dataset().rows));
        usize::try_from(rows).map_or(Precision::Absent, Precision::Exact)
    }

    fn row_column(&self) -> Option<usize> {
        self.schema.index_of("row").ok()
    }

    fn read(&self, want: &ReadRequest, each: BatchConsumer<'_>) -> Result<(), SqlError> {
        let mut demand = Demand::More;
        for part in 0..self.parts.len() {
            self.read_part(part, want, &mut |batch| {
                demand = each(batch)?;
                Ok(demand)
            })?;
            if demand == Demand::Enough {
                break;
            }
        }
        Ok(())
    }
}
