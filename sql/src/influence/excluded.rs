//! `excluded()`: the pool rows, or tokens of theirs, that have no score, and why.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::memory_pool::MemoryConsumer;
use gstore_query::influence::{ExcludedRow, Prepared};

use super::columns::{ExtraColumns, InfluenceColumns};
use super::question::hold_inverses;
use crate::blocking::Demand;
use crate::error::SqlError;
use crate::leaf::{BatchConsumer, ReadRequest, RowReader};
use crate::translate::arrow;

/// A column.
#[derive(Clone, Copy)]
enum ExcludedColumn {
    Dataset,
    Row,
    /// Of a token; null where none of the sample's tokens has a vector.
    Pos,
    Id,
    Reason,
}

/// The rows that `influence()` leaves out.
pub(super) struct ExcludedRows {
    plan: Prepared,
    columns: InfluenceColumns,
    /// In step with the schema.
    shown: Vec<ExcludedColumn>,
    schema: SchemaRef,
}

impl ExcludedRows {
    pub(super) fn new(plan: Prepared) -> Self {
        let mut shown = vec![
            (ExcludedColumn::Dataset, Field::new("dataset", DataType::Utf8, false)),
            (ExcludedColumn::Row, Field::new("row", DataType::UInt64, false)),
            (ExcludedColumn::Id, Field::new("id", DataType::Utf8, false)),
            (ExcludedColumn::Reason, Field::new("reason", DataType::Utf8, false)),
        ];
        if plan.spec().per_token {
            shown.insert(2, (ExcludedColumn::Pos, Field::new("pos", DataType::UInt32, true)));
        }
        let columns = InfluenceColumns::new(&plan, ExtraColumns::default());
        let (shown, fields): (Vec<_>, Vec<_>) = shown.into_iter().unzip();
        Self { plan, columns, shown, schema: Arc::new(Schema::new(fields)) }
    }

    fn names(&self) -> String {
        self.plan.spec().pools.join(", ")
    }

    /// The columns asked for, of rows of one pool.
    fn batch(&self, rows: &[ExcludedRow], wanted: &[usize]) -> Result<RecordBatch, SqlError> {
        let pool = rows.first().map_or(0, |r| r.pool as usize);
        let name = self.plan.pools().get(pool).map_or("", |p| p.dataset.name.as_str());
        let schema = Arc::new(self.schema.project(wanted).map_err(arrow)?);
        let mut values: Vec<ArrayRef> = Vec::with_capacity(wanted.len());
        for column in wanted {
            let shown = self.shown.get(*column).ok_or_else(|| SqlError::internal("no such column"))?;
            values.push(match shown {
                ExcludedColumn::Dataset => {
                    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(name, rows.len())))
                }
                ExcludedColumn::Row => Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| r.row))),
                ExcludedColumn::Pos => Arc::new(UInt32Array::from_iter(rows.iter().map(|r| r.pos))),
                ExcludedColumn::Id => {
                    let numbers: Vec<u64> = rows.iter().map(|r| r.row).collect();
                    let ids = self.columns.samples.fetch_part(pool, &numbers, &[self.columns.id])?;
                    Arc::clone(ids.column(0))
                }
                ExcludedColumn::Reason => {
                    Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.reason.word())))
                }
            });
        }
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(schema, values, &options).map_err(arrow)
    }
}

impl RowReader for ExcludedRows {
    fn describe(&self) -> (&'static str, String) {
        ("ExcludedExec", format!("pool=[{}]", self.names()))
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn read(&self, want: &ReadRequest, each: BatchConsumer<'_>) -> Result<(), SqlError> {
        let memory = want.memory.as_ref().map(|pool| MemoryConsumer::new("influence").register(pool));
        hold_inverses(&self.plan, memory.as_ref(), want.threads, &want.cancelled)?;
        let mut outcome = Ok(());
        // A slice lies inside one pool.
        let scanned = self.plan.excluded(None, want.threads, &want.cancelled, |rows| {
            match self.batch(rows, &want.columns).and_then(&mut *each) {
                Ok(Demand::More) => ControlFlow::Continue(()),
                Ok(Demand::Enough) => ControlFlow::Break(()),
                Err(e) => {
                    outcome = Err(e);
                    ControlFlow::Break(())
                }
            }
        });
        outcome?;
        scanned.map_err(SqlError::query)?;
        Ok(())
    }
}
