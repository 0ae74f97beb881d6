//! The features of each checkpoint that fit together: of one space, with comparable attributes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gstore_store::{CheckpointId, FeaturePart, FeatureState, Granularity, Preconditioned};

use super::resolve::QuestionDataset;
use crate::error::QueryError;
use crate::influence::spec::modules;
use crate::influence::spec::{InfluenceSpec, Sim};

/// For one checkpoint the feature of every side: those of the only space that all sides have.
pub(super) fn fit(
    sides: &[QuestionDataset],
    checkpoint: &CheckpointId,
    place: &str,
    spec: &InfluenceSpec,
) -> Result<Vec<Arc<FeaturePart>>, QueryError> {
    let lists: Vec<&[Arc<FeaturePart>]> =
        sides.iter().map(|side| side.features.get(checkpoint).map_or(&[][..], Vec::as_slice)).collect();
    if let Some(at) = lists.iter().position(|list| list.is_empty()) {
        return Err(QueryError::NoFeature {
            side: sides[at].of,
            dataset: sides[at].dataset.name.clone(),
            kind: sides[at].kind.clone(),
            place: format!(" at {place}"),
            hint: "the other side has one".into(),
            compute: None,
        });
    }
    let spaces =
        |list: &[Arc<FeaturePart>]| -> BTreeSet<String> { list.iter().map(|f| f.desc.space.id()).collect() };
    let mut common = spaces(lists[0]);
    for list in &lists[1..] {
        let other = spaces(list);
        common.retain(|space| other.contains(space));
    }
    let Some(space) = common.first() else { return Err(different(&lists)) };
    let chosen: Vec<Vec<&Arc<FeaturePart>>> = lists
        .iter()
        .map(|list| list.iter().filter(|f| common.contains(&f.desc.space.id())).collect())
        .collect();
    if common.len() > 1 || chosen.iter().any(|list| list.len() > 1) {
        return Err(ambiguous(sides, &chosen, place));
    }
    debug_assert!(chosen.iter().all(|list| list.iter().all(|f| f.desc.space.id() == *space)));
    let chosen: Vec<Arc<FeaturePart>> = chosen.into_iter().flatten().cloned().collect();
    check_attributes(&chosen, spec)?;
    Ok(chosen)
}

/// The error for sides of which some have several features of a common space, each with the template by which
/// its samples became text: the hash of an encoding does not tell.
fn ambiguous(sides: &[QuestionDataset], chosen: &[Vec<&Arc<FeaturePart>>], place: &str) -> QueryError {
    // A dataset may be on both sides, so features are told apart by their numbers.
    let mut candidates = BTreeMap::new();
    for (side, list) in sides.iter().zip(chosen).filter(|(_, list)| list.len() > 1) {
        for feature in list {
            let encoding = side.dataset.encoding(&feature.desc.encoding);
            let made =
                encoding.map_or_else(String::new, |e| format!(" with the template {}", e.spec.template));
            candidates.insert(feature.number, describe(feature) + &made);
        }
    }
    let kinds: BTreeSet<&str> = sides.iter().map(|side| side.kind.as_str()).collect();
    let number = |of: Option<&u32>| of.map_or_else(String::new, u32::to_string);
    QueryError::Ambiguous {
        what: format!("the choice of {} features at {place}", Vec::from_iter(kinds).join(" and ")),
        newest: number(candidates.keys().next_back()),
        oldest: number(candidates.keys().next()),
        candidates: candidates.into_values().collect::<Vec<_>>().join("; "),
    }
}

/// Refuses checkpoints whose features saw different tokens of the same sample: a position would
/// not mean the same token.
pub(super) fn same_tokens(features: &[Arc<FeaturePart>]) -> Result<(), QueryError> {
    let Some(first) = features.first() else { return Ok(()) };
    if features.iter().all(|feature| feature.desc.encoding == first.desc.encoding) {
        return Ok(());
    }
    Err(QueryError::Spec(format!(
        "the features of tokens of dataset `{}` have different encodings, so their tokens cannot be matched: {}; name \
         checkpoints or features of one",
        first.desc.dataset,
        features.iter().map(|feature| describe(feature)).collect::<Vec<_>>().join("; ")
    )))
}

/// The error for sides that share no space: the first pair that differs.
fn different(lists: &[&[Arc<FeaturePart>]]) -> QueryError {
    for list in &lists[1..] {
        for (a, b) in lists[0].iter().flat_map(|a| list.iter().map(move |b| (a, b))) {
            if let Some(difference) = a.desc.space.difference(&b.desc.space) {
                return QueryError::Space { pool: describe(a), target: describe(b), difference };
            }
        }
    }
    QueryError::Spec("no space is common to all pools and targets".into())
}

/// `#7 pool/grad-adam@checkpoint-112 (f16, dim 8192, projection 12ab34cd, encoding 99fe01aa)`; computed in
/// another precision than f32 it says so.
pub(super) fn describe(feature: &FeaturePart) -> String {
    let short = |text: &str| text.chars().take(8).collect::<String>();
    let desc = &feature.desc;
    let computed = match desc.compute.as_str() {
        "f32" => String::new(),
        other => format!(", computed in {other}"),
    };
    let of = match desc.granularity {
        Granularity::Sample => "",
        Granularity::Token => ", of tokens",
    };
    format!(
        "#{} {} ({}, dim {}, projection {}, encoding {}{computed}{of})",
        feature.number,
        feature.display_name(),
        desc.dtype,
        desc.dim(),
        short(&desc.space.projection),
        short(&desc.encoding)
    )
}

/// What the features' attributes forbid.
fn check_attributes(features: &[Arc<FeaturePart>], spec: &InfluenceSpec) -> Result<(), QueryError> {
    for feature in features {
        if feature.state == FeatureState::Building && !spec.partial {
            return Err(QueryError::Building {
                dataset: feature.desc.dataset.clone(),
                label: feature.attrs.label.clone(),
            });
        }
        if let Some(modules) = &spec.modules {
            modules.check(feature, &describe(feature))?;
        }
        if feature.attrs.unit && spec.sim == Sim::Dot {
            return Err(QueryError::Spec(format!(
                "the vectors of {} were scaled to length 1 before they were stored, so a dot product would mean nothing; use \
                 `sim => 'cosine'`",
                describe(feature)
            )));
        }
        if spec.sim == Sim::Dot && feature.attrs.dot_scale != features[0].attrs.dot_scale {
            return Err(QueryError::Spec(format!(
                "dot products of {} and {} are scaled differently ({} and {})",
                describe(&features[0]),
                describe(feature),
                features[0].attrs.dot_scale,
                feature.attrs.dot_scale
            )));
        }
    }
    if let Some((pool, other, difference)) = modules::different(features) {
        return Err(QueryError::Space { pool: describe(pool), target: describe(other), difference });
    }
    let pools = spec.pools.len().min(features.len());
    let touched = |f: &&Arc<FeaturePart>| f.attrs.preconditioned != Preconditioned::None;
    if let (Some(pool), Some(target)) =
        (features[..pools].iter().find(touched), features[pools..].iter().find(touched))
    {
        return Err(QueryError::Spec(format!(
            "{} and {} may both be preconditioned; at most one side of a comparison may be",
            describe(pool),
            describe(target)
        )));
    }
    Ok(())
}
