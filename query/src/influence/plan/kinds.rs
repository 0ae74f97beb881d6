//! The kinds of a question's features: those that it names, or the usual ones.

use std::collections::BTreeSet;
use std::iter;
use std::sync::Arc;

use gstore_core::Kind;
use gstore_store::{CheckpointId, DatasetPart, Granularity, Snapshot};

use super::checkpoints::asked;
use super::named::{is_named, unused, usable};
use super::resolve::{NamedTarget, features_of_kind};
use crate::error::{QueryError, SideOf};
use crate::influence::spec::InfluenceSpec;

/// Kinds of the pools and of the targets, and what a user should know about their choice.
pub(super) struct Kinds {
    pub(super) pool: String,
    pub(super) target: String,
    pub(super) note: Option<String>,
}

/// The kinds that the question names, itself or by its features, or the usual ones.
pub(super) fn kinds(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    pools: &[Arc<DatasetPart>],
    targets: &[NamedTarget],
) -> Result<Kinds, QueryError> {
    // Of each name the kinds that it has among the pools, and among the targets.
    let named: Vec<[BTreeSet<&str>; 2]> = spec
        .features
        .iter()
        .map(|name| SideOf::ALL.map(|of| kinds_named(snapshot, spec, name, of)))
        .collect();
    let of_pools: BTreeSet<&str> = named.iter().flat_map(|[pool, _]| pool).copied().collect();
    let of_targets: BTreeSet<&str> = named.iter().flat_map(|[_, target]| target).copied().collect();
    let mut of_targets_alone =
        named.iter().filter(|[pool, _]| pool.is_empty()).flat_map(|[_, target]| target);
    let target = spec.target_kind.as_deref().or(of_targets_alone.next().copied());
    let (pool_kinds, note) = match (&spec.pool_kind, target) {
        (Some(kind), _) => (vec![kind.clone()], None),
        _ if !of_pools.is_empty() => (of_pools.into_iter().map(str::to_owned).collect(), None),
        (None, Some(kind)) if !Kind::names_gradient(kind) => (vec![kind.to_owned()], None),
        (None, target) => {
            let of_targets = target.unwrap_or(Kind::GradSgd.name());
            let (kind, note) = gradient(snapshot, spec, of_targets, (pools, targets));
            (vec![kind], note)
        }
    };
    let target_kinds = |pool: &str| match &spec.target_kind {
        Some(kind) => vec![kind.clone()],
        None => {
            let named = of_targets.iter().map(|kind| (*kind).to_owned());
            iter::once(usual_of_targets(snapshot, pool, targets)).chain(named).collect()
        }
    };
    let pairs: Vec<(&String, String)> = pool_kinds
        .iter()
        .flat_map(|pool| target_kinds(pool).into_iter().map(move |target| (pool, target)))
        .collect();
    let uses = |[of_pool, of_target]: &[BTreeSet<&str>; 2], (pool, target): &(&String, String)| {
        of_pool.contains(pool.as_str()) || of_target.contains(target.as_str())
    };
    if let Some((pool, target)) = pairs.iter().find(|pair| named.iter().all(|name| uses(name, pair))) {
        return Ok(Kinds { pool: (*pool).clone(), target: target.clone(), note });
    }
    let other = pairs.first().and_then(|pair| Some((named.iter().position(|name| !uses(name, pair))?, pair)));
    let Some((at, (pool, target))) = other else {
        return Err(QueryError::Spec("no kind of features fits the question".to_owned()));
    };
    Err(of_other_kind(snapshot, spec, &spec.features[at], [pool.as_str(), target.as_str()]))
}

fn kinds_named<'a>(
    snapshot: &'a Snapshot,
    spec: &'a InfluenceSpec,
    name: &'a str,
    of: SideOf,
) -> BTreeSet<&'a str> {
    usable(snapshot, spec, name, of).map(|feature| feature.desc.kind.name.as_str()).collect()
}

/// The error for a named feature of another kind than the question compares on its side.
fn of_other_kind(snapshot: &Snapshot, spec: &InfluenceSpec, name: &str, kinds: [&str; 2]) -> QueryError {
    let mut found = SideOf::ALL
        .into_iter()
        .zip(kinds)
        .filter_map(|(of, kind)| Some((usable(snapshot, spec, name, of).next()?, of.name(), kind)));
    let Some((feature, side, kind)) = found.next() else {
        return QueryError::Spec(format!("feature `{name}` belongs to no dataset of the question"));
    };
    let why = format!(
        "it is of the kind {}, and the kind of the {side} is {kind} here; a question takes one kind of each side",
        feature.desc.kind.name
    );
    unused(name, feature, &why, "name features of one kind, or leave it out of `features`")
}

/// The kind of the targets where none is named: the pool's, but plain gradients for gradients. Of gradients
/// that were computed elsewhere it is the pool's too, where every target has them.
fn usual_of_targets(snapshot: &Snapshot, pool: &str, targets: &[NamedTarget]) -> String {
    let has = |(target, _): &NamedTarget| {
        features_of_kind(snapshot, &target.name, pool, Granularity::Sample).next().is_some()
    };
    let is_plain = Kind::names_computed(pool) || targets.is_empty() || !targets.iter().all(has);
    if Kind::names_gradient(pool) && is_plain { Kind::GradSgd.name().to_owned() } else { pool.to_owned() }
}

/// The kind of gradient of the pools where none is named. Where `grad-adam` has no checkpoint in common with
/// the targets and `grad-sgd` has, it is the latter, so that features for one question do not break another.
/// Of a question that names checkpoints or their run only these count, unless the pools have none there.
fn gradient(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    of_targets: &str,
    (pools, targets): (&[Arc<DatasetPart>], &[NamedTarget]),
) -> (String, Option<String>) {
    let [adam, sgd] = [Kind::GradAdam.name(), Kind::GradSgd.name()];
    let anywhere = |pool: &Arc<DatasetPart>, kind| {
        checkpoints(snapshot, spec, (pool.name.as_str(), kind), spec.granularity())
    };
    let asked = asked(snapshot, spec).filter(|asked| {
        pools.iter().any(|pool| [adam, sgd].into_iter().any(|kind| !anywhere(pool, kind).is_disjoint(asked)))
    });
    let of_pool = |pool: &Arc<DatasetPart>, kind| match &asked {
        Some(asked) => &anywhere(pool, kind) & asked,
        None => anywhere(pool, kind),
    };
    let pools_with = |kind| pools.iter().filter(|pool| !of_pool(pool, kind).is_empty()).count();
    // Where no kind is everywhere, the one that most pools have: what is said to be
    // missing then is missing.
    let with_adam = pools_with(adam);
    if with_adam < pools.len() && with_adam < pools_with(sgd) {
        return (sgd.to_owned(), None);
    }
    let meets = |kind| {
        let of_target = |(target, _): &NamedTarget| -> BTreeSet<CheckpointId> {
            checkpoints(snapshot, spec, (target.name.as_str(), of_targets), Granularity::Sample)
        };
        let sides = pools.iter().map(|pool| of_pool(pool, kind)).chain(targets.iter().map(of_target));
        sides.reduce(|common, side| &common & &side).is_some_and(|common| !common.is_empty())
    };
    if meets(adam) || !meets(sgd) {
        return (adam.to_owned(), None);
    }
    let within = if asked.is_some() { " that is asked about" } else { "" };
    let note = format!(
        "the pool has {adam} at no checkpoint{within} where every target has {of_targets}, so its \
         {sgd} is compared; `pool_kind => 'KIND'` names another"
    );
    (sgd.to_owned(), Some(note))
}

/// The checkpoints at which a dataset has features of a kind that the question may use.
fn checkpoints(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    (dataset, kind): (&str, &str),
    granularity: Granularity,
) -> BTreeSet<CheckpointId> {
    let all: Vec<_> = features_of_kind(snapshot, dataset, kind, granularity).collect();
    let names = &spec.features;
    let only_named = spec.checkpoints.is_none() && all.iter().any(|f| is_named(f, names));
    let used = all.into_iter().filter(|f| !only_named || is_named(f, names));
    used.filter_map(|f| f.desc.checkpoint.clone()).collect()
}
