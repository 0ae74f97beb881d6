//! Disk space check: whether the vectors of an ingest fit, before hours are spent on computing them.

use std::path::Path;

use gstore_store::{Granularity, SampleReader, Store, vfs::check_room};

use super::IngestError;
use super::plan::{IngestPlan, encoder};
use super::prepare::{BatchPreparer, BatchRow};
use super::request::IngestRequest;
use super::row_sample::sample_rows;
use super::tracked::TrackedTensors;
use super::window::BatchLimits;
use super::work::{CheckpointWork, rows_of};
use gstore_core::{Cancel, Kind};
use gstore_data::{Content, Place};
use gstore_model::weights::ModelFolder;

/// Vectors that one of some rows has, on average.
pub(super) fn vectors_of_row(rows: &[BatchRow], granularity: Granularity) -> f64 {
    let vectors: usize = rows.iter().map(|row| row.clone().entries(granularity).len()).sum();
    if rows.is_empty() { 1.0 } else { vectors as f64 / rows.len() as f64 }
}

/// Refuses what a job still has to compute, if it does not fit where it goes.
pub(super) fn check_work(
    plan: &IngestPlan,
    works: &[CheckpointWork],
    samples: &SampleReader,
    place: &Path,
) -> Result<(), IngestError> {
    let of_feature = |(checkpoint, work): (&super::CheckpointPlan, &CheckpointWork)| -> u64 {
        let rows = |i: usize| work.windows.iter().map(|window| window.missing_of(i).len()).sum::<u64>();
        let features = checkpoint.features.iter().enumerate();
        features.map(|(i, feature)| rows(i).saturating_mul(feature.vector_bytes())).sum()
    };
    let bytes: u64 = plan.checkpoints.iter().zip(works).map(of_feature).sum();
    let per_row = match plan.request.granularity {
        Granularity::Token if bytes > 0 && plan.request.check_room => {
            let (one, cancel) = (BatchLimits { tokens: 1, rows: 1 }, Cancel::new());
            let preparer = BatchPreparer { chosen: None, ..plan.preparer(samples, one, &cancel) };
            vectors_of_row(&preparer.encode_rows(sample_rows(&rows_of(works)))?, Granularity::Token)
        }
        _ => 1.0,
    };
    check(&plan.request, place, (bytes as f64 * per_row) as u64)
}

/// Refuses samples that are not registered yet, if their vectors do not fit in addition to the store's.
/// `rows` are new, `texts` some of those in their files.
pub(super) fn check_new(
    store: &Store,
    request: &IngestRequest,
    rows: u64,
    texts: &[(Place, Content)],
) -> Result<(), IngestError> {
    if !request.check_room || rows == 0 {
        return Ok(());
    }
    let snapshot = store.snapshot()?;
    let before = snapshot.dataset(&request.dataset).map_or(0, |part| part.rows);
    let rows = request.limit.map_or(rows, |limit| rows.min(limit.saturating_sub(before)));
    let per_row = match request.granularity {
        Granularity::Sample => 1.0,
        Granularity::Token => {
            let encoder = encoder(request)?;
            let mut vectors = 0;
            for (place, text) in texts {
                let encoded = encoder.encode(text);
                let encoded =
                    encoded.map_err(|source| IngestError::EncodeRecord { place: place.clone(), source })?;
                vectors += encoded.scored_tokens().max(1);
            }
            vectors as f64 / texts.len().max(1) as f64
        }
    };
    let bytes = rows.saturating_mul(bytes_of_row(request)?);
    check(request, store.path(), (bytes as f64 * per_row) as u64)
}

/// Bytes of a row's vectors, one of each kind and checkpoint.
fn bytes_of_row(request: &IngestRequest) -> Result<u64, IngestError> {
    let base = ModelFolder::open(&request.model)?;
    let mut bytes = 0u64;
    for arg in &request.checkpoints {
        let tracked = TrackedTensors::find(request, &base, arg)?;
        let measure = tracked.measure(request, arg, "")?;
        let of = |kind: &Kind| {
            let attrs = measure.attrs(*kind, String::new());
            attrs.vector_bytes(request.dtype_of(*kind), request.granularity)
        };
        bytes += request.kinds.iter().map(of).sum::<u64>();
    }
    Ok(bytes)
}

fn check(request: &IngestRequest, place: &Path, needed: u64) -> Result<(), IngestError> {
    if !request.check_room {
        return Ok(());
    }
    check_room(place, needed).map_err(IngestError::NoRoom)
}
