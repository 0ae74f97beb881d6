//! Resolution of a question about losses: the ensemble, the losses of each dataset, and the models that all
//! have.

use std::collections::BTreeSet;
use std::sync::Arc;

use gstore_core::many;
use gstore_store::{EnsemblePart, LossTable, Snapshot};

use super::side::PlanSide;
use super::{Plan, resolve};
use crate::daunce::{Center, Covariance, FEW_MODELS, Models};
use crate::error::{QueryError, SideOf};
use crate::hint::quoted;
use crate::influence::spec::InfluenceSpec;

/// The feature kind under which losses are stored.
const KIND: &str = "loss";

/// The models of a plan that compares losses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanModels {
    /// Name of the ensemble.
    pub ensemble: String,
    /// What was recorded of the models.
    pub signal: String,
    /// Places of the models in the ensemble, ascending.
    pub members: Vec<usize>,
    /// The group of each: the copies of one base model.
    pub group: Vec<u32>,
}

impl PlanModels {
    /// The models with their groups.
    pub fn models(&self) -> Models {
        Models::grouped(self.group.clone())
    }
}

pub(super) fn plan(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    covariance: &Covariance,
) -> Result<Plan, QueryError> {
    let refused = |why: &str| Err(QueryError::Spec(why.to_owned()));
    if !spec.given.is_empty() {
        return refused(
            "the losses of a sample that is given with the question are not known under every model; add it to a dataset and \
             record its losses",
        );
    }
    if spec.per_token {
        return refused("losses are those of samples; ask without `per_token`");
    }
    let pools = resolve::pools(snapshot, &spec.pools)?;
    let targets = resolve::targets(snapshot, &spec.targets)?;
    let names: Vec<(SideOf, &str)> = pools
        .iter()
        .map(|pool| (SideOf::Pool, pool.name.as_str()))
        .chain(targets.iter().map(|(target, _)| (SideOf::Target, target.name.as_str())))
        .collect();
    let ensemble = ensemble(snapshot, covariance, &names)?;
    let tables = tables(snapshot, &ensemble, covariance, &names)?;
    if let (Center::Base, Some(table)) = (covariance.how.center, tables.iter().find(|table| !table.base)) {
        return Err(QueryError::Spec(format!(
            "the losses of dataset `{}` are not relative to those of the base model, as `center => 'base'` needs; ask with \
             `center => 'row'`",
            table.dataset
        )));
    }
    let models = members(&ensemble, covariance, &tables)?;
    let notes = notes(&ensemble, &models, covariance);
    let datasets = pools.iter().chain(targets.iter().map(|(target, _)| target));
    let mut sides = datasets.zip(tables).map(|(dataset, table)| PlanSide {
        dataset: Arc::clone(dataset),
        kind: KIND.to_owned(),
        features: Vec::new(),
        losses: Some(table.encoding),
    });
    Ok(Plan {
        spec: spec.clone(),
        given: Vec::new(),
        vector: None,
        run: None,
        checkpoints: Vec::new(),
        pools: sides.by_ref().take(pools.len()).collect(),
        targets: sides.collect(),
        subtasks: targets.into_iter().map(|(_, subtasks)| subtasks).collect(),
        target_kind: KIND.to_owned(),
        notes,
        models: Some(models),
        precondition: None,
    })
}

/// The ensemble that is named, or the only one that has losses of all datasets.
fn ensemble(
    snapshot: &Snapshot,
    covariance: &Covariance,
    datasets: &[(SideOf, &str)],
) -> Result<Arc<EnsemblePart>, QueryError> {
    if let Some(name) = &covariance.ensemble {
        return Ok(Arc::clone(snapshot.ensemble(name)?));
    }
    let all = snapshot.ensembles();
    if all.is_empty() {
        return Err(QueryError::Spec(
            "the store has no ensemble: covariances are taken of losses under several models, which have to be recorded or \
             imported first"
                .into(),
        ));
    }
    let fits = |ensemble: &&Arc<EnsemblePart>| {
        let tables = snapshot.loss_tables(ensemble);
        datasets.iter().all(|(_, name)| tables.iter().any(|table| table.dataset == *name))
    };
    let fitting: Vec<&Arc<EnsemblePart>> = all.iter().filter(fits).collect();
    let names = |list: &[&Arc<EnsemblePart>]| quoted(list.iter().map(|ensemble| &ensemble.name));
    match (fitting.as_slice(), all) {
        ([only], _) => Ok(Arc::clone(only)),
        // What it lacks is said of each dataset.
        ([], [only]) => Ok(Arc::clone(only)),
        ([], _) => Err(QueryError::Spec(format!(
            "none of the ensembles {} has losses of every dataset that is asked about; record or import them, or name one with \
             `ensemble => 'NAME'`",
            names(&all.iter().collect::<Vec<_>>())
        ))),
        (several, _) => Err(QueryError::Spec(format!(
            "ensembles {} all have losses of these datasets; name one with `ensemble => 'NAME'`",
            names(several)
        ))),
    }
}

/// The losses of each dataset, all of one signal.
fn tables(
    snapshot: &Snapshot,
    ensemble: &EnsemblePart,
    covariance: &Covariance,
    datasets: &[(SideOf, &str)],
) -> Result<Vec<LossTable>, QueryError> {
    let all = snapshot.loss_tables(ensemble);
    let of = |name: &str| all.iter().filter(move |table| table.dataset == name).collect::<Vec<_>>();
    for (side, name) in datasets {
        if of(name).is_empty() {
            let has: BTreeSet<&str> = all.iter().map(|table| table.dataset.as_str()).collect();
            return Err(QueryError::NoFeature {
                side: *side,
                dataset: (*name).to_owned(),
                kind: KIND.to_owned(),
                place: format!(" under the models of ensemble `{}`", ensemble.name),
                hint: match has.is_empty() {
                    true => "record or import its losses".to_owned(),
                    false => {
                        let has = Vec::from_iter(has).join(", ");
                        format!("the ensemble has losses only of {has}; record or import these too")
                    }
                },
                compute: None,
            });
        }
    }
    let signal = signal(covariance, datasets.iter().map(|(_, name)| of(name)).collect())?;
    let mut chosen: Vec<LossTable> = Vec::new();
    for (_, name) in datasets {
        let mut fits: Vec<&LossTable> = of(name).into_iter().filter(|table| table.signal == signal).collect();
        // Of several encodings that which the other datasets have.
        if fits.len() > 1 && chosen.iter().any(|other| fits.iter().any(|t| t.encoding == other.encoding)) {
            fits.retain(|table| chosen.iter().any(|other| other.encoding == table.encoding));
        }
        match fits[..] {
            [only] => chosen.push(only.clone()),
            _ => {
                let encodings: Vec<&str> = fits.iter().map(|table| table.encoding.as_str()).collect();
                return Err(QueryError::Spec(format!(
                    "dataset `{name}` has losses of several encodings under ensemble `{}`: {}; keep those of one",
                    ensemble.name,
                    encodings.join(", ")
                )));
            }
        }
    }
    Ok(chosen)
}

/// The signal that is named, or the only one that all datasets have.
fn signal(covariance: &Covariance, tables: Vec<Vec<&LossTable>>) -> Result<String, QueryError> {
    let signals = |tables: &[&LossTable]| -> BTreeSet<String> {
        tables.iter().map(|table| table.signal.clone()).collect()
    };
    let common = tables.iter().map(|tables| signals(tables)).reduce(|a, b| &a & &b).unwrap_or_default();
    let all: BTreeSet<String> = tables.iter().flat_map(|tables| signals(tables)).collect();
    let listed = |names: &BTreeSet<String>| Vec::from_iter(names.iter().map(String::as_str)).join(", ");
    match (&covariance.signal, common.len()) {
        (Some(signal), _) if common.contains(signal) => Ok(signal.clone()),
        (Some(signal), _) => Err(QueryError::unknown("signal", signal, all.iter().map(String::as_str))),
        (None, 1) => Ok(common.into_iter().next().unwrap_or_default()),
        (None, 0) => Err(QueryError::Spec(format!(
            "the datasets have no signal in common, and those of different ones cannot be compared: there are {}",
            listed(&all)
        ))),
        (None, _) => Err(QueryError::Spec(format!(
            "losses of several signals are there ({}); name one with `signal => 'NAME'`",
            listed(&common)
        ))),
    }
}

/// The members of the groups asked for that have losses of every dataset.
fn members(
    ensemble: &EnsemblePart,
    covariance: &Covariance,
    tables: &[LossTable],
) -> Result<PlanModels, QueryError> {
    let known: BTreeSet<&str> = ensemble.members.iter().map(|member| member.group.as_str()).collect();
    if let Some(unknown) = covariance.groups.iter().find(|group| !known.contains(group.as_str())) {
        return Err(QueryError::unknown("group", unknown, known.iter().copied()));
    }
    let numbers = ensemble.groups();
    let wanted = |place: &usize| {
        ensemble
            .members
            .get(*place)
            .is_some_and(|member| covariance.groups.is_empty() || covariance.groups.contains(&member.group))
    };
    let everywhere = |place: &usize| tables.iter().all(|table| table.members.binary_search(place).is_ok());
    let members: Vec<usize> =
        (0..ensemble.members.len()).filter(|place| wanted(place) && everywhere(place)).collect();
    let groups = Models::grouped(numbers.iter().map(|group| *group as u32).collect());
    let models = groups.some(&members);
    let which = format!("of ensemble `{}` with losses of every dataset", ensemble.name);
    check_count(&models, covariance, &which)?;
    Ok(PlanModels {
        ensemble: ensemble.name.clone(),
        signal: tables.first().map(|table| table.signal.clone()).unwrap_or_default(),
        members,
        group: models.group().to_vec(),
    })
}

/// Refuses fewer models than a score takes. Where the copies of each base model are centred by themselves,
/// each base model takes one of them.
pub(in crate::influence) fn check_count(
    models: &Models,
    covariance: &Covariance,
    which: &str,
) -> Result<(), QueryError> {
    let (count, least) = (models.len(), covariance.min_models);
    if let Some(why) = Covariance::refuses_min_models(least) {
        return Err(QueryError::Spec(why));
    }
    let center = covariance.how.center;
    let enough_for = models.enough_for(center);
    if enough_for >= least {
        return Ok(());
    }
    let fewer = match Covariance::refuses_min_models(enough_for) {
        None => format!(", or say how few are enough, as with `min_models => {enough_for}`"),
        Some(_) => String::new(),
    };
    if count < least {
        return Err(QueryError::Spec(format!(
            "a score takes at least {least} models, and there {} only {count} {which}: with few a covariance is \
             noise, and two models always correlate by 1 or -1; record the losses of more models{fewer}",
            if count == 1 { "is" } else { "are" },
        )));
    }
    let degrees = match models.dimensions(center) {
        0 => "no degree".to_owned(),
        free => many(free as u64, "degree"),
    };
    Err(QueryError::Spec(format!(
        "{count} models {which} are copies of {} base models, and to centre those of each by themselves leaves \
         {degrees} of freedom, where a score takes at least {}; record the losses of more copies, choose base models with \
         `groups => 'NAME'`, or ask with `center => 'model'`{fewer}",
        models.groups(),
        least - 1
    )))
}

fn notes(ensemble: &EnsemblePart, models: &PlanModels, covariance: &Covariance) -> Vec<String> {
    let (used, all) = (models.members.len(), ensemble.members.len());
    let mut notes = Vec::new();
    if used < all && covariance.groups.is_empty() {
        notes.push(format!(
            "{used} of {all} models of ensemble `{}` have losses of every dataset",
            ensemble.name
        ));
    }
    if used < FEW_MODELS {
        notes.push(format!(
            "{used} models are few: with fewer than {FEW_MODELS} most of a ranking is noise; look at `se`, `z` and `noise_floor`"
        ));
    }
    notes
}
