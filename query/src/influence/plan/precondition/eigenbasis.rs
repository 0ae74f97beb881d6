//! Rows in the eigenbasis of factors: eigenvalues of their coordinates, and whether the factors fit the pool.

use std::sync::Arc;

use gstore_curvature::Inversion;
use gstore_store::{ArtifactPart, FeaturePart, Snapshot};

use super::{PlanInputs, PlanPrecondition};
use crate::eigen::{EigenSpace, FACTORS, is_space_of};
use crate::error::QueryError;
use crate::influence::plan::fitting::describe;
use crate::influence::spec::InfluenceSpec;

/// The eigenvalues of the coordinates of features that are in the eigenbasis of factors: of those that are
/// `named`, if any.
pub(super) fn resolve(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    named: Option<&ArtifactPart>,
    asked: PlanInputs<'_>,
) -> Result<(Option<PlanPrecondition>, Vec<String>), QueryError> {
    let refuse = |why: String| Err(QueryError::Spec(why));
    let option = if spec.filter.is_some() { "filter" } else { "damping" };
    let features = of_first_pool(asked);
    let Some(first) = features.first() else { return Ok((None, Vec::new())) };
    let projection = &first.desc.space.projection;
    if let Some(other) = features.iter().find(|feature| feature.desc.space.projection != *projection) {
        let (first, other) = (describe(first), describe(other));
        return refuse(format!("{first} and {other} are in different eigenbases, and `{option}` is for one"));
    }
    if spec.inversion != Inversion::default() {
        return refuse(
            "`inversion` is about Gram matrices; rows in an eigenbasis have `damping` and `filter`".into(),
        );
    }
    let artifact = EigenSpace::artifact(projection);
    if !snapshot.artifacts()?.contains(&artifact) {
        let (is_space, first) = (is_space_of(first), describe(first));
        return refuse(match named {
            Some(ArtifactPart { name, .. }) => format!(
                "artifact `{name}` preconditions rows in the eigenbasis of factors, and no eigenvalues are known of the coordinates of \
                 {first}"
            ),
            None if is_space => format!(
                "`{option}` needs the eigenvalues of the coordinates of {first}: their artifact is not in the store, or is of datasets that \
                 are not to be seen"
            ),
            None => format!(
                "`{option}` says how a preconditioner is used, and none is named with `precondition`; {first} has none of its own, as it \
                 is not in the eigenbasis of factors"
            ),
        });
    }
    let part = snapshot.artifact(&artifact)?;
    let space = EigenSpace::of(&part)?;
    let mut notes = Vec::new();
    let is_it = |named: &ArtifactPart| match named.kind == FACTORS {
        true => named.name == space.factors && named.number == space.number,
        false => named.name == part.name,
    };
    if let Some(named) = named.filter(|named| !is_it(named)) {
        let why = format!(
            "{} is in the eigenbasis of `{}` as it was in snapshot {}",
            describe(first),
            space.factors,
            space.number
        );
        if !spec.stale {
            return refuse(format!("{why}, not of `{}`: leave `precondition` out", named.name));
        }
        notes.push(format!("{why}; its eigenvalues are used, not those of `{}`", named.name));
    }
    match stale(snapshot, &space, asked)? {
        Some(why) if !spec.stale => return Err(refusal(snapshot, first, (&space, &why))?),
        Some(why) => notes.push(format!("the factors of the eigenbasis are stale: {why}")),
        None => notes.extend(space.unknown()),
    }
    let checkpoints = vec![0; features.len()];
    Ok((Some(PlanPrecondition { artifact, number: part.number, checkpoints }), notes))
}

/// What a user should know of the factors in whose eigenbasis rows are that are compared as they are stored.
pub(super) fn plain(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    asked: PlanInputs<'_>,
) -> Result<Vec<String>, QueryError> {
    let Some(first) = of_first_pool(asked).first().filter(|feature| is_space_of(feature)) else {
        return Ok(Vec::new());
    };
    let artifact = EigenSpace::artifact(&first.desc.space.projection);
    if !snapshot.artifacts()?.contains(&artifact) {
        return Ok(Vec::new());
    }
    let space = EigenSpace::of(&snapshot.artifact(&artifact)?)?;
    // Neighbours of a vector are of no curvature, and have no preconditioner that could be accepted.
    let is_accepted = spec.stale || !spec.given.is_empty();
    match stale(snapshot, &space, asked)? {
        Some(why) if !is_accepted => Err(refusal(snapshot, first, (&space, &why))?),
        Some(why) => {
            let first = describe(first);
            Ok(vec![format!("{first} is in the eigenbasis of factors that are stale: {why}")])
        }
        None => Ok(space.unknown().into_iter().collect()),
    }
}

/// The error of rows in the eigenbasis of factors of something else.
fn refusal(
    snapshot: &Snapshot,
    first: &FeaturePart,
    (space, why): (&EigenSpace, &str),
) -> Result<QueryError, QueryError> {
    // Factors may have been dropped since; their eigenvalues are there.
    let is_there = snapshot.artifacts()?.contains(&space.factors);
    let name = if is_there { space.factors.clone() } else { EigenSpace::artifact(&space.projection) };
    Ok(QueryError::Spec(format!(
        "{} is in the eigenbasis of factors that are stale: {why}. Fit factors there and project rows with them, or take these \
         as they are with `precondition => '{name}', stale => true`",
        describe(first)
    )))
}

/// The features of the first pool, one for each checkpoint.
fn of_first_pool((.., sides): PlanInputs<'_>) -> &[Arc<FeaturePart>] {
    sides.first().map_or(&[][..], Vec::as_slice)
}

/// Why factors are not those of the pools at the checkpoints that are used, if they are not.
fn stale(
    snapshot: &Snapshot,
    space: &EigenSpace,
    (pools, checkpoints, sides): PlanInputs<'_>,
) -> Result<Option<String>, QueryError> {
    let pools = pools.iter().map(|pool| pool.name.as_str());
    if let Some(why) = space.stale(pools, checkpoints.iter().map(|checkpoint| &checkpoint.id)) {
        return Ok(Some(why));
    }
    let encodings = sides.iter().flatten().map(|feature| feature.desc.encoding.as_str());
    Ok(space.changed(snapshot)?.or_else(|| space.other_tokens(encodings)))
}
