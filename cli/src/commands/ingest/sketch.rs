//! `gstore ingest --sketch`: sketches of the features that a plan computes.

use std::collections::HashSet;
use std::process::ExitCode;

use anyhow::Result;
use gstore::indexes::planes;
use gstore_ingest::pipeline::{IngestPlan, PlannedFeature};
use gstore_query::sketch::{Planes, can_sketch};
use gstore_store::{FeaturePart, Granularity, Store};

use crate::args::IngestArgs;
use crate::context::Context;
use crate::sketches;

/// Refuses other planes than the sketches of a planned feature keep.
pub fn check(args: &IngestArgs, plan: &IngestPlan) -> Result<()> {
    let Some(wanted) = args.kept.planes else { return Ok(()) };
    for feature in plan.features() {
        let Some(part) = stored_feature(plan, feature) else { continue };
        sketches::check_planes(&plan.snapshot, part, wanted)?;
    }
    Ok(())
}

/// The sketches of the plan's features, if they were asked for.
pub fn make(context: &Context, args: &IngestArgs, store: &Store, plan: &IngestPlan) -> Result<ExitCode> {
    if !args.sketch {
        return Ok(ExitCode::SUCCESS);
    }
    let cancel = context.cancel_on_interrupt(sketches::STOPPING);
    let keys: HashSet<String> = plan.features().map(|feature| feature.desc.key()).collect();
    let wanted = |part: &FeaturePart| keys.contains(&part.key);
    sketches::complete(context, store, wanted, args.kept.planes, &cancel)
}

/// Bytes of the sketches of the rows that are missing.
pub fn bytes(args: &IngestArgs, plans: &[&IngestPlan]) -> u64 {
    let of_plan = |plan: &&IngestPlan| -> u64 {
        let features = plan.features().filter(|feature| {
            feature.desc.granularity == Granularity::Sample && can_sketch(feature.desc.dim() as usize)
        });
        let bytes = features.map(|feature| {
            planes_to_keep(args, plan, feature)
                .vector_bytes(feature.desc.dim() as usize)
                .saturating_mul(plan.rows.difference(&feature.published).len())
        });
        bytes.fold(0, u64::saturating_add)
    };
    plans.iter().map(of_plan).fold(0, u64::saturating_add)
}

/// The planes that a feature's sketches will keep.
fn planes_to_keep(args: &IngestArgs, plan: &IngestPlan, feature: &PlannedFeature) -> Planes {
    let own = || stored_feature(plan, feature).and_then(|part| planes(&plan.snapshot, part));
    args.kept.planes.or_else(own).unwrap_or_default()
}

fn stored_feature<'a>(plan: &'a IngestPlan, feature: &PlannedFeature) -> Option<&'a FeaturePart> {
    let key = feature.desc.key();
    plan.snapshot.features().iter().find(|part| part.key == key).map(AsRef::as_ref)
}
