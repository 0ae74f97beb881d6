//! The kinds of a question's features: those that it names, or the usual ones.

use std::collections::BTreeSet;
use std::sync::Arc;

use gstore_core::Kind;
use gstore_store::{CheckpointId, DatasetPart, Granularity, Snapshot};

use super::checkpoints::asked;
use super::resolve::{NamedTarget, features_of_kind};
use crate::influence::spec::InfluenceSpec;

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
    targets: &[NamedTarget],
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
/// Of a question that names checkpoints or their run only these count, unless the pools have none there.
fn gradient(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    pools: &[Arc<DatasetPart>],
    targets: &[NamedTarget],
) -> (String, Option<String>) {
    let [adam, sgd] = [Kind::GradAdam.name(), Kind::GradSgd.name()];
    let anywhere =
        |pool: &Arc<DatasetPart>, kind| checkpoints(snapshot, &pool.name, kind, spec.granularity());
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
    // Named features say themselves what is compared.
    let named = !spec.features.is_empty();
    let of_targets = spec.target_kind.as_deref().unwrap_or(sgd);
    let meets = |kind| {
        let of_target = |(target, _): &NamedTarget| -> BTreeSet<CheckpointId> {
            checkpoints(snapshot, &target.name, of_targets, Granularity::Sample)
        };
        let sides = pools.iter().map(|pool| of_pool(pool, kind)).chain(targets.iter().map(of_target));
        sides.reduce(|common, side| &common & &side).is_some_and(|common| !common.is_empty())
    };
    if named || meets(adam) || !meets(sgd) {
        return (adam.to_owned(), None);
    }
    let within = if asked.is_some() { " that is asked about" } else { "" };
    let note = format!(
        "the pool has {adam} at no checkpoint{within} where every target has {of_targets}, so its \
         {sgd} is compared; `pool_kind => 'KIND'` names another"
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
    features_of_kind(snapshot, dataset, kind, granularity).filter_map(|f| f.desc.checkpoint.clone()).collect()
}
