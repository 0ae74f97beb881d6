//! Resolution of a preconditioner: the artifact of Gram matrices, and whose of its checkpoints fit; or that
//! of the eigenvalues of the coordinates.

mod eigenbasis;

use std::sync::Arc;

use gstore_core::many;
use gstore_store::{DatasetPart, FeaturePart, Preconditioned, Snapshot, Space};

use super::checkpoints::PlanCheckpoint;
use super::fitting::describe;
use crate::eigen::{FACTORS, KIND as EIGEN};
use crate::error::QueryError;
use crate::gram::{GramCheckpoint, GramContent};
use crate::hint::quoted;
use crate::influence::spec::InfluenceSpec;

/// What the target's vectors of a plan are preconditioned by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanPrecondition {
    /// Name of the artifact.
    pub artifact: String,
    /// Its number.
    pub number: u32,
    /// For each checkpoint of the plan the place of that of the artifact whose matrices are used; 0 of
    /// eigenvalues, which are the same everywhere.
    pub checkpoints: Vec<usize>,
}

/// The pools, the checkpoints, and the features of each side at each of them, the first pool's first.
type PlanInputs<'a> = (&'a [Arc<DatasetPart>], &'a [PlanCheckpoint], &'a [Vec<Arc<FeaturePart>>]);

/// Finds the matrices that a question asks for, if it does, with what a user should know of them.
pub(super) fn resolve(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    asked: PlanInputs<'_>,
) -> Result<(Option<PlanPrecondition>, Vec<String>), QueryError> {
    let (pools, checkpoints, sides) = asked;
    if !spec.preconditions() {
        return Ok((None, eigenbasis::plain(snapshot, spec, asked)?));
    }
    let touched = |part: &&Arc<FeaturePart>| matches!(part.attrs.preconditioned, Preconditioned::Artifact(_));
    if let Some(part) = sides.iter().flatten().find(touched) {
        return Err(QueryError::Spec(format!(
            "{} is preconditioned as it is stored, so it is compared without `precondition`",
            describe(part)
        )));
    }
    let Some(name) = spec.precondition.as_deref() else {
        return eigenbasis::resolve(snapshot, spec, None, asked);
    };
    let part = snapshot.artifact(name)?;
    if part.kind == FACTORS || part.kind == EIGEN {
        return eigenbasis::resolve(snapshot, spec, Some(&part), asked);
    }
    let content = GramContent::of(&part)?;
    if let Some(filter) = spec.filter {
        return Err(QueryError::Spec(format!(
            "the filter {filter} is for rows in the eigenbasis of factors, and artifact `{name}` has Gram matrices, which \
             `inversion` is for"
        )));
    }
    let mut notes = fitted_on(&content, spec, name, pools)?;
    let mut used: Vec<usize> = Vec::with_capacity(checkpoints.len());
    for (checkpoint, feature) in checkpoints.iter().zip(sides.first().into_iter().flatten()) {
        let own = content.checkpoints.iter().position(|known| known.id == checkpoint.id);
        let place = match (own, content.checkpoints.len().checked_sub(1)) {
            (Some(own), _) => own,
            (None, Some(last)) if spec.stale => {
                let other = &content.checkpoints[last].name;
                notes.push(format!(
                    "`{name}` has no matrices of {}; those of {other} are used",
                    checkpoint.name
                ));
                last
            }
            _ => {
                let known: Vec<&str> = content.checkpoints.iter().map(|known| known.name.as_str()).collect();
                return Err(QueryError::Spec(format!(
                    "artifact `{name}` is stale for {}: it was fitted at {}. Fit it at that checkpoint, or take its last \
                     with `stale => true`",
                    checkpoint.name,
                    known.join(", ")
                )));
            }
        };
        fits(&content.checkpoints[place], feature, name)?;
        used.push(place);
    }
    notes.extend(check_rows(snapshot, spec, (name, &content, &used), pools)?);
    notes.extend(other_kind(snapshot, spec, (name, &content, &used), &sides[..pools.len().min(sides.len())]));
    let found = PlanPrecondition { artifact: name.to_owned(), number: part.number, checkpoints: used };
    Ok((Some(found), notes))
}

/// Refuses matrices of rows, vectors or datasets that are not there any more, at the checkpoints that are
/// used, unless that is accepted.
fn check_rows(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    (name, content, used): (&str, &GramContent, &[usize]),
    pools: &[Arc<DatasetPart>],
) -> Result<Vec<String>, QueryError> {
    let fitted: Vec<&GramCheckpoint> = used.iter().map(|place| &content.checkpoints[*place]).collect();
    let mut notes = Vec::new();
    // Of a mixture those of queries are among them.
    for dataset in content.datasets.iter().map(|dataset| dataset.name.as_str()) {
        if fitted.iter().any(|own| !own.knows(dataset)) {
            notes.push(format!(
                "`{name}` does not say which rows of `{dataset}` it was fitted on: whether all are there is not known"
            ));
        }
        let mut why = None;
        for own in fitted.iter().filter(|own| own.knows(dataset)) {
            why = why.or(own.stale(snapshot, dataset)?);
        }
        match why {
            Some(why) if !spec.stale => return Err(stale(name, pools, &why)),
            Some(why) => notes.push(format!("`{name}` is stale: {why}")),
            None => {}
        }
    }
    Ok(notes)
}

/// What a user should know where the matrices that are used are of another kind of vectors than the rows of
/// the pools. Of a mixture those of queries may be of that kind.
fn other_kind(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    (name, content, used): (&str, &GramContent, &[usize]),
    pools: &[Vec<Arc<FeaturePart>>],
) -> Option<String> {
    let rows = pools.first()?.first()?.desc.kind.name.as_str();
    let is_fitted = |feature: &FeaturePart| {
        let mut fitted = used.iter().flat_map(|place| &content.checkpoints[*place].of);
        fitted.any(|fitted| fitted.feature == feature.number)
    };
    let is_of_rows = |feature: &Arc<FeaturePart>| feature.desc.kind.name == rows && is_fitted(feature);
    if content.kind == rows || snapshot.features().iter().any(is_of_rows) {
        return None;
    }
    let of_kind = |own: &FeaturePart| {
        let fits = |other: &Arc<FeaturePart>| {
            let (a, b) = (&other.desc, &own.desc);
            a.kind.name == content.kind
                && (&a.dataset, a.granularity) == (&b.dataset, b.granularity)
                && a.space.difference(&b.space).is_none()
        };
        snapshot.features().iter().any(fits)
    };
    // Where features are named, they say the kind.
    let are_there = spec.features.is_empty() && pools.iter().flatten().all(|own| of_kind(own));
    let way = match are_there {
        true => format!("`kind => '{}'` scores those it was fitted on, or fit it on {rows}", content.kind),
        false => format!("fit it on {rows}"),
    };
    Some(format!("`{name}` was fitted on {}, and the rows are {rows}: {way}", content.kind))
}

fn stale(name: &str, pools: &[Arc<DatasetPart>], why: &str) -> QueryError {
    QueryError::Spec(format!(
        "artifact `{name}` is stale for pool {}: {why}. Fit it on the pool, or take it as it is with `stale => true`",
        quoted(pools.iter().map(|pool| &pool.name))
    ))
}

/// Refuses matrices of other datasets than the pools, unless that is accepted.
fn fitted_on(
    content: &GramContent,
    spec: &InfluenceSpec,
    name: &str,
    pools: &[Arc<DatasetPart>],
) -> Result<Vec<String>, QueryError> {
    let mut notes = Vec::new();
    for pool in pools {
        match content.datasets.iter().find(|dataset| dataset.name == pool.name) {
            Some(dataset) if dataset.end < pool.next_row => notes.push(format!(
                "`{name}` was fitted before {} of `{}` were added",
                many(pool.next_row - dataset.end, "row"),
                pool.name
            )),
            Some(_) => {}
            None => {
                let known: Vec<&str> = content.datasets.iter().map(|dataset| dataset.name.as_str()).collect();
                let on = known.join(", ");
                if !spec.stale {
                    return Err(stale(
                        name,
                        std::slice::from_ref(pool),
                        &format!("it was fitted on rows of {on}"),
                    ));
                }
                notes.push(format!("`{name}` was fitted on rows of {on}, not of `{}`", pool.name));
            }
        }
    }
    Ok(notes)
}

/// Refuses matrices of vectors that cannot be compared with a feature's, whatever the checkpoint.
fn fits(own: &GramCheckpoint, feature: &FeaturePart, name: &str) -> Result<(), QueryError> {
    let space = Space { checkpoint: feature.desc.space.checkpoint.clone(), ..own.space.clone() };
    let difference = match feature.desc.space.difference(&space) {
        None if own.groups == feature.attrs.groups => return Ok(()),
        None => "their module groups differ".to_owned(),
        Some(difference) => difference,
    };
    Err(QueryError::Space { pool: describe(feature), target: format!("artifact `{name}`"), difference })
}
