//! `excluded()`: the pool rows that have no score, and why.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::common::stats::Precision;

use super::columns::InfluenceColumns;
use crate::influence::{Excluded, InfluencePlan};
use crate::sql::blocking::Demand;
use crate::sql::error::SqlError;
use crate::sql::leaf::{Each, Rows, Want};
use crate::sql::samples::arrow;

const ID: usize = 2;

/// The rows that `influence()` leaves out.
pub(super) struct ExcludedRows {
    plan: InfluencePlan,
    columns: InfluenceColumns,
    schema: SchemaRef,
}

impl std::fmt::Debug for ExcludedRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "excluded of {}", self.names())
    }
}

impl ExcludedRows {
    pub(super) fn new(plan: InfluencePlan) -> Self {
        let schema = Schema::new(vec![
            Field::new("dataset", DataType::Utf8, false),
            Field::new("row", DataType::UInt64, false),
            Field::new("id", DataType::Utf8, false),
            Field::new("reason", DataType::Utf8, false),
        ]);
        let columns = InfluenceColumns::new(&plan);
        Self { plan, columns, schema: Arc::new(schema) }
    }

    fn names(&self) -> String {
        self.plan.spec().pools.join(", ")
    }

    /// The columns asked for, of rows of one pool.
    fn batch(&self, rows: &[Excluded], wanted: &[usize]) -> Result<RecordBatch, SqlError> {
        let pool = rows.first().map_or(0, |r| r.pool as usize);
        let name = self.plan.pools().get(pool).map_or("", |p| p.dataset.name.as_str());
        let schema = Arc::new(self.schema.project(wanted).map_err(arrow)?);
        let mut values: Vec<ArrayRef> = Vec::with_capacity(wanted.len());
        for column in wanted {
            values.push(match *column {
                0 => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(name, rows.len()))),
                1 => Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| r.row))),
                ID => {
                    let numbers: Vec<u64> = rows.iter().map(|r| r.row).collect();
                    let ids = self.columns.samples.fetch_part(pool, &numbers, &[self.columns.id])?;
                    Arc::clone(ids.column(0))
                }
                _ => Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.reason.word()))),
            });
        }
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(schema, values, &options).map_err(arrow)
    }
}

impl Rows for ExcludedRows {
    fn describe(&self) -> (&'static str, String) {
        ("ExcludedExec", format!("pool=[{}]", self.names()))
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn count(&self) -> Precision<usize> {
        Precision::Absent
    }

    fn read(&self, want: &Want, each: Each<'_>) -> Result<(), SqlError> {
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
