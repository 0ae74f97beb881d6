//! Warning of a mask that would lose most of the gradients. It changes nothing that is computed.

use gstore_core::Remedy;
use gstore_store::RowSet;

use super::IngestError;
use super::compute::FeatureComputer;
use super::plan::CheckpointPlan;
use super::prepare::{BatchPreparer, BatchRow};
use super::window::cut_batches;
use crate::projection::{KURTOSIS_LIMIT, ProjectionKind};
use gstore_model::PackedSample;

/// Rows whose gradients are looked at.
const ROWS: usize = 8;

/// Rows among which those with a scored token are looked for.
const LOOKED_AT: u64 = 64;

/// Computes the gradients of a few rows where they are projected by a mask, and says so if they
/// are too uneven for it.
///
/// Runs before the workers do, on one small batch: what it needs of memory is theirs later.
pub(super) fn warning(
    checkpoint: &CheckpointPlan,
    computer: &FeatureComputer,
    preparer: &BatchPreparer<'_>,
    rows: &RowSet,
) -> Result<Option<String>, IngestError> {
    let kind = checkpoint.projection.kind;
    let has_gradient = checkpoint.features.iter().any(|feature| feature.kind.is_gradient());
    if !has_gradient || !matches!(kind, ProjectionKind::Mask | ProjectionKind::FactMask { .. }) {
        return Ok(None);
    }
    let start = rows.ranges().first().map_or(0, |range| range.start);
    let encoded = preparer.encode(start..start.saturating_add(LOOKED_AT))?;
    let scored: Vec<&BatchRow> =
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
    let seen: Vec<(&str, f64)> =
        checkpoint.tensors.iter().map(|tensor| tensor.name.as_str()).zip(kurtosis.iter().copied()).collect();
    let better = if kind.is_factored() { "fact_sjlt" } else { "sjlt" };
    Some(format!(
        "checkpoint `{}`: {}; {kind} may miss most of such a tensor's gradient, and no score shows it\n  {} keeps it (docs/methods.md)",
        checkpoint.arg.name,
        peaked_tensors(&seen)?,
        Remedy::Option("projection", better)
    ))
}

/// How many tensors are above the limit, and the largest value; none if no tensor is.
fn peaked_tensors(seen: &[(&str, f64)]) -> Option<String> {
    let above = seen.iter().filter(|(_, kurtosis)| *kurtosis > KURTOSIS_LIMIT);
    let count = above.clone().count();
    let (worst, most) = above.max_by(|a, b| a.1.total_cmp(&b.1))?;
    // Rounded up: a value above the limit must not be shown as the limit.
    let most = if *most < 100.0 { (most * 10.0).ceil() / 10.0 } else { most.ceil() };
    let them = if seen.len() == 1 { "tensor lies" } else { "tensors lie" };
    Some(format!(
        "the gradients of {count} of {} {them} in few coordinates: kurtosis above {KURTOSIS_LIMIT}, up to {most} in {worst} (3 for normal values)",
        seen.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_counts_and_never_shows_the_limit_as_above_itself() {
        assert_eq!(peaked_tensors(&[("a", 3.0), ("b", 10.0)]), None);
        let one = peaked_tensors(&[("a", 3.0), ("b", 10.02), ("c", 0.0)]).unwrap();
        assert!(one.contains("1 of 3 tensors") && one.contains("up to 10.1 in b"), "{one}");
        let two = peaked_tensors(&[("a", 33.0), ("b", 1234.2)]).unwrap();
        assert!(two.contains("2 of 2 tensors") && two.contains("up to 1235 in b"), "{two}");
    }
}
