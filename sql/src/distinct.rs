//! Deduplication of values, and of row numbers, as of tokens: data of a row is read once.

use std::ops::Range;

use arrow_array::{RecordBatch, UInt64Array};
use arrow_schema::ArrowError;
use arrow_select::take::take_record_batch;

/// The distinct ones of some values, ascending.
pub(crate) fn distinct<T: Ord>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// The distinct ones of some row numbers, and where each of the others is found among them.
///
/// Invariants
/// - `rows` ascends strictly
/// - place i is that of the i-th number that was given
pub(crate) struct DistinctRows {
    rows: Vec<u64>,
    places: Vec<usize>,
}

impl DistinctRows {
    pub(crate) fn new(given: &[u64]) -> Self {
        let mut rows = given.to_vec();
        // Of tokens in order, neighbours are equal; sorting what is left costs little.
        rows.dedup();
        rows.sort_unstable();
        rows.dedup();
        let places = given.iter().map(|row| rows.partition_point(|r| r < row)).collect();
        Self { rows, places }
    }

    pub(crate) fn rows(&self) -> &[u64] {
        &self.rows
    }

    pub(crate) fn places(&self) -> &[usize] {
        &self.places
    }

    /// Whether the rows were given ascending and once each, so that what is read for them needs no arranging.
    pub(crate) fn as_given(&self) -> bool {
        self.places.iter().enumerate().all(|(i, place)| i == *place)
    }

    /// The range of rows to read as a whole, where most of what is read is asked for: picking rows out of
    /// pages costs more than reading on.
    pub(crate) fn near_together(&self) -> Option<Range<u64>> {
        const WORTH: u64 = 8;
        let (first, last) = (*self.rows.first()?, *self.rows.last()?);
        let span = last.checked_sub(first)?.checked_add(1)?;
        (span <= WORTH.saturating_mul(self.rows.len() as u64)).then(|| first..first + span)
    }

    /// What was read for the distinct rows, in the order of those that were given.
    pub(crate) fn arrange(&self, read: RecordBatch) -> Result<RecordBatch, ArrowError> {
        if self.as_given() {
            return Ok(read);
        }
        let places = UInt64Array::from_iter_values(self.places.iter().map(|place| *place as u64));
        take_record_batch(&read, &places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_once_and_found_again() {
        assert_eq!(distinct([2, 1, 2]), [1, 2]);
        for given in [&[][..], &[4], &[1, 2, 9], &[7, 7, 7, 8, 9, 9], &[9, 3, 9, 5, 3]] {
            let distinct = DistinctRows::new(given);
            assert!(distinct.rows().is_sorted_by(|a, b| a < b), "{given:?}");
            let found: Vec<u64> = distinct.places().iter().map(|place| distinct.rows()[*place]).collect();
            assert_eq!(found, given);
            assert_eq!(distinct.as_given(), given.is_sorted_by(|a, b| a < b));
            let rows = UInt64Array::from(distinct.rows().to_vec());
            let read = RecordBatch::try_from_iter([("row", std::sync::Arc::new(rows) as _)]).unwrap();
            let want = UInt64Array::from(given.to_vec());
            assert_eq!(distinct.arrange(read).unwrap().column(0).as_ref(), &want as &dyn arrow_array::Array);
        }
    }

    #[test]
    fn repeated_rows_do_not_hide_that_they_are_consecutive() {
        assert_eq!(DistinctRows::new(&[5, 5, 6, 6, 6, 7]).near_together(), Some(5..8));
        assert_eq!(DistinctRows::new(&[7, 5, 6, 7]).near_together(), Some(5..8));
        assert_eq!(DistinctRows::new(&[5, 100, 5, 100]).near_together(), None);
        assert_eq!(DistinctRows::new(&[0, u64::MAX]).near_together(), None);
        assert_eq!(DistinctRows::new(&[]).near_together(), None);
    }
}
