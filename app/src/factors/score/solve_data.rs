//! Data of an iterative solve: the rows that factors were fitted on, or a sample of them.

use gstore_core::{MIX_STEP, Remedy, RowSet, mix};
use gstore_curvature::SolveLimits;
use gstore_ingest::pipeline::{IngestRequest, RowBatches};
use gstore_store::Snapshot;

use super::request::ScoreSolve;
use crate::factors::error::FactorJobError;
use crate::factors::stamp::FactorStamp;
use crate::rows::SmallestKeys;

pub(super) struct SolveData {
    pub limits: SolveLimits,
    pub batches: RowBatches,
    /// Rows that products pass over, and their dataset.
    pub rows: RowSet,
    pub dataset: String,
}

impl SolveData {
    /// `values` of a row are held at once.
    pub fn new(
        snapshot: &Snapshot,
        solve: &ScoreSolve,
        stamp: &FactorStamp,
        ingest: &IngestRequest,
        values: usize,
    ) -> Result<Self, FactorJobError> {
        let dataset = snapshot.dataset(&dataset(solve, stamp)?)?;
        let (live, fitted) = (snapshot.live_rows(dataset)?, stamp.row_set());
        // Files of other programs do not say which rows there were.
        let rows = if fitted.is_empty() { RowSet::clone(&live) } else { live.intersection(&fitted) };
        if rows.is_empty() {
            let text =
                format!("none of the rows of `{}` that the factors were fitted on is left", dataset.name);
            return Err(FactorJobError::Refused(text));
        }
        let rows = match solve.rows {
            Some(most) => sample_rows(&rows, most, stamp.seed.unwrap_or(0)),
            None => rows,
        };
        // The batches of scored rows have noted the same tokenizer.
        let batches = RowBatches::new(snapshot, dataset, ingest, values, &mut |_| ())?;
        Ok(Self { limits: solve.limits, batches, rows, dataset: dataset.name.clone() })
    }
}

/// The dataset whose rows products pass over.
fn dataset(solve: &ScoreSolve, stamp: &FactorStamp) -> Result<String, FactorJobError> {
    const OVER: &str = "an iterative solve passes over the rows that the factors were fitted on";
    match (&stamp.dataset, &solve.dataset) {
        (Some(fitted), Some(named)) if fitted != named => {
            Err(FactorJobError::Option(format!("{OVER}, and these are of `{fitted}`, not of `{named}`")))
        }
        (Some(name), _) | (None, Some(name)) => Ok(name.clone()),
        (None, None) => Err(FactorJobError::Option(format!(
            "{OVER}, and these do not say which: name the dataset, all of whose rows are then taken, with {}",
            Remedy::Option("solver_data", "")
        ))),
    }
}

/// So many of some rows: those with the smallest keys, which are mixed once more than those of
/// [`draw_key`](crate::rows::draw_key): with these a seed would draw other rows than it has drawn before.
fn sample_rows(rows: &RowSet, most: u64, seed: u64) -> RowSet {
    let of_seed = mix(seed.wrapping_add(MIX_STEP));
    let mut least = SmallestKeys::new(most);
    for row in rows.iter() {
        least.push(mix(of_seed ^ mix(row.wrapping_add(MIX_STEP))), row);
    }
    least.rows()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_of_rows_is_a_function_of_the_seed() {
        let rows = RowSet::from_ranges([3..40, 100..200]);
        let few = sample_rows(&rows, 10, 7);
        assert_eq!((few.len(), few.intersection(&rows).len()), (10, 10));
        assert_eq!(sample_rows(&rows, 10, 7), few);
        assert_ne!(sample_rows(&rows, 10, 8), few);
        // One of more rows has those of fewer.
        assert_eq!(sample_rows(&rows, 30, 7).intersection(&few), few);
        assert_eq!(sample_rows(&rows, 1000, 7), rows);
        let ranges: Vec<u64> = sample_rows(&rows, 30, 7).iter().collect();
        assert!(ranges.iter().filter(|row| **row >= 100).count() > 10, "{ranges:?}");
    }
}
