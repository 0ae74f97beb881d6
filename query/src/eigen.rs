//! Artifact of eigenvalues: those of a curvature at the coordinates of stored rows.
//!
//! Rows were divided by `sqrt(L + d)` of the eigenvalues L of their coordinates, with a damping d for each
//! module. Who knows L and d can ask them with any other damping.
//!
//! The file [`FILE`] has the eigenvalues of all blocks, in their order: f64, little-endian.

use std::io::{self, Write};

use gstore_store::{ArtifactPart, CheckpointId, FeaturePart, ModuleGroup, RowSet, Snapshot};
use serde::{Deserialize, Serialize};

use crate::error::QueryError;

/// The kind of artifact.
pub const KIND: &str = "ekfac-space";

/// The kind of artifact that has the factors themselves.
pub const FACTORS: &str = "ekfac";

/// Name of the file of an artifact.
pub const FILE: &str = "lambda";

/// Description of the coordinates in the artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EigenSpace {
    /// Fingerprint of the projection of the features that they are of.
    pub projection: String,
    /// Name of the artifact that the factors were taken from.
    pub factors: String,
    /// Its number.
    pub number: u32,
    /// The dataset that they were fitted on, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Its rows that they were fitted on, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<EigenSpaceRows>,
    /// Key of the encoding with which texts became tokens then, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Id of the checkpoint that they are of, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The blocks: one for each module that has factors.
    pub blocks: Vec<EigenSpaceBlock>,
}

/// Rows that factors were fitted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EigenSpaceRows {
    /// Number of their dataset in the store, which is never given to another one, as a row's number is not;
    /// none where the rows had changed when the eigenvalues were published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The rows, as ranges: first, one past the last.
    pub rows: Vec<[u64; 2]>,
}

/// The coordinates of one module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EigenSpaceBlock {
    /// Its name, which is that of the module group.
    pub module: String,
    /// Coordinates.
    pub len: u64,
    /// The damping that rows were divided with.
    pub damping: f64,
}

impl EigenSpace {
    /// Name of the artifact for features of a projection, by its fingerprint.
    pub fn artifact(projection: &str) -> String {
        format!("{KIND}-{projection:.32}")
    }

    /// The description that an artifact has.
    ///
    /// # Errors
    /// An artifact of another kind, and one that cannot be read.
    pub fn of(part: &ArtifactPart) -> Result<Self, QueryError> {
        let bad = |why: String| QueryError::Spec(format!("artifact `{}` {why}", part.name));
        if part.kind != KIND {
            return Err(bad(format!("is of the kind {}, not {KIND}", part.kind)));
        }
        serde_json::from_value(part.content.clone()).map_err(|error| bad(format!("cannot be read: {error}")))
    }

    /// Why the factors are not those of pools of these names with rows at these checkpoints, if they are not.
    /// What is not known of them is not compared.
    pub(crate) fn stale<'a>(
        &self,
        mut pools: impl Iterator<Item = &'a str>,
        mut checkpoints: impl Iterator<Item = &'a CheckpointId>,
    ) -> Option<String> {
        let Self { factors, dataset, checkpoint, .. } = self;
        if let Some(fitted) = dataset
            && let Some(pool) = pools.find(|pool| *pool != fitted.as_str())
        {
            return Some(format!("`{factors}` was fitted on dataset `{fitted}`, not on `{pool}`"));
        }
        let fitted = checkpoint.as_deref()?;
        let other = checkpoints.find(|id| ***id != *fitted)?;
        let (fitted, other) = (fitted.get(..8).unwrap_or(fitted), other.short());
        Some(format!("`{factors}` was fitted at checkpoint {fitted}, and rows are at {other}"))
    }

    /// Why the rows that the factors were fitted on are not those of their dataset, if they are not.
    ///
    /// # Errors
    /// Damage of the store.
    pub(crate) fn changed(&self, snapshot: &Snapshot) -> Result<Option<String>, QueryError> {
        let (Some(name), Some(fitted)) = (&self.dataset, &self.rows) else { return Ok(None) };
        // A dataset that the store does not have is no pool either.
        let Ok(dataset) = snapshot.dataset(name) else { return Ok(None) };
        let rows = RowSet::from_pairs(&fitted.rows);
        let is_there = fitted.number == Some(dataset.number)
            && rows.difference(snapshot.live_rows(dataset)?.as_ref()).is_empty();
        let why = || format!("rows of `{name}` that `{}` was fitted on have changed", self.factors);
        Ok((!is_there).then(why))
    }

    /// Why texts of features with encodings of these keys became other tokens than those of the
    /// fit, if they did.
    pub(crate) fn other_tokens<'a>(&self, mut encodings: impl Iterator<Item = &'a str>) -> Option<String> {
        let fitted = self.encoding.as_deref()?;
        let is_other = encodings.any(|key| key != fitted);
        is_other.then(|| format!("`{}` was fitted on texts that became other tokens", self.factors))
    }

    /// What is not known of the data of the factors, if something is not.
    pub(crate) fn unknown(&self) -> Option<String> {
        let factors = &self.factors;
        match (&self.dataset, &self.rows) {
            (None, _) => Some(format!("`{factors}` does not say on which data it was fitted")),
            (Some(dataset), None) => Some(format!(
                "`{factors}` does not say which rows of `{dataset}` it was fitted on: whether all are there is not known"
            )),
            (Some(_), Some(_)) => None,
        }
    }

    /// Eigenvalues of a module group and the damping of its rows, from the bytes of the file.
    ///
    /// # Errors
    /// A group that is none of the modules, or that has another size; a file that is too short.
    pub fn group(&self, file: &[u8], group: &ModuleGroup) -> Result<(Vec<f64>, f64), QueryError> {
        let bad = |why: &str| QueryError::Spec(format!("the eigenvalues of module {}: {why}", group.name));
        let at = self.blocks.iter().position(|block| block.module == group.name);
        let at = at.ok_or_else(|| bad("there are none"))?;
        let (before, block) = (&self.blocks[..at], &self.blocks[at]);
        if block.len != u64::from(group.len) {
            return Err(bad("there are more or fewer than coordinates"));
        }
        let start = before.iter().try_fold(0u64, |sum, block| sum.checked_add(block.len));
        let values = file.as_chunks::<8>().0;
        let range = start.and_then(|start| {
            let start = usize::try_from(start).ok()?;
            values.get(start..start.checked_add(group.len as usize)?)
        });
        let values = range.ok_or_else(|| bad("the file ends before"))?;
        Ok((values.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(), block.damping))
    }
}

/// Whether vectors are in an eigenbasis, by what was noted of their projection.
pub(crate) fn is_space_of(feature: &FeaturePart) -> bool {
    let projection = feature.attrs.provenance.get("projection").and_then(|text| text.as_str());
    projection.is_some_and(|text| text.starts_with(FACTORS))
}

/// Writes the eigenvalues of blocks, in their order.
///
/// # Errors
/// Those of the writer.
pub fn write<'a>(out: &mut dyn Write, blocks: impl IntoIterator<Item = &'a [f64]>) -> io::Result<()> {
    blocks.into_iter().flatten().try_for_each(|value| out.write_all(&value.to_le_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> EigenSpace {
        EigenSpace {
            projection: "p".into(),
            factors: "f".into(),
            number: 3,
            dataset: None,
            rows: None,
            encoding: None,
            checkpoint: None,
            blocks: Vec::new(),
        }
    }

    #[test]
    fn factors_of_other_data_and_of_another_checkpoint_are_stale() {
        let [here, there] = [1, 2].map(|byte| CheckpointId::of_hash(&[byte; 32]));
        let known =
            EigenSpace { dataset: Some("pool".into()), checkpoint: Some(here.to_string()), ..space() };
        let why = |space: &EigenSpace, pools: &[&'static str], ids: &[&CheckpointId]| {
            space.stale(pools.iter().copied(), ids.iter().copied())
        };
        assert_eq!(why(&known, &["pool"], &[&here]), None);
        assert_eq!(why(&space(), &["other"], &[&there]), None);
        let data = why(&known, &["pool", "other"], &[&here]);
        assert_eq!(data.as_deref(), Some("`f` was fitted on dataset `pool`, not on `other`"));
        let checkpoint = why(&known, &["pool"], &[&here, &there]);
        assert_eq!(
            checkpoint.as_deref(),
            Some("`f` was fitted at checkpoint 01010101, and rows are at 02020202")
        );
    }

    #[test]
    fn what_is_not_known_is_not_compared_and_said() {
        assert_eq!(space().other_tokens(["a"].into_iter()), None);
        let known = EigenSpace { encoding: Some("a".into()), ..space() };
        assert_eq!(known.other_tokens(["a", "a"].into_iter()), None);
        let why = known.other_tokens(["a", "b"].into_iter());
        assert_eq!(why.as_deref(), Some("`f` was fitted on texts that became other tokens"));
        assert_eq!(space().unknown().as_deref(), Some("`f` does not say on which data it was fitted"));
        // As it was before rows were noted.
        let old = r#"{"projection": "p", "factors": "f", "number": 3, "dataset": "pool", "blocks": []}"#;
        let old: EigenSpace = serde_json::from_str(old).unwrap();
        assert!(old.unknown().is_some_and(|note| note.contains("which rows of `pool`")));
        let rows = Some(EigenSpaceRows { number: Some(1), rows: vec![[0, 2]] });
        assert_eq!(EigenSpace { rows, ..old }.unknown(), None);
    }

    #[test]
    fn eigenvalues_are_read_by_module() {
        let block = |module: &str, len, damping| EigenSpaceBlock { module: module.into(), len, damping };
        let blocks = vec![block("a", 2, 0.5), block("b.c", 1, 0.25)];
        let space = EigenSpace { blocks, ..space() };
        let mut file = Vec::new();
        write(&mut file, [&[1.0, 2.0][..], &[4.0]]).unwrap();
        let group = |name: &str, len| ModuleGroup { name: name.into(), start: 7, len };
        assert_eq!(space.group(&file, &group("a", 2)).unwrap(), (vec![1.0, 2.0], 0.5));
        assert_eq!(space.group(&file, &group("b.c", 1)).unwrap(), (vec![4.0], 0.25));
        assert!(space.group(&file, &group("b.c", 2)).is_err() && space.group(&file, &group("d", 1)).is_err());
        assert!(space.group(&file[..20], &group("b.c", 1)).is_err());
        let value = serde_json::to_value(&space).unwrap();
        let part = ArtifactPart::new("s", KIND, Vec::new(), value.clone());
        assert_eq!(EigenSpace::of(&part).unwrap(), space);
        assert!(EigenSpace::of(&ArtifactPart::new("s", "gram", Vec::new(), value)).is_err());
        assert_eq!(EigenSpace::artifact(&"ab".repeat(32)).len(), 44);
    }
}
