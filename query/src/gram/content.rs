//! What the matrices of an artifact are of: datasets, checkpoints, spaces and blocks.

use gstore_curvature::Gram;
use gstore_store::{ArtifactPart, CheckpointId, ModuleGroup, Space};
use serde::{Deserialize, Serialize};

use super::KIND;
use crate::error::QueryError;

/// What the matrices of an artifact are of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GramContent {
    /// Kind of the feature whose rows were taken.
    pub kind: String,
    /// The datasets of the rows.
    pub datasets: Vec<GramDataset>,
    /// The checkpoints, in the order of their run.
    pub checkpoints: Vec<GramCheckpoint>,
    /// What the matrices were mixed of; none where they are sums over rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixture: Option<GramMixture>,
}

/// A mixture of the mean matrices of two artifacts: `share` times those of the queries, and the rest of the
/// others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GramMixture {
    /// The artifact of training rows.
    pub pool: String,
    /// That of queries.
    pub queries: String,
    /// For each checkpoint the share of the queries, from 0 to 1.
    pub shares: Vec<f64>,
    /// The number of the eigenvalue, from the largest, in which both sides were balanced; none where the share
    /// was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<usize>,
}

/// A dataset whose rows were taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GramDataset {
    /// Its name.
    pub name: String,
    /// Rows before this one were taken, if they were live and had vectors.
    pub end: u64,
}

/// A checkpoint at which the rows' vectors were taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GramCheckpoint {
    /// Its name in the run.
    pub name: String,
    /// Its weights.
    pub id: CheckpointId,
    /// What a vector must share with the rows to be preconditioned.
    pub space: Space,
    /// The blocks: module groups, or one of everything.
    pub groups: Vec<ModuleGroup>,
    /// Vectors that were summed; 1 in a mixture, which is of means.
    pub rows: u64,
}

impl GramContent {
    /// What an artifact says of itself.
    ///
    /// # Errors
    /// An artifact of another kind, and one that cannot be read.
    pub fn of(part: &ArtifactPart) -> Result<Self, QueryError> {
        if part.kind != KIND {
            return Err(QueryError::Spec(format!(
                "artifact `{}` is of the kind {}, and stored rows are preconditioned by one of the kind {KIND}",
                part.name, part.kind
            )));
        }
        serde_json::from_value(part.content.clone())
            .map_err(|error| QueryError::Spec(format!("artifact `{}` cannot be read: {error}", part.name)))
    }
}

/// The matrices of one checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointGrams {
    /// What they are of.
    pub checkpoint: GramCheckpoint,
    /// One for each of its groups, in step with them.
    pub grams: Vec<Gram>,
}

impl CheckpointGrams {
    /// Adds the matrices of other rows.
    ///
    /// # Errors
    /// Vectors of another checkpoint or space, or with other blocks.
    pub fn merge(&mut self, other: &Self) -> Result<(), QueryError> {
        let (own, new) = (&mut self.checkpoint, &other.checkpoint);
        if let Some(difference) = own.space.difference(&new.space) {
            return Err(QueryError::Space {
                pool: format!("what was fitted at {}", own.name),
                target: format!("what is to be added at {}", new.name),
                difference,
            });
        }
        if own.groups != new.groups {
            let why = format!("the rows to be added at {} have other module groups", new.name);
            return Err(QueryError::Spec(why));
        }
        own.rows += new.rows;
        self.grams.iter_mut().zip(&other.grams).for_each(|(sum, part)| sum.merge(part));
        Ok(())
    }
}
