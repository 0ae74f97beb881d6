//! Mixtures of the Gram matrices of a pool with those of queries: TrackStar's preconditioner.

use gstore_core::Remedy;
use gstore_curvature::{CurvatureError, Gram, MixtureBalance, mixture};
use gstore_query::QueryError;
use gstore_query::gram::{CheckpointGrams, GramContent, GramDataset, GramMixture};
use gstore_store::{ArtifactError, ArtifactPart, Snapshot, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{ExistingGrams, GramAt, GramReport, artifact, bytes, read_existing, store_grams};
use crate::answer::AnswerError;
use crate::work::JobContext;

/// The part that queries have in a mixture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GramShare {
    /// At each checkpoint that with which both sides have as much of their eigenvalue of this number, counted
    /// from the largest of all module groups; none: number `COMPONENTS`, or the largest at which all
    /// matrices have one above 0.
    Balanced(Option<usize>),
    /// This part, from 0 to 1.
    Fixed(f64),
}

impl GramShare {
    /// TrackStar's number of the eigenvalue.
    pub(crate) const COMPONENTS: usize = 1000;
}

/// The matrices of a pool and of queries at one checkpoint.
type GramPair<'a> = (&'a CheckpointGrams, &'a CheckpointGrams);

/// What is mixed, and how it is called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixRequest {
    /// Name of the artifact.
    pub name: String,
    /// The artifact with the matrices of training rows, whose datasets and checkpoints the mixture has.
    pub pool: String,
    /// The artifact with those of queries.
    pub queries: String,
    /// The part of the queries.
    pub share: GramShare,
    /// Takes the place of an artifact of this name.
    pub replace: bool,
}

/// Publishes `share` times the mean matrices of queries and `1 - share` times those of a pool as an artifact
/// that preconditions questions as any other.
///
/// Memory: the matrices of both artifacts and of the mixture; to balance them five times the largest. Time:
/// an eigendecomposition of each matrix to balance them, on one thread.
///
/// # Errors
/// A name that is taken or invalid, artifacts that are not there or are no matrices, matrices of other
/// vectors, a share outside of its range, a balance at an eigenvalue that is 0 on a side, being told to stop.
pub fn mix_grams(
    store: &Store,
    request: &MixRequest,
    work: &mut JobContext<'_>,
) -> Result<GramReport, AnswerError> {
    if let GramShare::Fixed(share) = request.share
        && !(0.0..=1.0).contains(&share)
    {
        let why = format!("the share of the queries is a number from 0 to 1, not {share}");
        return Err(AnswerError::Refused(why));
    }
    ArtifactPart::check_name(&request.name)?;
    let (snapshot, _lease) = store.snapshot_leased(None, work.command).map_err(QueryError::from)?;
    if snapshot.artifacts()?.contains(&request.name) && !request.replace {
        return Err(ArtifactError::Exists(request.name.clone()).into());
    }
    let (pool, queries) =
        (read_existing(&snapshot, &request.pool)?, read_existing(&snapshot, &request.queries)?);
    let mut datasets = pool.content.datasets.clone();
    let is_new = |dataset: &&GramDataset| datasets.iter().all(|known| known.name != dataset.name);
    let more: Vec<GramDataset> = queries.content.datasets.iter().filter(is_new).cloned().collect();
    datasets.extend(more);
    let mut sides: Vec<GramPair<'_>> = Vec::with_capacity(pool.grams.len());
    for of_pool in &pool.grams {
        sides.push((of_pool, partner(of_pool, &queries, &request.queries)?));
    }
    let (of_pool, of_queries): (Vec<_>, Vec<_>) = sides.iter().copied().unzip();
    for (name, used) in [(&request.pool, of_pool), (&request.queries, of_queries)] {
        if let Some(why) = stale(&snapshot, &used)? {
            work.progress.note(&format!(
                "artifact `{name}` is stale: {why}. So is the mixture: fit `{name}` again, and mix again"
            ));
        }
    }
    let (shares, components) = shares(&sides, request.share, work)?;
    let (mut grams, mut checkpoints) = (Vec::new(), Vec::new());
    for ((of_pool, of_queries), share) in sides.into_iter().zip(&shares) {
        work.cancel.check()?;
        let mixed = mixture(&blocks((of_pool, of_queries)), *share).map_err(QueryError::from)?;
        let rows = of_pool.checkpoint.rows + of_queries.checkpoint.rows;
        checkpoints.push(GramAt::new(of_pool, rows, Some(*share)));
        let mut checkpoint = of_pool.checkpoint.clone();
        checkpoint.rows = 1;
        checkpoint.add(&of_queries.checkpoint.of);
        grams.push(CheckpointGrams { checkpoint, grams: mixed });
    }
    let content = GramContent {
        kind: pool.content.kind.clone(),
        datasets,
        checkpoints: grams.iter().map(|grams| grams.checkpoint.clone()).collect(),
        mixture: Some(GramMixture {
            pool: request.pool.clone(),
            queries: request.queries.clone(),
            shares,
            components,
        }),
    };
    let mut part = artifact(&request.name, &content)?;
    part.provenance = provenance(&content, snapshot.number());
    let published = store_grams(store, part, &grams, request.replace.then_some(&*snapshot), work)?;
    Ok(GramReport {
        name: request.name.clone(),
        snapshot: published.number(),
        kind: content.kind,
        datasets: content.datasets,
        checkpoints,
        bytes: bytes(&grams),
        changed: true,
    })
}

/// The queries' matrices at the checkpoint of the pool's.
fn partner<'a>(
    of_pool: &CheckpointGrams,
    queries: &'a ExistingGrams,
    name: &str,
) -> Result<&'a CheckpointGrams, AnswerError> {
    let own = &of_pool.checkpoint;
    let found = queries.grams.iter().find(|other| other.checkpoint.id == own.id);
    let Some(found) = found else {
        let why = format!("artifact `{name}` has no matrices at {}", own.name);
        return Err(AnswerError::Refused(why));
    };
    let difference = match own.space.difference(&found.checkpoint.space) {
        None if own.groups == found.checkpoint.groups => return Ok(found),
        None => "their module groups differ".to_owned(),
        Some(difference) => difference,
    };
    Err(QueryError::Space {
        pool: format!("what was fitted on the pool at {}", own.name),
        target: format!("artifact `{name}`"),
        difference,
    }
    .into())
}

/// Why the matrices of a side are not of rows and vectors that a snapshot has, if it is known that they are
/// not: questions refuse a mixture of such ones.
fn stale(snapshot: &Snapshot, used: &[&CheckpointGrams]) -> Result<Option<String>, QueryError> {
    for checkpoint in used.iter().map(|grams| &grams.checkpoint) {
        for rows in &checkpoint.of {
            if let Some(why) = checkpoint.stale(snapshot, &rows.dataset)? {
                return Ok(Some(why));
            }
        }
    }
    Ok(None)
}

/// The share of the queries at each checkpoint, and the number of the eigenvalue that balances both sides.
fn shares(
    sides: &[GramPair<'_>],
    share: GramShare,
    work: &mut JobContext<'_>,
) -> Result<(Vec<f64>, Option<usize>), AnswerError> {
    let asked = match share {
        GramShare::Fixed(share) => return Ok((vec![share; sides.len()], None)),
        GramShare::Balanced(asked) => asked,
    };
    let mut balances = Vec::with_capacity(sides.len());
    for side in sides {
        work.cancel.check()?;
        balances.push(MixtureBalance::new(&blocks(*side)).map_err(QueryError::from)?);
    }
    let most = balances.iter().map(MixtureBalance::components).min().unwrap_or(0);
    let components = asked.unwrap_or(most.min(GramShare::COMPONENTS));
    if !(1..=most).contains(&components) {
        return Err(QueryError::from(CurvatureError::Components { asked: components, most }).into());
    }
    let shares = balances.iter().map(|balance| balance.share(components));
    let shares = shares.collect::<Result<Vec<f64>, _>>().map_err(QueryError::from)?;
    if asked.is_none() && components < GramShare::COMPONENTS {
        work.progress.note(&format!(
            "{} {components}: smaller eigenvalues of the pool or of the queries are 0 but for rounding",
            Remedy::Option("components", "")
        ));
    }
    Ok((shares, Some(components)))
}

/// The matrices of both sides by module group, whose names errors have.
fn blocks((of_pool, of_queries): GramPair<'_>) -> Vec<(&str, &Gram, &Gram)> {
    let names = of_pool.checkpoint.groups.iter().map(|group| group.name.as_str());
    let sides = of_pool.grams.iter().zip(&of_queries.grams);
    names.zip(sides).map(|(name, (of_pool, of_queries))| (name, of_pool, of_queries)).collect()
}

fn provenance(content: &GramContent, snapshot: u64) -> Map<String, Value> {
    serde_json::from_value(json!({
        "datasets": content.datasets.iter().map(|dataset| &dataset.name).collect::<Vec<_>>(),
        "kind": content.kind,
        "snapshot": snapshot,
        "checkpoints": content.checkpoints.iter().map(|at| &at.name).collect::<Vec<_>>(),
        "mixture": content.mixture,
    }))
    .unwrap_or_default()
}
