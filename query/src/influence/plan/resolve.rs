//! Name resolution: datasets, kinds, and for each checkpoint the one feature of each side that fits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gstore_core::Kind;
use gstore_store::{
    CheckpointId, DatasetPart, Family, FeaturePart, FeatureState, Granularity, Preconditioned, Snapshot,
};

use crate::error::{QueryError, SideOf, ToCompute};
use crate::influence::spec::modules;
use crate::influence::spec::{InfluenceSpec, Sim, TargetRef};

/// A dataset of the question and the features of the wanted kind that it has, by checkpoint.
pub(super) struct Side {
    pub(super) of: SideOf,
    pub(super) dataset: Arc<DatasetPart>,
    pub(super) kind: String,
    pub(super) features: BTreeMap<CheckpointId, Vec<Arc<FeaturePart>>>,
}

/// A target dataset and the subtasks that are asked about (`None`: all its rows).
pub(super) type Target = (Arc<DatasetPart>, Option<BTreeSet<String>>);

/// The pools, each named once.
pub(super) fn pools(snapshot: &Snapshot, names: &[String]) -> Result<Vec<Arc<DatasetPart>>, QueryError> {
    let mut found: Vec<Arc<DatasetPart>> = Vec::new();
    for name in names {
        let dataset = snapshot.dataset(name)?;
        if found.iter().any(|other| other.name == dataset.name) {
            return Err(QueryError::Spec(format!("pool `{name}` is named twice")));
        }
        found.push(dataset.clone());
    }
    if found.is_empty() {
        return Err(QueryError::Spec("a question needs at least one pool".into()));
    }
    Ok(found)
}

/// The targets by dataset, in the order of their first mention.
pub(super) fn targets(snapshot: &Snapshot, refs: &[TargetRef]) -> Result<Vec<Target>, QueryError> {
    let mut found: Vec<Target> = Vec::new();
    for (at, target) in refs.iter().enumerate() {
        if refs.iter().take(at).any(|other| other == target) {
            return Err(QueryError::Spec(format!("target `{target}` is named twice")));
        }
        let dataset = snapshot.dataset(&target.dataset)?;
        let position = found.iter().position(|(other, _)| other.name == dataset.name);
        let entry = match position {
            Some(at) => &mut found[at],
            None => {
                found.push((dataset.clone(), Some(BTreeSet::new())));
                let last = found.len() - 1;
                &mut found[last]
            }
        };
        match (&target.subtask, &mut entry.1) {
            (Some(subtask), Some(set)) => {
                set.insert(subtask.clone());
            }
            (None, subtasks) => *subtasks = None,
            (Some(_), None) => {}
        }
    }
    if found.is_empty() {
        return Err(QueryError::Spec("a question needs at least one target".into()));
    }
    Ok(found)
}

/// Kinds of the pools and of the targets, and what a user should know about their choice.
pub(super) struct Kinds {
    pub(super) pool: String,
    pub(super) target: String,
    pub(super) note: Option<String>,
}

/// The kinds that the question names, or the usual ones.
pub(super) fn kinds(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    pools: &[Arc<DatasetPart>],
    targets: &[Target],
) -> Kinds {
    let (pool, note) = match (&spec.pool_kind, &spec.target_kind) {
        (Some(kind), _) => (kind.clone(), None),
        (None, Some(kind)) if !Kind::names_gradient(kind) => (kind.clone(), None),
        _ => gradient(snapshot, spec, pools, targets),
    };
    let target = match &spec.target_kind {
        Some(kind) => kind.clone(),
        None if Kind::names_gradient(&pool) => Kind::GradSgd.name().into(),
        None => pool.clone(),
    };
    Kinds { pool, target, note }
}

/// The kind of gradient of the pools where none is named. Where `grad-adam` has no checkpoint in common with
/// the targets and `grad-sgd` has, it is the latter, so that features for one question do not break another.
fn gradient(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    pools: &[Arc<DatasetPart>],
    targets: &[Target],
) -> (String, Option<String>) {
    let [adam, sgd] = [Kind::GradAdam.name(), Kind::GradSgd.name()];
    let of_pool = |pool: &Arc<DatasetPart>, kind| checkpoints(snapshot, &pool.name, kind, spec.granularity());
    let pools_with = |kind| pools.iter().filter(|pool| !of_pool(pool, kind).is_empty()).count();
    // Where no kind is everywhere, the one that most pools have: what is said to be
    // missing then is missing.
    let with_adam = pools_with(adam);
    if with_adam < pools.len() && with_adam < pools_with(sgd) {
        return (sgd.to_owned(), None);
    }
    // Named checkpoints and features say themselves what is compared.
    let named = spec.run.is_some() || spec.checkpoints.is_some() || !spec.features.is_empty();
    let of_targets = spec.target_kind.as_deref().unwrap_or(sgd);
    let meets = |kind| {
        let of_target = |(target, _): &Target| -> BTreeSet<CheckpointId> {
            checkpoints(snapshot, &target.name, of_targets, Granularity::Sample)
        };
        let sides = pools.iter().map(|pool| of_pool(pool, kind)).chain(targets.iter().map(of_target));
        sides.reduce(|common, side| &common & &side).is_some_and(|common| !common.is_empty())
    };
    if named || meets(adam) || !meets(sgd) {
        return (adam.to_owned(), None);
    }
    let note = format!(
        "the pool has {adam} at no checkpoint where every target has {of_targets}, so its {sgd} is compared; \
         `pool_kind` names another"
    );
    (sgd.to_owned(), Some(note))
}

/// The checkpoints at which a dataset has features of a kind.
fn checkpoints(
    snapshot: &Snapshot,
    dataset: &str,
    kind: &str,
    granularity: Granularity,
) -> BTreeSet<CheckpointId> {
    of_kind(snapshot, dataset, kind, granularity).filter_map(|f| f.desc.checkpoint.clone()).collect()
}

fn of_kind<'a>(
    snapshot: &'a Snapshot,
    dataset: &'a str,
    kind: &'a str,
    granularity: Granularity,
) -> impl Iterator<Item = &'a Arc<FeaturePart>> {
    let fits = move |f: &FeaturePart| f.desc.kind.name == kind && f.desc.granularity == granularity;
    let of_dataset = snapshot.features().iter().filter(move |f| f.desc.dataset == dataset);
    of_dataset.filter(move |f| fits(f) && f.desc.checkpoint.is_some())
}

/// The features of one kind that a dataset has for its side of the question. Where `features` names some of a
/// checkpoint's, the others of it are left out.
pub(super) fn side(
    snapshot: &Snapshot,
    dataset: &Arc<DatasetPart>,
    kind: &str,
    of: SideOf,
    spec: &InfluenceSpec,
) -> Result<Side, QueryError> {
    let prefer = &spec.features;
    let granularity = match of {
        SideOf::Pool => spec.granularity(),
        SideOf::Target => Granularity::Sample,
    };
    let mut features: BTreeMap<CheckpointId, Vec<Arc<FeaturePart>>> = BTreeMap::new();
    for feature in of_kind(snapshot, &dataset.name, kind, granularity) {
        if let Some(checkpoint) = &feature.desc.checkpoint {
            features.entry(checkpoint.clone()).or_default().push(feature.clone());
        }
    }
    if features.is_empty() {
        return Err(no_kind(snapshot, &dataset.name, kind, (of, granularity)));
    }
    if features.values().flatten().any(|f| f.desc.space.family == Family::Loss) {
        return Err(QueryError::Spec(format!(
            "`{kind}` of dataset `{}` is a single number, not a vector that can be compared",
            dataset.name
        )));
    }
    for list in features.values_mut() {
        if list.iter().any(|f| preferred(f, prefer)) {
            list.retain(|f| preferred(f, prefer));
        }
    }
    Ok(Side { of, dataset: dataset.clone(), kind: kind.to_owned(), features })
}

fn preferred(feature: &FeaturePart, names: &[String]) -> bool {
    names.iter().any(|name| {
        *name == feature.attrs.label || *name == feature.display_name() || name.parse() == Ok(feature.number)
    })
}

/// Names in `features` that no feature of the snapshot answers to, or only features of tokens where samples
/// are asked about, or of a pool's samples where tokens are.
pub(super) fn check_preferences(snapshot: &Snapshot, spec: &InfluenceSpec) -> Result<(), QueryError> {
    for name in &spec.features {
        let fits: Vec<_> =
            snapshot.features().iter().filter(|f| preferred(f, std::slice::from_ref(name))).collect();
        if fits.is_empty() {
            let labels = snapshot.features().iter().map(|f| f.attrs.label.as_str());
            return Err(QueryError::unknown("feature", name, labels));
        }
        if !spec.per_token && fits.iter().all(|f| f.desc.granularity == Granularity::Token) {
            return Err(QueryError::Spec(format!(
                "feature `{name}` has a vector for each token, and samples are asked about; {SCORES_TOKENS}"
            )));
        }
        let for_target = |f: &FeaturePart| spec.targets.iter().any(|t| t.dataset == f.desc.dataset);
        let of_samples = |f: &FeaturePart| f.desc.granularity == Granularity::Sample;
        let in_pool = |f: &FeaturePart| spec.pools.contains(&f.desc.dataset);
        if spec.per_token
            && fits.iter().all(|f| of_samples(f) && !for_target(f))
            && fits.iter().any(|f| in_pool(f))
        {
            return Err(QueryError::Spec(format!(
                "feature `{name}` has a vector for each sample, and with `per_token => true` the pool's tokens are scored; name one of tokens, \
                 or leave `per_token` out"
            )));
        }
    }
    Ok(())
}

/// The error for a dataset without a feature of this kind and granularity, with what it has instead.
fn no_kind(
    snapshot: &Snapshot,
    dataset: &str,
    kind: &str,
    (of, granularity): (SideOf, Granularity),
) -> QueryError {
    let kinds = |granularity: Granularity| -> BTreeSet<&str> {
        let own = snapshot.features().iter().filter(|f| f.desc.dataset == dataset);
        let own = own.filter(|f| f.desc.ensemble.is_none());
        own.filter(|f| f.desc.granularity == granularity).map(|f| f.desc.kind.name.as_str()).collect()
    };
    let has = kinds(granularity);
    let of_tokens = kinds(Granularity::Token);
    let listed = Vec::from_iter(has.iter().copied()).join(", ");
    let (place, hint, compute) = match granularity {
        Granularity::Token if has.is_empty() => {
            (OF_TOKENS, "it has none of tokens at all; compute some".to_owned(), "")
        }
        Granularity::Token => (OF_TOKENS, format!("of tokens it has {listed}; compute others"), kind),
        Granularity::Sample if !of_tokens.is_empty() && (has.is_empty() || of_tokens.contains(kind)) => {
            let tokens = Vec::from_iter(of_tokens.iter().copied()).join(", ");
            let has = match has.is_empty() {
                true => format!("it has features of tokens only ({tokens})"),
                false => format!("of tokens it has {tokens}"),
            };
            let scores = match of {
                SideOf::Pool => SCORES_TOKENS,
                SideOf::Target => "a target is always one of samples",
            };
            (" of samples", format!("{has}; {scores}; compute those of samples"), kind)
        }
        Granularity::Sample if has.is_empty() => ("", "it has no features yet: compute some".to_owned(), ""),
        Granularity::Sample => ("", format!("it has {listed}; compute others"), kind),
    };
    QueryError::NoFeature {
        side: of,
        dataset: dataset.to_owned(),
        kind: kind.to_owned(),
        place: place.to_owned(),
        hint,
        compute: Some(ToCompute { kind: compute.to_owned(), per_token: granularity == Granularity::Token }),
    }
}

/// Where a feature is missing that has a vector for each token.
const OF_TOKENS: &str = " of tokens";

/// How a pool's tokens are asked about, whatever asks.
const SCORES_TOKENS: &str = "`influence(..., per_token => true)` in SQL scores a pool's tokens one by one";

/// For one checkpoint the feature of every side: those of the only space that all sides have.
pub(super) fn fit(
    sides: &[Side],
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
        let mut candidates: Vec<String> =
            chosen.iter().filter(|list| list.len() > 1).flatten().map(|f| describe(f)).collect();
        // A dataset may be on both sides.
        let mut seen = BTreeSet::new();
        candidates.retain(|candidate| seen.insert(candidate.clone()));
        let kinds: BTreeSet<&str> = sides.iter().map(|side| side.kind.as_str()).collect();
        return Err(QueryError::Ambiguous {
            what: format!("the choice of {} features at {place}", Vec::from_iter(kinds).join(" and ")),
            candidates: candidates.join("; "),
        });
    }
    debug_assert!(chosen.iter().all(|list| list.iter().all(|f| f.desc.space.id() == *space)));
    let chosen: Vec<Arc<FeaturePart>> = chosen.into_iter().flatten().cloned().collect();
    check_attributes(&chosen, spec)?;
    Ok(chosen)
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
