//! Definition of a matrix: all that its bytes depend on.

use gstore_core::{Cancel, Remedy, human_bytes, shortened};
use serde::{Deserialize, Serialize};

use super::MatrixOptions;
use super::error::MatrixError;
use super::files::{json, unwritable};
use crate::error::QueryError;
use crate::influence::{ExcludedCounts, MOST_SAMPLES, PlanSide, Prepared, TargetSamples};

/// The state of the store and the question. Work goes on only where it was begun for the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MatrixQuestion {
    /// Version of the form of a matrix.
    pub version: u32,
    /// What writes it.
    pub writer: String,
    /// Id of the store.
    pub store: String,
    /// Number of the snapshot.
    pub snapshot: u64,
    /// Digest of its root.
    pub snapshot_digest: String,
    /// Names of the pools.
    pub pools: Vec<String>,
    /// Names of the targets, as they were given.
    pub targets: Vec<String>,
    /// The run whose checkpoints are used, if they belong to one.
    pub run: Option<String>,
    /// The checkpoints, with what is compared at each.
    pub checkpoints: Vec<MatrixCheckpoint>,
    /// `cosine` or `dot`.
    pub sim: String,
    /// Treatment of rows that lack a checkpoint.
    pub missing: String,
    /// Modules that count, as they were given.
    pub modules: Option<String>,
    /// What the target's vectors go through first, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precondition: Option<MatrixPrecondition>,
    /// What a subtask is.
    pub by: String,
    /// Whether rows that occur in the target are left out.
    pub exclude_target: bool,
    /// Live rows of the pools that may have scores.
    pub candidates: u64,
    /// Target samples.
    pub samples: u64,
    /// Bytes of scores in a part.
    pub part_bytes: u64,
    /// The samples in groups, by their order in `targets`.
    pub groups: Vec<MatrixGroup>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MatrixCheckpoint {
    /// Its name.
    pub name: String,
    /// Its share: the weights add up to 1.
    pub weight: f64,
    /// Keys of the pools' features.
    pub pools: Vec<String>,
    /// Keys of the targets' features.
    pub targets: Vec<String>,
    /// What both sides' vectors are called: fingerprint of their projection.
    pub projection: String,
    /// Values of a vector.
    pub dim: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MatrixPrecondition {
    /// Name of the artifact.
    pub artifact: String,
    /// How eigenvalues are inverted.
    pub inversion: String,
    /// The damping that was given.
    pub damping: Option<f64>,
    /// The filter that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// Samples whose scores are in one list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MatrixGroup {
    /// Number of the first one.
    pub first: u64,
    /// How many.
    pub samples: u64,
    /// Folder of the parts.
    pub folder: String,
}

/// `matrix.json`: the question and its outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MatrixInfo {
    /// What was asked.
    #[serde(flatten)]
    pub question: MatrixQuestion,
    /// Pool rows that have scores.
    pub rows: u64,
    /// Pool rows that have none.
    pub excluded: ExcludedCounts,
}

impl MatrixQuestion {
    pub(super) fn new(
        prepared: &Prepared,
        samples: &TargetSamples,
        options: MatrixOptions,
        cancel: &Cancel,
    ) -> Result<Self, MatrixError> {
        let spec = prepared.spec();
        let info = prepared.snapshot().info();
        let keys = |sides: &[PlanSide], c: usize| -> Vec<String> {
            sides.iter().filter_map(|side| Some(side.features.get(c)?.key.clone())).collect()
        };
        let checkpoint = |(c, checkpoint): (usize, &crate::influence::PlanCheckpoint)| {
            let feature = prepared.pools().first().and_then(|pool| pool.features.get(c));
            MatrixCheckpoint {
                name: checkpoint.name.clone(),
                weight: checkpoint.weight,
                pools: keys(prepared.pools(), c),
                targets: keys(prepared.targets(), c),
                projection: feature.map(|f| f.desc.space.projection.clone()).unwrap_or_default(),
                dim: feature.map_or(0, |f| f.desc.dim()),
            }
        };
        let count = samples.rows.len() as u64;
        let question = Self {
            version: 1,
            writer: format!("gstore {}", env!("CARGO_PKG_VERSION")),
            store: info.store.to_string(),
            snapshot: info.number,
            snapshot_digest: info.digest.to_string(),
            pools: spec.pools.clone(),
            targets: spec.target_names(),
            run: prepared.run().map(str::to_owned),
            checkpoints: prepared.checkpoints().iter().enumerate().map(checkpoint).collect(),
            sim: spec.sim.to_string(),
            missing: spec.missing.to_string(),
            modules: spec.modules.as_ref().map(|modules| modules.text().to_string()),
            precondition: prepared.plan().precondition().map(|plan| MatrixPrecondition {
                artifact: plan.artifact.clone(),
                inversion: spec.inversion.name().to_owned(),
                damping: spec.damping,
                filter: spec.filter.map(|filter| filter.to_string()),
            }),
            by: spec.by.to_string(),
            exclude_target: spec.exclude_target,
            candidates: prepared.candidate_rows(cancel)?,
            samples: count,
            part_bytes: options.part,
            groups: groups(count, options.memory, prepared.sample_bytes())?,
        };
        // As it is read back, so that what was written and what is asked compare equal.
        serde_json::from_str(&json(&question)?).map_err(unwritable)
    }

    /// What keeps this from being the question that a file has.
    pub(super) fn unlike(&self, other: Option<&Self>, file: &str) -> Option<String> {
        other.map_or_else(|| Some(format!("{file} cannot be read")), |other| self.difference(other))
    }

    /// The first thing in which another question differs, with both values.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        let values = |question: &Self| serde_json::to_value(question).unwrap_or_default();
        let (mine, theirs) = (values(self), values(other));
        let (mine, theirs) = (mine.as_object()?, theirs.as_object()?);
        let short = |value: Option<&serde_json::Value>| {
            shortened(&value.map(ToString::to_string).unwrap_or_default(), 160)
        };
        // The snapshot's number says more than the digest of its root; the groups follow from
        // the rest and the memory.
        let keys = ["writer", "store", "snapshot"].into_iter();
        let all = mine.keys().chain(theirs.keys()).map(String::as_str);
        let keys = keys.chain(all.filter(|key| *key != "groups"));
        let key = keys.chain(["groups"]).find(|key| mine.get(*key) != theirs.get(*key))?;
        Some(match key {
            "groups" => format!(
                "it was cut for another {} (the samples in {} groups, and now {})",
                Remedy::Option("memory", ""),
                other.groups.len(),
                self.groups.len()
            ),
            key => format!("{key} is {} and was {}", short(mine.get(key)), short(theirs.get(key))),
        })
    }
}

/// Groups of equal size as far as they go, so that the last one is not much smaller, and small enough that
/// the scores of few rows are few.
fn groups(samples: u64, memory: u64, of_each: u64) -> Result<Vec<MatrixGroup>, QueryError> {
    let most = memory / of_each.max(1);
    if most == 0 {
        return Err(QueryError::Spec(format!(
            "the vectors of one target sample take {}, more than the {} that {} allows: allow more",
            human_bytes(of_each),
            human_bytes(memory),
            Remedy::Option("memory", "")
        )));
    }
    let count = samples.div_ceil(most.min(MOST_SAMPLES)).max(1);
    let group = |g: u64| {
        let (first, end) = (bound(samples, g, count), bound(samples, g + 1, count));
        MatrixGroup { first, samples: end - first, folder: format!("scores-{g:03}") }
    };
    Ok((0..count).map(group).collect())
}

fn bound(samples: u64, group: u64, groups: u64) -> u64 {
    (u128::from(samples) * u128::from(group) / u128::from(groups.max(1))) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hold_every_sample_once_and_fit() {
        for (samples, most) in [(1, 1), (7, 3), (1000, 999), (5, 100), (100_000, 4096), (40_000, 50_000)] {
            let groups = groups(samples, most * 8, 8).unwrap();
            let mut next = 0;
            for group in &groups {
                assert_eq!(group.first, next);
                assert!(group.samples > 0 && group.samples <= most.min(MOST_SAMPLES));
                next += group.samples;
            }
            assert_eq!(next, samples);
        }
        assert!(groups(1, 7, 8).is_err());
    }
}
