//! Gram matrices of stored rows: fits, and artifacts of them that precondition questions.

use std::sync::Arc;

use gstore_core::Kind;
use gstore_query::QueryError;
use gstore_query::gram::{
    CheckpointGrams, FILE, GramCheckpoint, GramContent, GramDataset, GramFile, KIND, write as write_grams,
};
use gstore_query::influence::{
    InfluenceSpec, Missing, PlanSide, Prepared, Sim, TargetRef, named_kind, names_of,
};
use gstore_store::{ArtifactError, ArtifactPart, FeaturePart, Granularity, RowSet, Snapshot, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use self::mix::{GramShare, MixRequest, mix_grams};
use crate::answer::AnswerError;
use crate::work::JobContext;

mod mix;

/// What matrices are fitted on, and how they are called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GramRequest {
    /// Name of the artifact.
    pub name: String,
    /// Datasets whose rows are taken; to extend an artifact it may be none, which means its own.
    pub datasets: Vec<String>,
    /// Kind of their feature; by default that of `features`, else `grad-adam` where all have it, else
    /// `grad-sgd`.
    pub kind: Option<String>,
    /// The run whose checkpoints are meant, if there are several.
    pub run: Option<String>,
    /// Names or steps of checkpoints; by default all that every dataset has.
    pub checkpoints: Option<Vec<String>>,
    /// Labels or numbers of the features to use; by default those that fit.
    pub features: Vec<String>,
    /// Takes rows of features that are still being built.
    pub partial: bool,
    /// Takes the place of an artifact of this name.
    pub replace: bool,
    /// Adds rows to the artifact of this name: those with vectors that it lacks, of its datasets or of
    /// others.
    pub extend: bool,
}

/// What was fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GramReport {
    /// Name of the artifact.
    pub name: String,
    /// The snapshot that has it.
    pub snapshot: u64,
    /// Kind of the feature.
    pub kind: String,
    /// The datasets.
    pub datasets: Vec<GramDataset>,
    /// What there is at each checkpoint.
    pub checkpoints: Vec<GramAt>,
    /// Bytes of the matrices.
    pub bytes: u64,
    /// Whether the artifact is new or changed; not where there was no row to extend it by.
    pub changed: bool,
}

/// The matrices of one checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GramAt {
    /// Its name.
    pub name: String,
    /// Vectors that are in the sums; of a mixture those of both sides.
    pub rows: u64,
    /// Those of them that this fit added.
    pub added: u64,
    /// Number of matrices: one for each module group.
    pub groups: u64,
    /// Coordinates of the largest.
    pub largest: u64,
    /// Of a mixture the share of the queries, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
}

impl GramAt {
    /// Of matrices with sums over so many vectors.
    fn new(grams: &CheckpointGrams, rows: u64, share: Option<f64>) -> Self {
        let largest = grams.grams.iter().map(|gram| gram.size as u64).max().unwrap_or(0);
        let (name, groups) = (grams.checkpoint.name.clone(), grams.grams.len() as u64);
        Self { name, rows, added: rows, groups, largest, share }
    }
}

/// An artifact that is extended.
struct ExistingGrams {
    content: GramContent,
    grams: Vec<CheckpointGrams>,
}

/// Sums the outer products of stored rows, at every checkpoint and for every module group, and publishes them
/// under a name.
///
/// Memory: 8 bytes for the square of the coordinates of each group, at all checkpoints, twice to extend.
///
/// # Errors
/// A name that is taken or is none, features that are not there, groups of more than 8,192 coordinates, rows
/// of other vectors than those that are extended, rows that were changed since, damage, a store that cannot
/// be written, being told to stop.
pub fn fit_gram(
    store: &Store,
    request: &GramRequest,
    work: &mut JobContext<'_>,
) -> Result<GramReport, AnswerError> {
    if request.replace && request.extend {
        let why = "an artifact can be replaced or extended, not both";
        return Err(AnswerError::Refused(why.to_owned()));
    }
    ArtifactPart::check_name(&request.name)?;
    let (snapshot, _lease) = store.snapshot_leased(None, work.command).map_err(QueryError::from)?;
    let is_taken = snapshot.artifacts()?.contains(&request.name);
    if is_taken && !request.replace && !request.extend {
        return Err(ArtifactError::Exists(request.name.clone()).into());
    }
    let old = match request.extend {
        true => Some(read_existing(&snapshot, &request.name)?),
        false => None,
    };
    if let Some(mixture) = old.as_ref().and_then(|old| old.content.mixture.as_ref()) {
        return Err(AnswerError::Refused(format!(
            "artifact `{}` is a mixture of `{}` and `{}`, so no rows can be added to it: extend those, and mix them again",
            request.name, mixture.pool, mixture.queries
        )));
    }
    let prepared = Prepared::new(&snapshot, &question(&snapshot, request, old.as_ref())?)?;
    let known = match &old {
        Some(old) => old.known(&request.name, &prepared)?,
        None => Vec::new(),
    };
    let new = prepared.grams(&known, work.threads, work.cancel, work.progress)?;
    if old.is_none() {
        check_rows(&new, request)?;
    }
    let mut report = report(&prepared, request, old.as_ref(), &new);
    report.changed = old.is_none() || report.checkpoints.iter().any(|at| at.added > 0);
    let grams = match old {
        None => new,
        Some(old) => extend_grams(old.grams, &new)?,
    };
    for (at, grams) in report.checkpoints.iter_mut().zip(&grams) {
        at.rows = grams.checkpoint.rows;
    }
    report.snapshot = match report.changed {
        true => publish(store, &prepared, request, &report, &grams, work)?.number(),
        false => snapshot.number(),
    };
    Ok(report)
}

impl ExistingGrams {
    /// The rows that are in the sums already, for each checkpoint and pool of a question.
    fn known(&self, name: &str, prepared: &Prepared) -> Result<Vec<Vec<RowSet>>, AnswerError> {
        let of_pool = |c: usize, pool: &PlanSide| -> Result<RowSet, AnswerError> {
            let (dataset, id) = (&pool.dataset, &prepared.checkpoints()[c].id);
            let own = self.content.checkpoints.iter().find(|own| own.id == *id);
            let is_in = self.content.datasets.iter().any(|own| own.name == dataset.name);
            let Some(own) = own.filter(|_| is_in) else { return Ok(RowSet::new()) };
            let refuse = |why: String| {
                let why = format!("the sums of artifact `{name}` cannot be extended: {why}. Fit it again");
                Err(AnswerError::Refused(why))
            };
            if let Some(why) = own.stale(prepared.snapshot(), &dataset.name)? {
                return refuse(why);
            }
            let feature = pool.features.get(c).map(|feature| feature.number);
            match own.of.iter().find(|of| of.dataset == dataset.name && Some(of.feature) == feature) {
                Some(of) => Ok(of.row_set()),
                None => refuse(format!("they were made from other vectors of `{}`", dataset.name)),
            }
        };
        let pools = prepared.pools();
        (0..prepared.checkpoints().len())
            .map(|c| pools.iter().map(|pool| of_pool(c, pool)).collect::<Result<Vec<_>, _>>())
            .collect()
    }
}

/// The artifact of a name with its matrices.
fn read_existing(snapshot: &Snapshot, name: &str) -> Result<ExistingGrams, AnswerError> {
    let part = snapshot.artifact(name)?;
    let content = GramContent::of(&part)?;
    let map = snapshot.artifact_file(&part, FILE)?;
    let file = GramFile::new(map.as_bytes())?;
    let grams = content.checkpoints.iter().map(|checkpoint| file.checkpoint(checkpoint));
    let grams = grams.collect::<Result<Vec<_>, _>>()?;
    Ok(ExistingGrams { content, grams })
}

/// The question whose pools are the datasets, and whose target too, as no other vector is needed.
fn question(
    snapshot: &Snapshot,
    request: &GramRequest,
    old: Option<&ExistingGrams>,
) -> Result<InfluenceSpec, AnswerError> {
    let names = || old.iter().flat_map(|old| &old.content.datasets).map(|dataset| dataset.name.clone());
    let datasets: Vec<String> = match request.datasets.is_empty() {
        true => names().collect(),
        false => request.datasets.clone(),
    };
    let has = |dataset: &String, kind: Kind| {
        let mut of_dataset = snapshot.features().iter().filter(|f| f.desc.dataset == *dataset);
        of_dataset.any(|f| f.desc.kind.name == kind.name() && f.desc.granularity == Granularity::Sample)
    };
    let usual = || match datasets.iter().all(|dataset| has(dataset, Kind::GradAdam)) {
        true => Kind::GradAdam.name().to_owned(),
        false => Kind::GradSgd.name().to_owned(),
    };
    let kind = match (&request.kind, old) {
        (Some(kind), Some(old)) if *kind != old.content.kind => {
            return Err(AnswerError::Refused(format!(
                "artifact `{}` is of {}, so rows of {kind} cannot be added to it",
                request.name, old.content.kind
            )));
        }
        (Some(kind), _) => kind.clone(),
        (None, Some(old)) => old.content.kind.clone(),
        (None, None) => named_kind(snapshot, &request.features, &datasets).unwrap_or_else(usual),
    };
    let checkpoints = match (&request.checkpoints, old) {
        (Some(_), Some(_)) => {
            let why =
                format!("artifact `{}` is extended at all of its own checkpoints: name none", request.name);
            return Err(AnswerError::Refused(why));
        }
        (Some(names), None) => Some(names.clone()),
        (None, Some(old)) => {
            Some(old.content.checkpoints.iter().map(|checkpoint| checkpoint.id.to_string()).collect())
        }
        (None, None) => None,
    };
    let mut features = request.features.clone();
    for own in old.iter().flat_map(|old| &old.content.checkpoints) {
        let of_dataset = |dataset| own_feature(snapshot, &request.features, (dataset, &kind), own);
        features.extend(datasets.iter().filter_map(of_dataset));
    }
    let itself = |name: &String| TargetRef { dataset: name.clone(), subtask: None };
    Ok(InfluenceSpec {
        targets: datasets.iter().map(itself).collect(),
        pools: datasets,
        run: request.run.clone(),
        checkpoints,
        sim: Sim::Dot,
        pool_kind: Some(kind.clone()),
        target_kind: Some(kind),
        features,
        missing: Missing::Exclude,
        partial: request.partial,
        unscored: true,
        ..InfluenceSpec::default()
    })
}

/// Of several features of a dataset at a checkpoint of an artifact, none of them `named`, the number of that
/// whose rows are in the sums, else of the only one of their space.
fn own_feature(
    snapshot: &Snapshot,
    named: &[String],
    (dataset, kind): (&String, &String),
    own: &GramCheckpoint,
) -> Option<String> {
    let fits = |feature: &FeaturePart| {
        let desc = &feature.desc;
        let is_there = desc.dataset == *dataset && desc.checkpoint.as_ref() == Some(&own.id);
        is_there && desc.kind.name == *kind && desc.granularity == Granularity::Sample
    };
    let all: Vec<&Arc<FeaturePart>> = snapshot.features().iter().filter(|feature| fits(feature)).collect();
    if all.len() < 2 || !names_of(snapshot, named, fits).is_empty() {
        return None;
    }
    let is_in = |feature: &FeaturePart| {
        own.of.iter().any(|rows| rows.dataset == *dataset && rows.feature == feature.number)
    };
    let is_like = |feature: &FeaturePart| {
        own.space.difference(&feature.desc.space).is_none() && own.groups == feature.attrs.groups
    };
    let mut alike = all.iter().filter(|feature| is_like(feature));
    let only = alike.next().filter(|_| alike.next().is_none());
    let found = all.iter().find(|feature| is_in(feature)).or(only)?;
    Some(found.number.to_string())
}

/// Refuses checkpoints without a row.
fn check_rows(grams: &[CheckpointGrams], request: &GramRequest) -> Result<(), AnswerError> {
    match grams.iter().find(|grams| grams.checkpoint.rows == 0) {
        None => Ok(()),
        Some(grams) => Err(AnswerError::Refused(format!(
            "no row of {} has a vector at {}, so there is nothing to fit",
            request.datasets.join(", "),
            grams.checkpoint.name
        ))),
    }
}

/// What there is, in the order of the new matrices; rows are those that were added.
fn report(
    prepared: &Prepared,
    request: &GramRequest,
    old: Option<&ExistingGrams>,
    new: &[CheckpointGrams],
) -> GramReport {
    let mut datasets: Vec<GramDataset> = old.map(|old| old.content.datasets.clone()).unwrap_or_default();
    for pool in prepared.pools() {
        let (name, end) = (pool.dataset.name.clone(), pool.dataset.next_row);
        match datasets.iter_mut().find(|dataset| dataset.name == name) {
            Some(known) => known.end = end,
            None => datasets.push(GramDataset { name, end }),
        }
    }
    GramReport {
        name: request.name.clone(),
        snapshot: 0,
        kind: prepared.target_kind().to_owned(),
        datasets,
        checkpoints: new.iter().map(|grams| GramAt::new(grams, grams.checkpoint.rows, None)).collect(),
        bytes: bytes(new),
        changed: true,
    }
}

fn bytes(grams: &[CheckpointGrams]) -> u64 {
    grams.iter().flat_map(|at| &at.grams).map(|gram| 8 * (gram.size as u64).pow(2)).sum()
}

/// The matrices of an artifact with those of other rows, in the order of the new ones: the run's.
fn extend_grams(
    mut old: Vec<CheckpointGrams>,
    new: &[CheckpointGrams],
) -> Result<Vec<CheckpointGrams>, AnswerError> {
    let mut all = Vec::with_capacity(new.len());
    for more in new {
        let Some(at) = old.iter().position(|old| old.checkpoint.id == more.checkpoint.id) else {
            let why = format!("the artifact has nothing at {}", more.checkpoint.name);
            return Err(AnswerError::Refused(why));
        };
        let mut sums = old.swap_remove(at);
        sums.merge(more)?;
        all.push(sums);
    }
    Ok(all)
}

fn publish(
    store: &Store,
    prepared: &Prepared,
    request: &GramRequest,
    report: &GramReport,
    grams: &[CheckpointGrams],
    work: &JobContext<'_>,
) -> Result<Arc<Snapshot>, AnswerError> {
    let content = GramContent {
        kind: report.kind.clone(),
        datasets: report.datasets.clone(),
        checkpoints: grams.iter().map(|grams| grams.checkpoint.clone()).collect(),
        mixture: None,
    };
    let mut artifact = artifact(&request.name, &content)?;
    artifact.provenance = provenance(prepared, report);
    let over = (request.replace || request.extend).then_some(&**prepared.snapshot());
    store_grams(store, artifact, grams, over, work)
}

/// An artifact of matrices without them.
fn artifact(name: &str, content: &GramContent) -> Result<ArtifactPart, AnswerError> {
    let value = serde_json::to_value(content).map_err(|error| AnswerError::Refused(error.to_string()))?;
    let names = content.datasets.iter().map(|dataset| dataset.name.clone()).collect();
    Ok(ArtifactPart::new(name, KIND, names, value))
}

fn store_grams(
    store: &Store,
    artifact: ArtifactPart,
    grams: &[CheckpointGrams],
    over: Option<&Snapshot>,
    work: &JobContext<'_>,
) -> Result<Arc<Snapshot>, AnswerError> {
    let mut files = store.artifact_files()?;
    files.write(FILE, |out| write_grams(out, grams))?;
    Ok(store.put_artifact(artifact, Some(files), over, work.command)?)
}

fn provenance(prepared: &Prepared, report: &GramReport) -> Map<String, Value> {
    let features: Vec<String> =
        prepared.pools().iter().flat_map(|pool| &pool.features).map(|part| part.display_name()).collect();
    serde_json::from_value(json!({
        "datasets": report.datasets.iter().map(|dataset| &dataset.name).collect::<Vec<_>>(),
        "kind": report.kind,
        "features": features,
        "snapshot": prepared.snapshot().number(),
        "run": prepared.run(),
        "checkpoints": report.checkpoints.iter().map(|at| &at.name).collect::<Vec<_>>(),
        "rows": report.checkpoints.iter().map(|at| at.rows).collect::<Vec<_>>(),
    }))
    .unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests;
