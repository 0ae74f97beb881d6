//! The warning that a mask would lose most of the gradients at hand. It changes nothing of what is computed.

use gstore_store::RowSet;

use super::IngestError;
use super::compute::Computer;
use super::plan::CheckpointPlan;
use super::prepare::{PreparedRow, Preparer};
use super::window::cut_batches;
use crate::model::PackedSample;
use crate::projection::{ProjectionKind, kurtosis::LIMIT};

/// Rows whose gradients are looked at.
const ROWS: usize = 8;

/// Rows among which those with a scored token are looked for.
const LOOKED_AT: u64 = 64;

/// Computes the gradients of a few rows where they are projected by a mask, and says so if they are too uneven for it.
///
/// Runs before the workers do, on one small batch: what it needs of memory is theirs later.
///
/// # Errors
/// Samples that cannot be read or encoded.
pub(super) fn warning(
    checkpoint: &CheckpointPlan,
    computer: &Computer,
    preparer: &Preparer<'_>,
    rows: &RowSet,
) -> Result<Option<String>, IngestError> {
    let kind = checkpoint.projection.kind;
    let has_gradient = checkpoint.features.iter().any(|feature| feature.kind.is_gradient());
    if !has_gradient || !matches!(kind, ProjectionKind::Mask | ProjectionKind::FactMask { .. }) {
        return Ok(None);
    }
    let start = rows.ranges().first().map_or(0, |range| range.start);
    let encoded = preparer.encode(start..start.saturating_add(LOOKED_AT))?;
    let scored: Vec<&PreparedRow> =
        encoded.iter().filter(|row| row.encoded.scored_tokens() > 0).take(ROWS).collect();
    let cuts = cut_batches(scored.iter().map(|row| row.encoded.ids.len()), checkpoint.limits);
    let batch: Vec<PackedSample<'_>> =
        scored.iter().take(cuts.first().map_or(0, |cut| cut.len())).map(|row| row.sample()).collect();
    if batch.is_empty() {
        return Ok(None);
    }
    Ok(text(checkpoint, &computer.engine.kurtosis(&batch)?))
}

fn text(checkpoint: &CheckpointPlan, kurtosis: &[f64]) -> Option<String> {
    let kind = checkpoint.projection.kind;
    let seen = checkpoint.tensors.iter().zip(kurtosis);
    let peaked: Vec<(&str, f64)> = seen
        .filter(|(_, kurtosis)| **kurtosis > LIMIT)
        .map(|(tensor, kurtosis)| (tensor.name.as_str(), *kurtosis))
        .collect();
    let (worst, most) = peaked.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let better = if kind.is_factored() { "fact_sjlt" } else { "sjlt" };
    Some(format!(
        "the gradients of checkpoint `{}` lie in few coordinates, of which {kind} misses most: kurtosis above {LIMIT} in {} of {} tensors, {most:.0} in \
         {worst} (3 for normal values)\n  scores will be poor; --projection {better} keeps them (docs/methods.md)",
        checkpoint.arg.name,
        peaked.len(),
        checkpoint.tensors.len(),
    ))
}
