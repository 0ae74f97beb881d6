//! Errors of batches, with the sample that causes them.

use gstore_ingest::curvature::PassError;
use gstore_ingest::pipeline::RowBatches;

use super::engine::SampleTokens;
use super::error::FactorJobError;

#[derive(Clone, Copy)]
pub(super) enum BatchSamples<'a> {
    Rows(&'a RowBatches),
    /// Queries, and the ids of those of the batch.
    Queries(&'a [String]),
}

/// An error of a batch: with its sample where it is of one, else with all of its rows.
pub(super) fn batch_error(
    side: BatchSamples<'_>,
    batch: &[SampleTokens],
    error: PassError,
) -> FactorJobError {
    let rows = batch.iter().map(|sample| sample.row);
    let rows = [rows.clone().min().unwrap_or(0), rows.max().unwrap_or(0)];
    let whose = match side {
        BatchSamples::Rows(batches) => format!("dataset `{}`", batches.dataset()),
        BatchSamples::Queries(_) => "the queries".to_owned(),
    };
    let sample = error.sample().and_then(|at| Some((at, batch.get(at)?.row)));
    let place = match sample {
        None => Ok(format!("rows {} to {} of {whose}", rows[0], rows[1])),
        Some((at, row)) => match side {
            BatchSamples::Rows(batches) => id_of(batches, row),
            BatchSamples::Queries(ids) => Ok(ids.get(at).cloned().unwrap_or_default()),
        }
        .map(|id| format!("row {row} (id {id:?}) of {whose}")),
    };
    match place {
        Ok(place) => FactorJobError::Batch { place, rows, why: Box::new(error) },
        Err(error) => error,
    }
}

pub(super) fn id_of(batches: &RowBatches, row: u64) -> Result<String, FactorJobError> {
    Ok(batches.samples().ids(&[row])?.pop().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use gstore_data::Encoded;

    use super::*;

    #[test]
    fn an_error_of_a_query_names_it() {
        let batch = [4, 9].map(|row| SampleTokens::new(row, &Encoded::default()));
        let ids = ["a".to_owned(), "b".to_owned()];
        let said = |error| batch_error(BatchSamples::Queries(&ids), &batch, error).to_string();
        let (module, what) = ("m".to_owned(), "an input");
        let of_one = PassError::NotFinite { module: module.clone(), what, sample: 1, value: f32::INFINITY };
        assert_eq!(said(of_one), "row 9 (id \"b\") of the queries: module `m`: an input is inf");
        let of_all = PassError::Overflow { module, what, value: f32::INFINITY };
        assert!(said(of_all).starts_with("rows 4 to 9 of the queries: module `m`: "));
    }
}
