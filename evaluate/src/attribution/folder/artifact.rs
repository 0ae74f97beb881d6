//! The artifact of a ground truth in a store: what its models have in common, and their subsets.

use std::collections::HashSet;
use std::fmt::Display;

use gstore_core::{Cancel, canonical_json, many, xxh3_hex};
use gstore_store::{ArtifactPart, DatasetPart, RowSet, Snapshot};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::lines::{ids_in, subsets_in};
use super::recipe::differing;
use super::{Manifest, VERSION};
use crate::attribution::ids::Ids;
use crate::attribution::subsets::Subset;
use crate::error::EvaluateError;

/// Kind of the artifact, and the key of a member's provenance that names it.
pub(super) const RETRAINING: &str = "retraining";

/// Key of a member's provenance: the number of its run.
pub(super) const RUN: &str = "run";

/// The content of the artifact: dataset, manifest and recipe of the models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Content {
    /// The dataset of the queries.
    pub dataset: String,
    pub manifest: Manifest,
    pub recipe: Value,
}

impl Content {
    /// The digest that names the artifact.
    pub fn key(&self) -> String {
        xxh3_hex(canonical_json(&json!(self)).as_bytes())
    }
}

#[derive(Debug)]
pub(super) struct FolderArtifact {
    pub content: Content,
    pub pool: Ids,
    pub queries: Ids,
    pub subsets: Vec<Subset>,
}

impl FolderArtifact {
    /// Reads an artifact of a snapshot.
    pub fn open(snapshot: &Snapshot, name: &str, cancel: &Cancel) -> Result<FolderArtifact, EvaluateError> {
        let part = snapshot.artifact(name)?;
        let bad = |what: String| bad_part(&part, what);
        if part.kind != RETRAINING {
            return Err(bad(format!("it is of the kind {}, and has no subsets", part.kind)));
        }
        let content: Content =
            serde_json::from_value(part.content.clone()).map_err(|error| bad(error.to_string()))?;
        if content.manifest.version != VERSION {
            return Err(bad(format!("its version is {}; {VERSION} is read", content.manifest.version)));
        }
        let ids = |file: &str| Ids::new(ids_of(snapshot, &part, file, cancel)?, file);
        let (pool, queries) = (ids("pool.jsonl")?, ids("queries.jsonl")?);
        let subsets = subsets_in(&text_of(snapshot, &part, "subsets.jsonl")?, &pool, bad, cancel)?;
        Ok(FolderArtifact { content, pool, queries, subsets })
    }

    /// Fails unless models of another ground truth, with the rows of `pool`, differ in their subsets alone.
    pub fn check_same(&self, ensemble: &str, other: &Content, pool: &Ids) -> Result<(), EvaluateError> {
        let own = &self.content;
        let shared = pool.iter().filter(|id| self.pool.place(id).is_some()).count();
        let what = match () {
            () if shared == 0 => "their subsets share no row with its pool".to_owned(),
            () if own.manifest.pool != other.manifest.pool => format!(
                "their subsets are of another pool, of which it has the ids of {shared} of {}",
                many(pool.len() as u64, "row")
            ),
            () if own.dataset != other.dataset => {
                format!("their queries are of dataset {:?}, its own of {:?}", other.dataset, own.dataset)
            }
            () if own.manifest.queries != other.manifest.queries => {
                "they were asked other queries".to_owned()
            }
            () => match differing(&own.recipe, &other.recipe) {
                Some(what) => format!("they were trained otherwise: {what}"),
                None => return Ok(()),
            },
        };
        Err(EvaluateError::Truth(format!("ensemble {ensemble:?} cannot have these models: {what}")))
    }
}

fn bad_part(part: &ArtifactPart, what: impl Display) -> EvaluateError {
    EvaluateError::Truth(format!("artifact {}: {what}", part.name))
}

fn text_of(snapshot: &Snapshot, part: &ArtifactPart, file: &str) -> Result<String, EvaluateError> {
    let map = snapshot.artifact_file(part, file)?;
    let text = std::str::from_utf8(map.as_bytes());
    Ok(text.map_err(|error| bad_part(part, format!("{file}: {error}")))?.to_owned())
}

fn ids_of(
    snapshot: &Snapshot,
    part: &ArtifactPart,
    file: &str,
    cancel: &Cancel,
) -> Result<Vec<String>, EvaluateError> {
    ids_in(&text_of(snapshot, part, file)?, |what| bad_part(part, what), cancel)
}

/// Artifacts of ground truths that have ids of deleted rows of a dataset, or of `rows`, which are to be: of
/// each its name, and how many. They belong to no dataset, so that a purge does not reach them.
///
/// # Errors
/// Artifacts and deleted ids that cannot be read, and cancellation.
pub fn artifacts_naming(
    snapshot: &Snapshot,
    dataset: &DatasetPart,
    rows: &RowSet,
    cancel: &Cancel,
) -> Result<Vec<(String, u64)>, EvaluateError> {
    let mut parts = Vec::new();
    for name in snapshot.artifacts()? {
        let part = snapshot.artifact(&name)?;
        if part.kind == RETRAINING {
            parts.push(part);
        }
    }
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let mut named = HashSet::new();
    if !rows.is_empty() {
        let reader = snapshot.samples(dataset)?;
        reader.each_id(cancel, |row, id| named.extend(rows.contains(row).then(|| id.to_owned())))??;
    }
    let mut deleted = snapshot.deleted_ids(dataset)?;
    let mut found = Vec::new();
    for part in parts {
        let mut ids: HashSet<String> = HashSet::new();
        for file in ["pool.jsonl", "queries.jsonl"] {
            ids.extend(ids_of(snapshot, &part, file, cancel)?);
        }
        let mut count = 0;
        for id in &ids {
            count += u64::from(named.contains(id) || deleted.contains(id)?);
        }
        if count > 0 {
            found.push((part.name, count));
        }
    }
    Ok(found)
}

/// Its name, by the digest of its content.
pub(super) fn name_of(key: &str) -> String {
    format!("{RETRAINING}-{key}")
}
