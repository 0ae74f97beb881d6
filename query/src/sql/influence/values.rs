//! The values of scored rows: what the ranking knows, joined with what the sample files hold.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, Float32Array, RecordBatch, RecordBatchOptions, StringArray, UInt32Array, UInt64Array,
};

use super::table::Question;
use crate::influence::Scored;
use crate::sql::error::SqlError;
use crate::sql::samples::arrow;

impl Question {
    /// Some columns of the table for scored rows, in their order. Sample files are read only for columns that need them.
    pub(super) fn columns_of(&self, part: &[Scored], wanted: &[usize]) -> Result<RecordBatch, SqlError> {
        let columns = &self.columns;
        let schema = Arc::new(columns.schema().project(wanted).map_err(arrow)?);
        if part.is_empty() {
            return Ok(RecordBatch::new_empty(schema));
        }
        let from_samples: Vec<usize> =
            wanted.iter().copied().filter(|c| !columns.is_result(*c) && *c != columns.row).collect();
        let samples = self.of_samples(part, &from_samples)?;
        let mut values: Vec<ArrayRef> = Vec::with_capacity(wanted.len());
        for column in wanted {
            values.push(if *column == columns.row {
                Arc::new(UInt64Array::from_iter_values(part.iter().map(|s| s.row)))
            } else if Some(*column) == columns.pos {
                Arc::new(UInt32Array::from_iter(part.iter().map(|s| s.pos)))
            } else if *column == columns.score {
                // Adding zero turns -0.0 into 0.0: they are one score here and two to the engine's sort.
                Arc::new(Float32Array::from_iter_values(part.iter().map(|s| s.score + 0.0)))
            } else if *column == columns.subtask {
                let names = self.plan.subtasks().map_err(SqlError::query)?;
                // Beyond the names where no subtask can be named.
                let name = |s: &Scored| names.get(s.subtask as usize).map(String::as_str);
                Arc::new(StringArray::from_iter(part.iter().map(name)))
            } else {
                let i = from_samples.iter().position(|c| c == column);
                let array = i.and_then(|i| samples.columns().get(i));
                Arc::clone(array.ok_or_else(|| SqlError::internal("a column was not read"))?)
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(part.len()));
        RecordBatch::try_new_with_options(schema, values, &options).map_err(arrow)
    }

    /// Columns of the pools' samples for scored rows, in their order.
    fn of_samples(&self, part: &[Scored], wanted: &[usize]) -> Result<RecordBatch, SqlError> {
        let samples = &self.columns.samples;
        let mut pools: Vec<u32> = part.iter().map(|s| s.pool).collect();
        pools.sort_unstable();
        pools.dedup();
        if wanted.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::new(arrow_schema::Schema::empty())));
        }
        let mut batches = Vec::with_capacity(pools.len());
        for pool in &pools {
            let rows: Vec<u64> = part.iter().filter(|s| s.pool == *pool).map(|s| s.row).collect();
            batches.push(samples.fetch_part(*pool as usize, &rows, wanted)?);
        }
        if let [only] = batches.as_slice() {
            return Ok(only.clone());
        }
        let mut next = vec![0usize; pools.len()];
        let mut places = Vec::with_capacity(part.len());
        for scored in part {
            let at = pools.binary_search(&scored.pool).unwrap_or(0);
            if let Some(n) = next.get_mut(at) {
                places.push((at, *n));
                *n += 1;
            }
        }
        let refs: Vec<&RecordBatch> = batches.iter().collect();
        arrow_select::interleave::interleave_record_batch(&refs, &places).map_err(arrow)
    }
}
