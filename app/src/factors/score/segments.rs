//! Segments of training that scores are summed over: factors and filters, and the checkpoints of rows.

use gstore_core::{Cancel, CheckpointId};
use gstore_curvature::{Filter, Strategy};
use gstore_ingest::curvature::CurvatureEngine;
use gstore_ingest::pipeline::{CheckpointArg, IngestRequest, RowBatches};
use gstore_store::Snapshot;

use super::checks::{check_modules, stale};
use super::request::{ScoreRequest, ScoreSegment};
use crate::factors::engine;
use crate::factors::error::FactorJobError;
use crate::factors::folder::{FactorParts, FactorReader};
use crate::factors::stored::StoredFactors;

/// A segment: what queries are preconditioned with, and where the rows of the pool are.
pub(super) struct ScoredSegment {
    pub factors: Option<FactorReader>,
    /// Rows of the largest block of its eigenvectors; none where it has none. Those of factors that were
    /// exported and imported are whole, whatever was fitted.
    pub widest: Option<usize>,
    /// Its filters, of which each query has a column.
    pub filters: Vec<Filter>,
    pub checkpoints: Vec<SegmentCheckpoint>,
}

pub(super) struct SegmentCheckpoint {
    pub id: CheckpointId,
    /// Where it is; none: it is that of the plan's engine.
    pub at: Option<IngestRequest>,
}

/// The checkpoints of each segment, of one where none is named.
pub(super) fn places(
    request: &ScoreRequest,
    ingest: &IngestRequest,
    engine: &CurvatureEngine,
) -> Result<Vec<Vec<SegmentCheckpoint>>, FactorJobError> {
    let here = || SegmentCheckpoint { id: engine.checkpoint_id().clone(), at: None };
    if request.segments.is_empty() {
        return Ok(vec![vec![here()]]);
    }
    let own = ingest.checkpoints.first().map(|own| (&ingest.model, &own.weights));
    let of = |segment: &ScoreSegment| -> Result<Vec<SegmentCheckpoint>, FactorJobError> {
        let place = |checkpoint: &CheckpointArg| -> Result<SegmentCheckpoint, FactorJobError> {
            if own == Some((&segment.model, &checkpoint.weights)) {
                return Ok(here());
            }
            let (model, checkpoints) = (segment.model.clone(), vec![checkpoint.clone()]);
            let at = IngestRequest { model, checkpoints, ..ingest.clone() };
            Ok(SegmentCheckpoint { id: engine::identity(&at, engine)?, at: Some(at) })
        };
        segment.checkpoints.iter().map(place).collect()
    };
    request.segments.iter().map(of).collect()
}

/// Refuses factors of other modules, and stale ones unless those are asked for: then why they are.
pub(super) fn check_stale(
    (request, stored): (&ScoreRequest, &[StoredFactors]),
    places: &[Vec<SegmentCheckpoint>],
    (engine, batches): (&CurvatureEngine, &RowBatches),
    cancel: &Cancel,
) -> Result<Option<String>, FactorJobError> {
    let mut reasons = Vec::new();
    for (stored, places) in stored.iter().zip(places) {
        let (stamp, name) = (&stored.content.stamp, &stored.part.name);
        check_modules(stamp, engine.modules())?;
        let ids: Vec<CheckpointId> = places.iter().map(|place| place.id.clone()).collect();
        match stale(request, stamp, (&ids, batches), cancel)? {
            None => {}
            Some(why) if !request.stale => return Err(FactorJobError::Stale { name: name.clone(), why }),
            Some(why) if request.segments.is_empty() => reasons.push(why),
            Some(why) => reasons.push(format!("`{name}`: {why}")),
        }
    }
    Ok((!reasons.is_empty()).then(|| reasons.join("; ")))
}

/// The segments, each with a reader of what its filters need.
pub(super) fn segments(
    request: &ScoreRequest,
    places: Vec<Vec<SegmentCheckpoint>>,
    (snapshot, stored): (&Snapshot, &[StoredFactors]),
    strategy: Strategy,
) -> Result<Vec<ScoredSegment>, FactorJobError> {
    let mut readers = stored.iter().map(|stored| stored.reader(snapshot, FactorParts::of(strategy)));
    let mut all = Vec::with_capacity(places.len());
    for (at, checkpoints) in places.into_iter().enumerate() {
        let named = request.segments.get(at).map(|segment| vec![segment.filter]);
        let filters = named.unwrap_or_else(|| request.filters.clone());
        let factors = readers.next().transpose()?;
        let widest = factors.as_ref().map(FactorReader::widest).transpose()?;
        all.push(ScoredSegment { factors, widest: widest.flatten(), filters, checkpoints });
    }
    Ok(all)
}
