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
use crate::leaf::{BatchConsumer, ReadRequest, RowReader, batch_of};

/// The rows that `influence()` leaves out.
pub(super) struct ExcludedRows {
    plan: Prepared,
    columns: InfluenceColumns,
    schema: SchemaRef,
}

impl ExcludedRows {
    pub(super) fn new(plan: Prepared) -> Self {
        let mut fields = vec![
            Field::new("dataset", DataType::Utf8, false),
            Field::new("row", DataType::UInt64, false),
            Field::new("id", DataType::Utf8, false),
            Field::new("reason", DataType::Utf8, false),
        ];
        if plan.spec().per_token {
            // Null where none of the sample's tokens has a vector.
            fields.insert(2, Field::new("pos", DataType::UInt32, true));
        }
        let columns = InfluenceColumns::new(&plan, ExtraColumns::default());
        Self { plan, columns, schema: Arc::new(Schema::new(fields)) }
    }

    fn names(&self) -> String {
        self.plan.spec().pools.join(", ")
    }

    /// The columns asked for, of rows of one pool.
    fn batch(&self, rows: &[ExcludedRow], wanted: &[usize]) -> Result<RecordBatch, SqlError> {
        let pool = rows.first().map_or(0, |r| r.pool as usize);
        let name = self.plan.pools().get(pool).map_or("", |p| p.dataset.name.as_str());
        let schema = Arc::new(self.schema.project(wanted)?);
        let mut values: Vec<ArrayRef> = Vec::with_capacity(wanted.len());
        for field in schema.fields() {
            values.push(match field.name().as_str() {
                "dataset" => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(name, rows.len()))),
                "row" => Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| r.row))),
                "pos" => Arc::new(UInt32Array::from_iter(rows.iter().map(|r| r.pos))),
                "id" => {
                    let numbers: Vec<u64> = rows.iter().map(|r| r.row).collect();
                    let ids = self.columns.samples.fetch_part(pool, &numbers, &[self.columns.id])?;
                    Arc::clone(ids.column(0))
                }
                _ => Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.reason.word()))),
            });
        }
        Ok(batch_of(schema, values, rows.len())?)
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
        let limited = want.memory.as_ref().filter(|_| want.served);
        let memory = limited.map(|pool| MemoryConsumer::new("influence").register(pool));
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
        scanned?;
        Ok(())
    }
}
