//! Description of Gram matrices in their artifact: datasets with their rows, checkpoints, spaces and blocks.

use gstore_curvature::Gram;
use gstore_store::{ArtifactPart, CheckpointId, DatasetPart, ModuleGroup, RowSet, Snapshot, Space};
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
    /// The number of the eigenvalue, from the largest, in which both sides were balanced; none where the
    /// share was given.
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
    /// The rows that they are of, by dataset and feature.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<GramRows>,
}

/// Rows of a dataset whose vectors are in the sums of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GramRows {
    /// Name of the dataset.
    pub dataset: String,
    /// Its number in the store, which is never given to another one.
    pub number: u32,
    /// Number of the feature that has the vectors.
    pub feature: u32,
    /// The rows, as ranges: first, one past the last.
    pub rows: Vec<[u64; 2]>,
}

impl GramRows {
    /// Rows of a feature of a dataset.
    pub fn new(dataset: &DatasetPart, feature: u32, rows: &RowSet) -> Self {
        let (dataset, number) = (dataset.name.clone(), dataset.number);
        Self { dataset, number, feature, rows: rows.pairs() }
    }

    /// The rows.
    pub fn row_set(&self) -> RowSet {
        RowSet::from_pairs(&self.rows)
    }
}

impl GramCheckpoint {
    /// Notes more rows.
    pub fn add(&mut self, more: &[GramRows]) {
        for more in more {
            let same = |known: &&mut GramRows| {
                (&known.dataset, known.number, known.feature) == (&more.dataset, more.number, more.feature)
            };
            match self.of.iter_mut().find(same) {
                Some(known) => known.rows = known.row_set().union(&more.row_set()).pairs(),
                None => self.of.push(more.clone()),
            }
        }
    }

    /// Whether it is noted which rows of a dataset the sums are of. Matrices that were made before that was
    /// noted have none.
    pub(crate) fn knows(&self, dataset: &str) -> bool {
        self.of.iter().any(|known| known.dataset == dataset)
    }

    /// Why the sums are not of rows and vectors that a snapshot has of the dataset of a name, if they are not.
    ///
    /// # Errors
    /// Damage of the store.
    pub fn stale(&self, snapshot: &Snapshot, name: &str) -> Result<Option<String>, QueryError> {
        if !self.knows(name) {
            return Ok(Some(format!("it does not say which rows of `{name}` it was fitted on")));
        }
        let Ok(dataset) = snapshot.dataset(name) else {
            return Ok(Some(format!("dataset `{name}` that it was fitted on no longer exists")));
        };
        let live = snapshot.live_rows(dataset)?;
        let why = self.of.iter().filter(|known| known.dataset == name).find_map(|known| {
            if known.number != dataset.number {
                return Some(format!("it was fitted on another dataset `{name}`, which was dropped since"));
            }
            if snapshot.features().iter().all(|feature| feature.number != known.feature) {
                return Some(format!("the vectors of `{name}` that it was fitted on were dropped since"));
            }
            let gone = known.row_set().difference(&live);
            (!gone.is_empty()).then(|| format!("rows of `{name}` that it was fitted on have changed"))
        });
        Ok(why)
    }
}

impl GramContent {
    /// The description that an artifact has.
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
        own.add(&new.of);
        self.grams.iter_mut().zip(&other.grams).for_each(|(sum, part)| sum.merge(part));
        Ok(())
    }
}
