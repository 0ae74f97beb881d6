//! Artifact of eigenvalues: those of a curvature at the coordinates of stored rows.
//!
//! Rows were divided by `sqrt(L + d)` of the eigenvalues L of their coordinates, with a damping d for each
//! module. Who knows L and d can ask them with any other damping.
//!
//! So do they say how large a coordinate is of which a row has the sign alone: its mean square over rows is
//! `L / (L + d)`.
//!
//! The file [`FILE`] has the eigenvalues of all blocks, in their order: f64, little-endian.

use std::io::{self, Write};
use std::sync::Arc;

use gstore_store::{ArtifactPart, FeaturePart, ModuleGroup};
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
    /// The blocks: one for each module that has factors.
    pub blocks: Vec<EigenSpaceBlock>,
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

/// What the signs of a row stand for: the expected magnitude of each coordinate, as a part of the mean of
/// those of its module.
///
/// A row's coordinate with the eigenvalue L was divided by `sqrt(L + d)`, so its root mean square over rows
/// is `s = sqrt(L / (L + d))`. Let coordinates have one distribution but for their spread s and the length of
/// the row: then the mean of a coordinate whose sign is known is that sign times t s, with one t for each row
/// and module. A row has its mean magnitude in the module, which is about t times the mean of s. So a sign is
/// worth that magnitude times `s / mean s`; with a plain sign, coordinates far below the damping, which are
/// near 0, count as much as the largest.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Magnitudes(Arc<[f32]>);

impl Magnitudes {
    /// Those of the coordinates of these module groups, from the bytes of the file.
    ///
    /// # Errors
    /// Those of [`EigenSpace::group`].
    pub(crate) fn of(space: &EigenSpace, file: &[u8], groups: &[ModuleGroup]) -> Result<Self, QueryError> {
        let mut all: Vec<f32> = Vec::new();
        for group in groups {
            let (eigenvalues, damping) = space.group(file, group)?;
            let start = group.start as usize;
            all.resize(all.len().max(start + eigenvalues.len()), 1.0);
            let expected = expected_magnitudes(&eigenvalues, damping);
            all[start..].iter_mut().zip(expected).for_each(|(to, value)| *to = value as f32);
        }
        Ok(Self(all.into()))
    }

    /// Multiplies whole vectors with them: rows of signs, or what these are multiplied with.
    pub(crate) fn apply(&self, vectors: &mut [f32]) {
        for vector in vectors.chunks_exact_mut(self.0.len().max(1)) {
            vector.iter_mut().zip(&*self.0).for_each(|(value, magnitude)| *value *= magnitude);
        }
    }
}

/// `s / mean s` of the coordinates of a module; 1 of all where every eigenvalue is 0.
fn expected_magnitudes(eigenvalues: &[f64], damping: f64) -> Vec<f64> {
    let spread = |value: &f64| if *value > 0.0 { (value / (value + damping)).sqrt() } else { 0.0 };
    let spreads: Vec<f64> = eigenvalues.iter().map(spread).collect();
    let mean = spreads.iter().sum::<f64>() / spreads.len().max(1) as f64;
    if mean > 0.0 { spreads.iter().map(|spread| spread / mean).collect() } else { vec![1.0; spreads.len()] }
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

    #[test]
    fn eigenvalues_are_read_by_module() {
        let block = |module: &str, len, damping| EigenSpaceBlock { module: module.into(), len, damping };
        let blocks = vec![block("a", 2, 0.5), block("b.c", 1, 0.25)];
        let space = EigenSpace { projection: "p".into(), factors: "f".into(), number: 3, blocks };
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

    #[test]
    fn a_sign_is_worth_the_expected_magnitude_of_its_coordinate() {
        // By hand: the roots of 0, 1 / 4 and 16 / 25.
        let found = expected_magnitudes(&[0.0, 1.0, 16.0 / 3.0], 3.0);
        let mean = (0.5 + 0.8) / 3.0;
        for (found, expected) in found.iter().zip([0.0, 0.5 / mean, 0.8 / mean]) {
            assert!((found - expected).abs() < 1e-15, "{found} is not {expected}");
        }
        // Equal eigenvalues leave signs as they are, whatever the damping; and so do none.
        assert_eq!(expected_magnitudes(&[2.0; 4], 0.0), [1.0; 4]);
        assert_eq!(expected_magnitudes(&[0.0; 2], 0.0), [1.0; 2]);

        let block = |module: &str, len| EigenSpaceBlock { module: module.into(), len, damping: 3.0 };
        let blocks = vec![block("a", 2), block("b", 1)];
        let space = EigenSpace { projection: "p".into(), factors: "f".into(), number: 3, blocks };
        let mut file = Vec::new();
        write(&mut file, [&[1.0, 9.0][..], &[4.0]]).unwrap();
        let group = |name: &str, start, len| ModuleGroup { name: name.into(), start, len };
        let groups = [group("a", 0, 2), group("b", 2, 1)];
        let magnitudes = Magnitudes::of(&space, &file, &groups).unwrap();
        let mut vectors = [1.0f32, -1.0, 2.0, 0.0, 1.0, -3.0];
        magnitudes.apply(&mut vectors);
        let (low, high) = (0.5, 0.75f64.sqrt());
        let mean = (low + high) / 2.0;
        let expected = [low / mean, -high / mean, 2.0, 0.0, high / mean, -3.0];
        for (found, expected) in vectors.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} is not {expected}");
        }
        assert!(Magnitudes::of(&space, &file, &[group("c", 0, 1)]).is_err());
    }
}
