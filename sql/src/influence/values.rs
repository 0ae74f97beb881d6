//! Values of scored rows: columns of the ranking, joined with those of the sample files.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float32Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use gstore_core::Cancel;
use gstore_functions::canonical;
use gstore_query::influence::Scored;

use super::explained::Explanations;
use super::joined::JoinedSamples;
use super::question::InfluenceQuestion;
use crate::blocking::Demand;
use crate::distinct::distinct;
use crate::error::SqlError;
use crate::leaf::batch_of;
use crate::tokens::TokenTexts;

impl InfluenceQuestion {
    /// Hands out some columns of the table for scored rows, in their order, in batches of at most `most`
    /// rows, each with the rows that it is of. Sample files are read at once for all rows, and only for
    /// columns that need them. Work that takes long looks at `cancel`.
    pub(super) fn columns_of(
        &self,
        part: &[Scored],
        wanted: &[usize],
        most: usize,
        cancel: &Cancel,
        mut each: impl FnMut(&[Scored], RecordBatch) -> Result<Demand, SqlError>,
    ) -> Result<Demand, SqlError> {
        let columns = &self.columns;
        let from_samples: Vec<usize> =
            wanted.iter().copied().filter(|c| !columns.is_result(*c) && *c != columns.row).collect();
        let joined = JoinedSamples::new(&columns.samples, part, &from_samples)?;
        let mut start = 0;
        while start < part.len() {
            let end = joined.end(start, most).min(part.len());
            let scored = part.get(start..end).unwrap_or_default();
            let samples = joined.columns(start..end)?;
            if each(scored, self.batch_of(scored, wanted, (&from_samples, &samples), cancel)?)?
                == Demand::Enough
            {
                return Ok(Demand::Enough);
            }
            start = end;
        }
        Ok(Demand::More)
    }

    /// Whether scored rows occur in the target.
    fn marks(&self, part: &[Scored], cancel: &Cancel) -> Result<Vec<bool>, SqlError> {
        let mut marks = vec![false; part.len()];
        for pool in 0..self.plan.pools().len() {
            let own = |s: &Scored| s.pool as usize == pool;
            let rows: Vec<u64> = part.iter().filter(|s| own(s)).map(|s| s.row).collect();
            // Tokens of a sample come one after the other.
            let mut distinct = rows.clone();
            distinct.dedup();
            let found = self.plan.in_target(pool, &distinct, cancel)?;
            let mut of_row = distinct.iter().zip(found);
            let mut last = of_row.next();
            for (mark, scored) in marks.iter_mut().zip(part).filter(|(_, s)| own(s)) {
                if last.is_some_and(|(row, _)| *row != scored.row) {
                    last = of_row.next();
                }
                *mark = last.is_some_and(|(_, found)| found);
            }
        }
        Ok(marks)
    }

    fn tokens(&self, part: &[Scored]) -> Result<ArrayRef, SqlError> {
        let mut texts = Vec::new();
        for (pool, side) in self.plan.pools().iter().enumerate() {
            let rows = distinct(part.iter().filter(|s| s.pool as usize == pool).map(|s| s.row));
            let samples = self.columns.samples.fetch_part(pool, &rows, &[self.columns.record])?;
            let encoding = side.encoding().and_then(|key| side.dataset.encoding(key)).map(|e| &e.spec);
            let (snapshot, encoder) = (self.plan.snapshot(), self.plan.encoder());
            texts.push(TokenTexts::of(snapshot, encoder, encoding, &rows, samples.column(0))?);
        }
        let text = |s: &Scored| texts.get(s.pool as usize)?.get(s.row, s.pos?);
        Ok(Arc::new(part.iter().map(text).collect::<StringArray>()))
    }

    /// The `wanted` columns of scored rows, of which `samples` has the columns `from_samples`.
    fn batch_of(
        &self,
        part: &[Scored],
        wanted: &[usize],
        (from_samples, samples): (&[usize], &RecordBatch),
        cancel: &Cancel,
    ) -> Result<RecordBatch, SqlError> {
        let columns = &self.columns;
        let schema = Arc::new(columns.schema().project(wanted)?);
        let explained = columns.explained.as_ref().filter(|at| wanted.iter().any(|c| at.contains(c)));
        let errors = columns.errors.as_ref().filter(|at| wanted.iter().any(|c| at.contains(c)));
        let behind = match explained.is_some() || errors.is_some() {
            true => Some(Explanations::of(self, part, explained.is_some(), cancel)?),
            false => None,
        };
        let mut values: Vec<ArrayRef> = Vec::with_capacity(wanted.len());
        for column in wanted {
            values.push(if *column == columns.row {
                Arc::new(UInt64Array::from_iter_values(part.iter().map(|s| s.row)))
            } else if Some(*column) == columns.pos {
                Arc::new(UInt32Array::from_iter(part.iter().map(|s| s.pos)))
            } else if Some(*column) == columns.token {
                self.tokens(part)?
            } else if *column == columns.score {
                // Adding zero turns -0.0 into 0.0: they are one score here and two to the engine's sort.
                Arc::new(Float32Array::from_iter_values(part.iter().map(|s| s.score + 0.0)))
            } else if Some(*column) == columns.subtask {
                let names = self.plan.subtasks(cancel)?;
                // Beyond the names where no subtask can be named.
                let name = |s: &Scored| names.get(s.subtask as usize).map(String::as_str);
                Arc::new(StringArray::from_iter(part.iter().map(name)))
            } else if Some(*column) == columns.in_target {
                Arc::new(BooleanArray::from(self.marks(part, cancel)?))
            } else if let (Some(at), Some(behind)) = (explained.filter(|at| at.contains(column)), &behind) {
                canonical(&behind.column(*column - at.start)?)
            } else if let (Some(at), Some(behind)) = (errors.filter(|at| at.contains(column)), &behind) {
                canonical(&behind.error(*column - at.start)?)
            } else {
                let i = from_samples.iter().position(|c| c == column);
                let array = i.and_then(|i| samples.columns().get(i));
                Arc::clone(array.ok_or_else(|| SqlError::internal("a column was not read"))?)
            });
        }
        Ok(batch_of(schema, values, part.len())?)
    }
}
