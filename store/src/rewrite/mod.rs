//! Copying rows from published files to new ones, without those that are no longer live.
//!
//! Invariants
//! - rows are copied bit for bit: stored values, scales, norms, flags and checks of vectors, ids and records
//!   of samples; nothing is ever computed again. So a feature's content digest is the same before and after
//! - every block and every MiB of a source is compared with its digest before a row of it is taken
//! - sample and encoding files stay dense: a row that is not live, between rows that are, is a shell (an
//!   empty id and nothing else, or counts of zero); there is none at the ends of a file
//! - one block or batch is in memory at a time; where segments interleave, the rows of one cell
//! - the new files depend on nothing but the rows and the limits, apart from their names and the
//!   time in their footers

mod counts;
mod samples;
mod segments;
mod work;

pub(crate) use counts::{has_counts, merge_counts};
pub(crate) use samples::merge_samples;
pub(crate) use segments::{merge_segments, rows_of};
pub(crate) use work::{is_work, lock_compact, work_folder};

use crate::encodings::GAP_ROWS;
use crate::error::RewriteError;
use gstore_core::{Cancel, RowSet};
use std::ops::Range;

/// What a rewrite tells while it works, and what can stop it.
pub(crate) struct Watch<'a> {
    /// Gets the bytes of the sources that were read since the last call.
    pub read: &'a mut dyn FnMut(u64),
    pub cancel: Option<&'a Cancel>,
}

impl Watch<'_> {
    /// Some bytes were read; fails if the work is to stop.
    fn advance(&mut self, bytes: u64) -> Result<(), RewriteError> {
        (self.read)(bytes);
        Ok(self.cancel.map_or(Ok(()), Cancel::check)?)
    }
}

/// The live rows of some files, in the stretches that become one file each: cut where more rows are missing
/// than a file may have shells for, and where a live row is missing that other files have.
fn stretches(live: &RowSet, own: &RowSet) -> Vec<RowSet> {
    let others = live.difference(own);
    let mut out: Vec<Vec<Range<u64>>> = Vec::new();
    for range in live.intersection(own).ranges() {
        let end = out.last().and_then(|part| part.last()).map(|l| l.end);
        let joins = end.is_some_and(|end| {
            range.start - end <= GAP_ROWS && others.within(end..range.start).next().is_none()
        });
        match out.last_mut().filter(|_| joins) {
            Some(part) => part.push(range.clone()),
            None => out.push(vec![range.clone()]),
        }
    }
    out.into_iter().map(RowSet::from_ranges).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_apart_rows_and_rows_of_other_files_are_no_gaps_to_fill() {
        let live = RowSet::from_ranges([0..5, 7..9, 100_000..100_001, 165_537..165_540]);
        let all = RowSet::from_range(0..1 << 20);
        let (near, far) =
            (RowSet::from_ranges([0..5, 7..9]), RowSet::from_ranges([100_000..100_001, 165_537..165_540]));
        assert_eq!(stretches(&live, &all), [near, far]);
        assert!(stretches(&RowSet::new(), &all).is_empty());
        let own = RowSet::from_ranges([0..3, 8..9]);
        assert_eq!(stretches(&live, &own), [RowSet::from_range(0..3), RowSet::from_range(8..9)]);
    }
}
