//! Features of a pool that a question could not tell from the gradients of a cascade.

use std::collections::BTreeSet;
use std::sync::Arc;

use gstore_core::Remedy;
use gstore_ingest::pipeline::{IngestPlan, PlannedFeature};
use gstore_query::influence::names_of;
use gstore_store::{FeatureDesc, FeaturePart};

use crate::answer::AnswerError;

/// Characters of a parameter that tell it from another, be it a digest.
const SHOWN: usize = 16;

/// A feature that the pool has, and the planned one that is like it.
struct Twin<'a> {
    stored: &'a FeaturePart,
    planned: &'a FeatureDesc,
}

/// Refuses gradients of a plan beside which the pool has others of their kind and space. A question would be
/// about either, unless its `names` are those of planned ones alone.
pub(super) fn check_twins(plan: &IngestPlan, names: &[String]) -> Result<(), AnswerError> {
    let is_named =
        |part: &FeaturePart| !names_of(&plan.snapshot, names, |f| f.number == part.number).is_empty();
    let own = plan.snapshot.features_of(&plan.request.dataset);
    let gradients: Vec<(&PlannedFeature, Option<&Arc<FeaturePart>>)> = plan
        .features()
        .filter(|feature| feature.kind.is_gradient())
        .map(|feature| (feature, plan.snapshot.feature_by_key(&feature.desc.key())))
        .collect();
    let mut twins: Vec<Twin<'_>> = Vec::new();
    for (planned, stored) in &gradients {
        let is_told = stored.is_some_and(|part| is_named(part));
        for part in &own {
            let part: &FeaturePart = part;
            if is_twin(&part.desc, &planned.desc) && (!is_told || is_named(part)) {
                twins.push(Twin { stored: part, planned: &planned.desc });
            }
        }
    }
    if twins.is_empty() {
        return Ok(());
    }
    let mut differ: Vec<String> = Vec::new();
    for difference in twins.iter().flat_map(|twin| differences(plan, twin)) {
        if !differ.contains(&difference) {
            differ.push(difference);
        }
    }
    let mut ways = ways_out(&twins);
    let kept: Option<BTreeSet<u32>> =
        gradients.iter().map(|(_, stored)| stored.map(|part| part.number)).collect();
    if let Some(kept) = kept.filter(|_| !twins.iter().any(|twin| is_named(twin.stored))) {
        let others = kept.iter().map(u32::to_string).filter(|number| !names.contains(number));
        let asked: Vec<String> = names.iter().cloned().chain(others).collect();
        ways.push(format!("{} takes the others", Remedy::Option("features", &asked.join(","))));
    }
    let listed: Vec<String> = twins.iter().map(|twin| twin.stored.display_name()).collect();
    Err(AnswerError::Refused(format!(
        "the pool has {} already, and its gradients would have {} here: a question could not tell both apart; {}",
        listed.join(", "),
        differ.join(", "),
        ways.join(", or ")
    )))
}

fn is_twin(stored: &FeatureDesc, planned: &FeatureDesc) -> bool {
    (&stored.kind.name, stored.granularity) == (&planned.kind.name, planned.granularity)
        && stored.space.id() == planned.space.id()
        && stored.key() != planned.key()
}

/// What can be done about stored features: that they go, or, where only their type is another one, that the
/// cascade computes more of them.
fn ways_out(twins: &[Twin<'_>]) -> Vec<String> {
    let numbers: Vec<String> = twins.iter().map(|twin| twin.stored.number.to_string()).collect();
    let drops: Vec<String> = numbers.iter().map(|number| Remedy::DropFeature(number).to_string()).collect();
    let removes = if drops.len() == 1 { "removes it" } else { "remove them" };
    let mut ways = vec![format!("{} {removes}", drops.join(" and "))];
    let types: BTreeSet<&str> = twins.iter().map(|twin| twin.stored.desc.dtype.name()).collect();
    let is_of_type = |twin: &Twin<'_>| {
        let stored = &twin.stored.desc;
        FeatureDesc { dtype: stored.dtype, ..twin.planned.clone() } == *stored
    };
    if let (Some(dtype), 1, true) = (types.first(), types.len(), twins.iter().all(is_of_type)) {
        ways.push(format!(
            "ingest the targets' gradients with {} as well and name those with {}",
            Remedy::Option("dtype", dtype),
            Remedy::Option("features", "")
        ));
    }
    ways
}

/// In what a planned feature differs from a stored one of its kind and space, in words.
fn differences(plan: &IngestPlan, twin: &Twin<'_>) -> Vec<String> {
    let (planned, stored) = (twin.planned, &twin.stored.desc);
    let mut found = Vec::new();
    let mut compare = |what: &str, planned: String, stored: String| {
        if planned != stored {
            let [planned, stored] =
                [planned, stored].map(|value| value.chars().take(SHOWN).collect::<String>());
            found.push(format!("{what} {planned}, not {stored}"));
        }
    };
    compare("storage type", planned.dtype.to_string(), stored.dtype.to_string());
    let rotation = |desc: &FeatureDesc| desc.rotation.name().to_owned();
    compare("rotation of signs", rotation(planned), rotation(stored));
    compare("precision", planned.compute.clone(), stored.compute.clone());
    let names: BTreeSet<&String> = planned.kind.params.keys().chain(stored.kind.params.keys()).collect();
    for name in names {
        let value = |desc: &FeatureDesc| {
            let value = desc.kind.params.get(name).map_or_else(|| "none".to_owned(), ToString::to_string);
            value.trim_matches('"').to_owned()
        };
        let what = if name == "moments" { "optimizer state" } else { name.as_str() };
        compare(what, value(planned), value(stored));
    }
    if planned.encoding != stored.encoding {
        let other = plan.dataset.encoding(&stored.encoding);
        let options = other.map(|other| plan.encoding.options_unlike(&other.spec)).unwrap_or_default();
        found.push(match options.is_empty() {
            true => "another encoding".to_owned(),
            false => format!("another encoding ({})", options.join(", ")),
        });
    }
    found
}
