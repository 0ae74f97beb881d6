//! Basis of a plan: what a job goes by that was read in an earlier snapshot than the one it starts on.

use super::plan::JobPlan;
use super::rows::published_rows;
use crate::error::{ConcurrentChange, JobError};
use crate::manifest::{DatasetPart, FeaturePart, Stripe, StripePart};
use crate::store::Snapshot;
use gstore_core::{FeatureDesc, RowSet};
use std::sync::Arc;

/// Fails unless `now` still has what a plan made on `planned` goes by: the datasets whose samples are read,
/// the models that losses are of, and the vectors, offsets and token counts that are not computed again
/// because they were there. Additions since then do not matter, and neither do rows deleted since.
pub(super) fn check(planned: &Snapshot, now: &Snapshot, plan: &JobPlan) -> Result<(), JobError> {
    if planned.digest() == now.digest() {
        return Ok(());
    }
    for desc in plan.features.iter().map(|feature| &feature.desc) {
        let seen = planned.dataset(&desc.dataset)?;
        let dataset = now.same_dataset(seen)?;
        let live = now.live_rows(dataset)?;
        same_models(planned, now, desc)?;
        same_counts(seen, dataset, &desc.encoding, &live)?;
        for part in planned.features().iter().filter(|part| goes_by(desc, &part.desc)) {
            same_vectors((planned, part), now, &live)?;
        }
    }
    Ok(())
}

/// Whether a feature that is there decides what is computed of another: as the same one, or as losses of the
/// same table, whose offsets the new ones are differences to.
fn goes_by(desc: &FeatureDesc, there: &FeatureDesc) -> bool {
    let is_of_table = || {
        desc.ensemble.is_some()
            && (desc.ensemble, &desc.dataset, &desc.encoding)
                == (there.ensemble, &there.dataset, &there.encoding)
    };
    desc == there || is_of_table()
}

fn same_models(planned: &Snapshot, now: &Snapshot, desc: &FeatureDesc) -> Result<(), ConcurrentChange> {
    let seen = planned.ensembles().iter().find(|ensemble| Some(ensemble.uuid) == desc.ensemble);
    let Some(seen) = seen else { return Ok(()) };
    match Stripe::of(desc) {
        Ok(Some(Stripe { part: StripePart::Members { range, .. }, .. })) => now.same_members(seen, range),
        _ => now.same_members(seen, 0..0),
    }
}

fn same_counts(
    seen: &DatasetPart,
    dataset: &DatasetPart,
    encoding: &str,
    live: &RowSet,
) -> Result<(), ConcurrentChange> {
    let Some(counted) = seen.encoding(encoding) else { return Ok(()) };
    let there = dataset.encoding(encoding).map(|entry| entry.rows()).unwrap_or_default();
    match counted.rows().intersection(live).difference(&there).is_empty() {
        true => Ok(()),
        false => Err(gone(format!("token counts ({}) of dataset {}", counted.label, seen.name))),
    }
}

fn same_vectors(
    (planned, part): (&Snapshot, &Arc<FeaturePart>),
    now: &Snapshot,
    live: &RowSet,
) -> Result<(), JobError> {
    let there = now.same_feature(part)?;
    if there.segments == part.segments {
        return Ok(());
    }
    let had = published_rows(planned, &part.key)?.intersection(live);
    match had.difference(&published_rows(now, &part.key)?).is_empty() {
        true => Ok(()),
        false => Err(gone(format!("vectors of feature {}", part.display_name())).into()),
    }
}

fn gone(what: String) -> ConcurrentChange {
    ConcurrentChange::Gone { what, replaced: false }
}
