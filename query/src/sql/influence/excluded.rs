//! `excluded()`: the pool rows that have no score, and why.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::common::stats::Precision;
use gstore_store::Snapshot;

use super::columns::InfluenceColumns;
use crate::influence::{Excluded, InfluencePlan};
use crate::sql::blocking::Demand;
use crate::sql::error::SqlError;
use crate::sql::leaf::{Each, Rows, Want};
use crate::sql::samples::arrow;

/// Rows handed on together.
const BATCH: usize = 8192;
const ID: usize = 2;

/// The rows that `influence()` leaves out.
pub(super) struct ExcludedRows {
    plan: InfluencePlan,
    columns: InfluenceColumns,
    schema: SchemaRef,
}

impl std::fmt::Debug for ExcludedRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "excluded of {}", self.plan.pools().join(", "))
    }
}

impl ExcludedRows {
    pub(super) fn new(snapshot: &Arc<Snapshot>, plan: InfluencePlan) -> Result<Self, SqlError> {
        let schema = Schema::new(vec![
            Field::new("dataset", DataType::Utf8, false),
            Field::new("row", DataType::UInt64, false),
            Field::new("id", DataType::Utf8, false),
            Field::new("reason", DataType::Utf8, false),
        ]);
        let columns = InfluenceColumns::new(snapshot, &plan)?;
        Ok(Self { plan, columns, schema: Arc::new(schema) })
    }

    /// The columns asked for, of rows of one pool.
    fn batch(&self, rows: &[Excluded], wanted: &[usize]) -> Result<RecordBatch, SqlError> {
        let pool = rows.first().map_or(0, |r| r.pool as usize);
        let name = self.plan.pools().get(pool).map_or("", String::as_str);
        let schema = Arc::new(self.schema.project(wanted).map_err(arrow)?);
        let mut values: Vec<ArrayRef> = Vec::with_capacity(wanted.len());
        for column in wanted {
            values.push(match *column {
                0 => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(name, rows.len()))),
                1 => Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| r.row))),
                ID => {
                    let numbers: Vec<u64> = rows.iter().map(|r| r.row).collect();
                    let ids = self.columns.samples.fetch_part(pool, &numbers, &[self.columns.row + 1])?;
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
        ("ExcludedExec", format!("pool=[{}]", self.plan.pools().join(", ")))
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn count(&self) -> Precision<usize> {
        Precision::Absent
    }

    fn read(&self, want: &Want, each: Each<'_>) -> Result<(), SqlError> {
        let mut waiting: Vec<Excluded> = Vec::new();
        let mut outcome = Ok(Demand::More);
        let mut hand_over = |waiting: &mut Vec<Excluded>| {
            if !waiting.is_empty() {
                outcome = self.batch(waiting, &want.columns).and_then(&mut *each);
                waiting.clear();
            }
            match outcome {
                Ok(Demand::More) => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        };
        let scanned = self.plan.excluded(None, &AtomicBool::new(false), &mut |row| {
            let other_pool = waiting.last().is_some_and(|w| w.pool != row.pool);
            if (waiting.len() >= BATCH || other_pool) && hand_over(&mut waiting).is_break() {
                return ControlFlow::Break(());
            }
            waiting.push(row);
            ControlFlow::Continue(())
        });
        let _ = hand_over(&mut waiting);
        outcome?;
        scanned.map_err(SqlError::query)?;
        Ok(())
    }
}
