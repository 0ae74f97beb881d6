//! Members of an ensemble as a ground truth: the run that each is, and what it says of the queries.

use std::collections::HashMap;

use gstore_core::{Cancel, Remedy, RowSet};
use gstore_store::{EnsemblePart, LossWanted, Member, Snapshot};

use super::artifact::{FolderArtifact, RETRAINING, RUN};
use crate::attribution::ids::Ids;
use crate::attribution::truth::{Signal, Truth};
use crate::error::EvaluateError;

/// Where the members of an ensemble come from.
#[derive(Debug)]
pub(super) struct Retrained<'a> {
    ensemble: &'a EnsemblePart,
    /// In the order of their first members.
    pub artifacts: Vec<FolderArtifact>,
    /// Of each member whose artifact is read its place, and the run.
    runs: Vec<(usize, usize)>,
}

impl<'a> Retrained<'a> {
    /// Reads the artifacts of the members. That of the name `coming` may be missing: its members are left
    /// out.
    pub fn of(
        snapshot: &Snapshot,
        ensemble: &'a EnsemblePart,
        coming: Option<&str>,
        cancel: &Cancel,
    ) -> Result<Retrained<'a>, EvaluateError> {
        let there = snapshot.artifacts()?;
        let mut names: Vec<&str> = Vec::new();
        let mut artifacts: Vec<FolderArtifact> = Vec::new();
        let mut runs = Vec::with_capacity(ensemble.members.len());
        for member in &ensemble.members {
            let Some((name, run)) = origin(member) else {
                return Err(EvaluateError::Truth(format!(
                    "ensemble {:?} was not made by retraining: nothing says which rows its member {:?} was trained on",
                    ensemble.name, member.id
                )));
            };
            let place = match names.iter().position(|known| *known == name) {
                Some(place) => place,
                None if there.iter().all(|known| known != name) => match coming {
                    Some(coming) if coming == name => continue,
                    _ => return Err(dropped(ensemble, member, name)),
                },
                None => {
                    let stored = FolderArtifact::open(snapshot, name, cancel)?;
                    if let Some(first) = artifacts.first() {
                        first.check_same(&ensemble.name, &stored.content, &stored.pool)?;
                    }
                    names.push(name);
                    artifacts.push(stored);
                    names.len() - 1
                }
            };
            runs.push((place, run));
        }
        Ok(Retrained { ensemble, artifacts, runs })
    }

    /// What all members have in common, but for the subsets.
    pub fn first(&self) -> Result<&FolderArtifact, EvaluateError> {
        let none = || EvaluateError::Truth(format!("ensemble {:?} has no members", self.ensemble.name));
        self.artifacts.first().ok_or_else(none)
    }

    /// The outputs of each member for all queries; none of a member without losses.
    ///
    /// Memory: queries x members.
    fn outputs(&self, snapshot: &Snapshot, cancel: &Cancel) -> Result<Vec<Option<Vec<f64>>>, EvaluateError> {
        let FolderArtifact { content, queries, .. } = self.first()?;
        let dataset = content.dataset.as_str();
        let changed = |query: usize| {
            let id = queries.id(query);
            EvaluateError::Truth(format!(
                "dataset {dataset:?} has changed since the models of ensemble {:?} were asked: its query {id:?} was deleted or replaced",
                self.ensemble.name
            ))
        };
        let rows = rows_of(snapshot, dataset, queries, cancel)?.into_iter().enumerate();
        let rows =
            rows.map(|(query, row)| row.ok_or_else(|| changed(query))).collect::<Result<Vec<u64>, _>>()?;
        // Given losses are of no encoding.
        let wanted = LossWanted { dataset, encoding: Some(""), signal: Some("loss") };
        let reader = snapshot.open_losses(self.ensemble, &wanted)?;
        let block = reader.read_rows(&RowSet::from_rows(rows.iter().copied()))?;
        let mut places = Vec::with_capacity(rows.len());
        for (query, row) in rows.iter().enumerate() {
            places.push(block.rows.binary_search(row).map_err(|_| changed(query))?);
        }
        let of_member = |(number, member): (usize, &Member)| {
            let Ok(column) = reader.table().members.binary_search(&number) else { return Ok(None) };
            let output = |place: &usize| {
                let delta = block.row(*place).get(column).copied().unwrap_or(f32::NAN);
                -(f64::from(block.offset[*place]) + f64::from(delta))
            };
            let outputs: Vec<f64> = places.iter().map(output).collect();
            match outputs.iter().position(|output| output.is_nan()) {
                None => Ok(Some(outputs)),
                Some(_) if outputs.iter().all(|output| output.is_nan()) => Ok(None),
                Some(query) => Err(EvaluateError::Truth(format!(
                    "member {:?} of ensemble {:?} has no loss of query {:?}",
                    member.id,
                    self.ensemble.name,
                    queries.id(query)
                ))),
            }
        };
        self.ensemble.members.iter().enumerate().map(of_member).collect()
    }
}

impl Truth {
    /// What the members of an ensemble say that were retrained on subsets. Losses are differences to one
    /// number a query, in single precision: they are those of the folder to 2^-24 of the difference.
    ///
    /// # Errors
    /// No such ensemble; one that was not made by retraining; queries that were deleted or replaced since;
    /// damage; being told to stop.
    pub fn of_ensemble(snapshot: &Snapshot, name: &str, cancel: &Cancel) -> Result<Truth, EvaluateError> {
        let found = Retrained::of(snapshot, snapshot.ensemble(name)?, None, cancel)?;
        let members = found.runs.iter().copied().zip(found.outputs(snapshot, cancel)?);
        let mut done: HashMap<(usize, usize), Vec<f64>> =
            members.filter_map(|(run, outputs)| Some((run, outputs?))).collect();
        let first = found.first()?;
        let (pool, queries) = (first.pool.clone(), first.queries.clone());
        let (mut subsets, mut outputs) = (Vec::new(), Vec::new());
        for (place, stored) in found.artifacts.into_iter().enumerate() {
            let repeats = stored.content.manifest.repeats;
            for subset in 0..stored.subsets.len() {
                let runs = subset * repeats..(subset + 1) * repeats;
                let own: Option<Vec<Vec<f64>>> = runs.map(|run| done.remove(&(place, run))).collect();
                outputs.push(own.unwrap_or_default());
            }
            subsets.extend(stored.subsets);
        }
        Ok(Truth { pool, queries, subsets, signal: Signal::NegativeLoss, outputs })
    }
}

/// The artifact and the run of a member.
pub(super) fn origin(member: &Member) -> Option<(&str, usize)> {
    let name = member.provenance.get(RETRAINING)?.as_str()?;
    Some((name, usize::try_from(member.provenance.get(RUN)?.as_u64()?).ok()?))
}

fn dropped(ensemble: &EnsemblePart, member: &Member, name: &str) -> EvaluateError {
    EvaluateError::Truth(format!(
        "artifact {name:?} was dropped, which says what member {:?} of ensemble {:?} was trained on: take in its folder again, or begin again with {}",
        member.id,
        ensemble.name,
        Remedy::DropEnsemble(&ensemble.name)
    ))
}

/// The row of each query; none of one that the dataset does not have.
fn rows_of(
    snapshot: &Snapshot,
    dataset: &str,
    queries: &Ids,
    cancel: &Cancel,
) -> Result<Vec<Option<u64>>, EvaluateError> {
    let mut found = vec![None; queries.len()];
    snapshot.samples(snapshot.dataset(dataset)?)?.each_id(cancel, |row, id| {
        if let Some(slot) = queries.place(id).and_then(|place| found.get_mut(place)) {
            *slot = Some(row);
        }
    })??;
    Ok(found)
}
