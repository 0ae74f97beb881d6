//! The features that a question names.
//!
//! Invariants
//! - every name is of a feature that the question uses; any other is an error
//! - of a dataset with named features no others are used, but at checkpoints that the question asks for and
//!   of which it names none

use std::collections::BTreeSet;
use std::sync::Arc;

use gstore_store::{FeaturePart, Granularity, Snapshot};

use crate::error::{QueryError, SideOf};
use crate::influence::spec::InfluenceSpec;

/// How a pool's tokens are asked about, whatever asks.
pub(super) const SCORES_TOKENS: &str =
    "`influence(..., per_token => true)` in SQL scores a pool's tokens one by one";

pub(super) fn is_named(feature: &FeaturePart, names: &[String]) -> bool {
    names.iter().any(|name| has_name(feature, name))
}

/// Whether the name is the feature's label, with its dataset or without, or its number.
fn has_name(feature: &FeaturePart, name: &str) -> bool {
    name == feature.attrs.label || name == feature.display_name() || name.parse() == Ok(feature.number)
}

fn features_named<'a>(snapshot: &'a Snapshot, name: &'a str) -> impl Iterator<Item = &'a Arc<FeaturePart>> {
    snapshot.features().iter().filter(move |feature| has_name(feature, name))
}

/// Of some names those of features that fit.
pub fn names_of(snapshot: &Snapshot, names: &[String], fits: impl Fn(&FeaturePart) -> bool) -> Vec<String> {
    names.iter().filter(|name| features_named(snapshot, name).any(|f| fits(f))).cloned().collect()
}

/// Of names that are for several questions those for one of them, about its `own` datasets: without those that
/// are only of datasets of the others.
pub fn names_for(snapshot: &Snapshot, names: &[String], own: &[String], others: &[String]) -> Vec<String> {
    let is_of = |name: &str, datasets: &[String]| {
        features_named(snapshot, name).any(|feature| datasets.contains(&feature.desc.dataset))
    };
    names.iter().filter(|name| is_of(name, own) || !is_of(name, others)).cloned().collect()
}

/// The kind of the first of these names that is of a feature of samples of these datasets.
pub fn named_kind(snapshot: &Snapshot, names: &[String], datasets: &[String]) -> Option<String> {
    let fits = |feature: &&Arc<FeaturePart>| {
        let desc = &feature.desc;
        let is_compared = desc.granularity == Granularity::Sample && desc.checkpoint.is_some();
        is_compared && datasets.contains(&desc.dataset)
    };
    let mut found = names.iter().filter_map(|name| features_named(snapshot, name).find(fits));
    found.next().map(|feature| feature.desc.kind.name.clone())
}

pub(super) fn usable<'a>(
    snapshot: &'a Snapshot,
    spec: &'a InfluenceSpec,
    name: &'a str,
    of: SideOf,
) -> impl Iterator<Item = &'a Arc<FeaturePart>> {
    let granularity = spec.granularity_of(of);
    features_named(snapshot, name).filter(move |feature| {
        let desc = &feature.desc;
        is_of(spec, of, &desc.dataset) && desc.granularity == granularity && desc.checkpoint.is_some()
    })
}

/// Whether a dataset is on this side of the question.
fn is_of(spec: &InfluenceSpec, of: SideOf, dataset: &str) -> bool {
    match of {
        SideOf::Pool => spec.pools.iter().any(|pool| pool == dataset),
        SideOf::Target => spec.targets.iter().any(|target| target.dataset == dataset),
    }
}

/// `#7 pool/grad-adam@checkpoint-112`.
fn listed(feature: &FeaturePart) -> String {
    format!("#{} {}", feature.number, feature.display_name())
}

/// Refuses names of no feature, of features of no dataset of the question, of tokens where samples are asked
/// about, and of a pool's samples where tokens are.
pub(super) fn check(snapshot: &Snapshot, spec: &InfluenceSpec) -> Result<(), QueryError> {
    for name in &spec.features {
        let fits: Vec<&Arc<FeaturePart>> = features_named(snapshot, name).collect();
        let Some(first) = fits.first() else {
            return Err(QueryError::Lookup(snapshot.unknown_feature(name)));
        };
        if !spec.per_token && fits.iter().all(|f| f.desc.granularity == Granularity::Token) {
            let way = match spec.unscored {
                true => "name one of samples",
                false => SCORES_TOKENS,
            };
            return Err(QueryError::Spec(format!(
                "feature `{name}` has a vector for each token, but the question is about samples; {way}"
            )));
        }
        let of_samples = |f: &FeaturePart| f.desc.granularity == Granularity::Sample;
        let of_side = |f: &FeaturePart, of| is_of(spec, of, &f.desc.dataset);
        if spec.per_token
            && fits.iter().all(|f| of_samples(f) && !of_side(f, SideOf::Target))
            && fits.iter().any(|f| of_side(f, SideOf::Pool))
        {
            return Err(QueryError::Spec(format!(
                "feature `{name}` has a vector for each sample, but with `per_token => true` the pool's tokens are scored; name one of tokens, \
                 or leave `per_token` out"
            )));
        }
        if SideOf::ALL.into_iter().any(|of| usable(snapshot, spec, name, of).next().is_some()) {
            continue;
        }
        let of_question = |f: &&&Arc<FeaturePart>| of_side(f, SideOf::Pool) || of_side(f, SideOf::Target);
        let (feature, why) = match fits.iter().find(of_question) {
            None => {
                (*first, format!("dataset `{}` is not a pool or target of the question", first.desc.dataset))
            }
            Some(own) if own.desc.checkpoint.is_none() => (*own, "it belongs to no checkpoint".to_owned()),
            Some(own) => (*own, "the vectors of a target are always those of samples".to_owned()),
        };
        return Err(unused(name, feature, &why, "leave it out of `features`"));
    }
    Ok(())
}

/// Refuses names of features that are not among those `used`, at the checkpoints of these names.
pub(super) fn check_used(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    used: &[Vec<Arc<FeaturePart>>],
    checkpoints: &[&str],
) -> Result<(), QueryError> {
    let used = || used.iter().flatten();
    let numbers: BTreeSet<u32> = used().map(|feature| feature.number).collect();
    for name in &spec.features {
        if features_named(snapshot, name).any(|feature| numbers.contains(&feature.number)) {
            continue;
        }
        let usable: Vec<&Arc<FeaturePart>> =
            SideOf::ALL.into_iter().flat_map(|of| usable(snapshot, spec, name, of)).collect();
        // One that is of a kind in use says more than another of the same label.
        let in_use = |f: &&&Arc<FeaturePart>| {
            used()
                .any(|other| other.desc.kind.name == f.desc.kind.name && other.desc.dataset == f.desc.dataset)
        };
        let Some(feature) = usable.iter().find(in_use).or(usable.first()) else { continue };
        let rival = used().find(|other| {
            let (a, b) = (&other.desc, &feature.desc);
            (&a.dataset, &a.checkpoint, &a.kind.name) == (&b.dataset, &b.checkpoint, &b.kind.name)
        });
        let (why, remedy) = match rival {
            Some(rival) => {
                let why = format!("{} fits the other features and is used instead", listed(rival));
                (why, "name one of them for each checkpoint")
            }
            None if spec.checkpoints.is_some() => {
                let why = format!("the question is about {}", checkpoints.join(", "));
                (why, "leave it out of `features`, or name its checkpoint too")
            }
            None => {
                let why = format!(
                    "only at {} every dataset of the question has features that can be used",
                    checkpoints.join(", ")
                );
                (why, "leave it out of `features`, or name those of the other datasets there too")
            }
        };
        return Err(unused(name, feature, &why, remedy));
    }
    Ok(())
}

pub(super) fn unused(name: &str, feature: &FeaturePart, why: &str, remedy: &str) -> QueryError {
    let feature = listed(feature);
    QueryError::Spec(format!("feature `{name}` ({feature}) would not be used: {why}; {remedy}"))
}
