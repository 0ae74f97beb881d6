//! Rows and modules split into contiguous parts, and how messages show parts.

use std::ops::Range;
use std::sync::Arc;

use gstore_core::{RowSet, first_of};
use gstore_ingest::pipeline::IngestRequest;
use gstore_store::{DatasetPart, Snapshot};

use super::error::FactorJobError;

/// `count` as contiguous parts whose sizes differ by at most one, the larger ones first.
pub(super) fn split(count: usize, parts: usize) -> Vec<Range<usize>> {
    let parts = parts.max(1);
    let (size, larger) = (count / parts, count % parts);
    let begin = |part: usize| part * size + part.min(larger);
    (0..parts).map(|part| begin(part)..begin(part + 1)).collect()
}

/// The same of rows.
pub(super) fn split_rows(rows: &RowSet, parts: usize) -> Vec<RowSet> {
    let mut left = rows.iter();
    let count = usize::try_from(rows.len()).unwrap_or(usize::MAX);
    let parts = split(count, parts);
    parts.into_iter().map(|part| RowSet::from_rows_sorted(left.by_ref().take(part.len()))).collect()
}

/// Ascending parts as `--partition` counts them, from 1: the first of their runs, and dots where there are
/// more.
pub(super) fn shown(parts: &[usize]) -> String {
    let runs = parts.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [first, .., last] => format!("{}-{}", first + 1, last + 1),
        alone => alone.iter().map(|part| (part + 1).to_string()).collect(),
    });
    first_of(runs, 8)
}

pub(super) fn first(live: &RowSet, limit: Option<u64>) -> RowSet {
    match limit {
        Some(limit) => {
            RowSet::from_rows_sorted(live.iter().take(usize::try_from(limit).unwrap_or(usize::MAX)))
        }
        None => live.clone(),
    }
}

/// The dataset of a request and its first rows, of which there has to be one.
pub(super) fn chosen_rows(
    snapshot: &Snapshot,
    request: &IngestRequest,
) -> Result<(Arc<DatasetPart>, RowSet), FactorJobError> {
    let dataset = snapshot.dataset(&request.dataset)?;
    let rows = first(&*snapshot.live_rows(dataset)?, request.limit);
    match rows.is_empty() {
        true => Err(FactorJobError::Refused(format!("dataset `{}` has no rows", dataset.name))),
        false => Ok((Arc::clone(dataset), rows)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_contiguous_and_the_larger_ones_first() {
        assert_eq!(split(7, 3), [0..3, 3..5, 5..7]);
        assert_eq!(split(2, 3), [0..1, 1..2, 2..2]);
        let rows = RowSet::from_ranges([0..3, 10..14]);
        let parts = split_rows(&rows, 3);
        let found: Vec<Vec<u64>> = parts.iter().map(|part| part.iter().collect()).collect();
        assert_eq!(found, [vec![0, 1, 2], vec![10, 11], vec![12, 13]]);
        assert_eq!(first(&rows, Some(4)).iter().collect::<Vec<_>>(), [0, 1, 2, 10]);
    }

    #[test]
    fn many_parts_are_shown_by_their_first_runs() {
        assert_eq!(shown(&[0, 2, 3, 4, 5]), "1, 3-6");
        assert_eq!(shown(&(1..1000).collect::<Vec<_>>()), "2-1000");
        let even: Vec<usize> = (0..500).map(|part| 2 * part).collect();
        assert_eq!(shown(&even), "1, 3, 5, 7, 9, 11, 13, 15, ...");
        assert_eq!(shown(&even[..8]), "1, 3, 5, 7, 9, 11, 13, 15");
    }
}
