//! What a projection is asked to be, its checks and its fingerprint.

use std::fmt;
use std::str::FromStr;

use gstore_store::{canonical_json, sha256_hex};
use serde_json::json;

/// Version of the definitions: part of every fingerprint.
const VERSION: &str = "proj-v1";

/// Non-zeros per column of `sjlt` unless asked otherwise.
const DEFAULT_S: u32 = 4;

/// The kind of matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectionKind {
    /// The gradient itself.
    None,
    /// Sparse signs, `s` non-zeros in each column. The default.
    Sjlt {
        /// Non-zeros per column.
        s: u32,
    },
    /// Dense signs.
    Rademacher,
    /// Dense normals.
    Gaussian,
    /// One coordinate of each stratum.
    Mask,
}

impl ProjectionKind {
    /// The name that keys, fingerprints and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            ProjectionKind::None => "none",
            ProjectionKind::Sjlt { .. } => "sjlt",
            ProjectionKind::Rademacher => "rademacher",
            ProjectionKind::Gaussian => "gaussian",
            ProjectionKind::Mask => "mask",
        }
    }
}

impl fmt::Display for ProjectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ProjectionKind {
    type Err = ProjectionError;

    fn from_str(text: &str) -> Result<Self, ProjectionError> {
        match text {
            "none" => Ok(ProjectionKind::None),
            "sjlt" => Ok(ProjectionKind::Sjlt { s: DEFAULT_S }),
            "rademacher" => Ok(ProjectionKind::Rademacher),
            "gaussian" => Ok(ProjectionKind::Gaussian),
            "mask" => Ok(ProjectionKind::Mask),
            _ => Err(ProjectionError::UnknownKind(text.to_owned())),
        }
    }
}

/// A projection of the concatenated trainable tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectionSpec {
    /// Kind of matrix.
    pub kind: ProjectionKind,
    /// Output coordinates; not used by `none`.
    pub dim: u32,
    /// Seed.
    pub seed: u64,
    /// Whether each checkpoint has a matrix of its own.
    pub per_checkpoint: bool,
}

impl Default for ProjectionSpec {
    fn default() -> Self {
        Self { kind: ProjectionKind::Sjlt { s: DEFAULT_S }, dim: 8192, seed: 0, per_checkpoint: false }
    }
}

impl ProjectionSpec {
    /// No projection: vectors are the concatenated tensors.
    pub fn none() -> Self {
        Self { kind: ProjectionKind::None, dim: 0, seed: 0, per_checkpoint: false }
    }

    /// SHA-256 of the canonical JSON of everything that decides an entry, as 64 hex digits; `none` without a projection.
    pub fn fingerprint(&self) -> String {
        let combine = match self.kind {
            ProjectionKind::None => return "none".to_owned(),
            ProjectionKind::Mask => "blocks",
            _ => "sum",
        };
        let mut description = json!({
            "version": VERSION,
            "kind": self.kind.name(),
            "sizes": { "dim": self.dim },
            "seed": self.seed,
            "checkpoint_scope": if self.per_checkpoint { "each" } else { "all" },
            "combine": combine,
        });
        if let ProjectionKind::Sjlt { s } = self.kind {
            description["s"] = s.into();
        }
        sha256_hex(canonical_json(&description).as_bytes())
    }

    /// Checks what can be checked without knowing the tensors.
    pub fn check(&self) -> Result<(), ProjectionError> {
        match self.kind {
            ProjectionKind::None => Ok(()),
            _ if self.dim == 0 || self.dim >= 1 << 31 => Err(ProjectionError::Dim { dim: self.dim }),
            ProjectionKind::Sjlt { s } if s == 0 || !self.dim.is_multiple_of(s) => {
                Err(ProjectionError::Sparsity { s, dim: self.dim })
            }
            _ => Ok(()),
        }
    }
}

/// Why a projection cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// Not one of the kinds.
    #[error("there is no projection {0:?}: use sjlt, rademacher, gaussian, mask or none")]
    UnknownKind(String),
    /// No output, or too many.
    #[error("a projection to {dim} dimensions is not possible: use 1 to 2147483647")]
    Dim {
        /// Asked for.
        dim: u32,
    },
    /// The row blocks of the sparse matrix would not be equal.
    #[error("sjlt with s = {s} needs a dimension that is a multiple of it, but dim is {dim}")]
    Sparsity {
        /// Non-zeros per column.
        s: u32,
        /// Output coordinates.
        dim: u32,
    },
    /// A mask samples without replacement.
    #[error(
        "mask cannot take {dim} of {inputs} coordinates: use a dimension of at most {inputs}, or --projection none"
    )]
    MaskTooWide {
        /// Output coordinates.
        dim: u32,
        /// Input coordinates.
        inputs: u64,
    },
    /// A mask takes at least one coordinate of each tensor.
    #[error(
        "mask takes at least one coordinate of each of the {tensors} trainable tensors, but dim is {dim}"
    )]
    MaskTooNarrow {
        /// Output coordinates.
        dim: u32,
        /// Trainable tensors.
        tensors: usize,
    },
    /// More coordinates than a vector may have.
    #[error("{inputs} trainable parameters are more than a vector can hold; use a projection such as sjlt")]
    TooWide {
        /// Input coordinates.
        inputs: u64,
    },
    /// Nothing to project.
    #[error("the model has no trainable tensor")]
    NoTensors,
    /// A tensor without elements.
    #[error("trainable tensor {name} has shape {shape:?}, which holds no element")]
    EmptyTensor {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Two tensors with one name would share their matrix.
    #[error("two trainable tensors are named {name}")]
    SameName {
        /// The name.
        name: String,
    },
    /// `per_checkpoint` without a checkpoint.
    #[error("a projection with a matrix per checkpoint needs the checkpoint's id")]
    NoCheckpoint,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_covers_every_field_and_is_frozen() {
        let base = ProjectionSpec::default();
        // Frozen: a change makes every stored projected vector incomparable with new ones.
        assert_eq!(base.fingerprint(), "2bcae9c5fef44cba2dbfecf45f9c2e86231826b5c346ed2c1aedff7e65e29a7f");
        let others = [
            ProjectionSpec { dim: 4096, ..base.clone() },
            ProjectionSpec { seed: 1, ..base.clone() },
            ProjectionSpec { per_checkpoint: true, ..base.clone() },
            ProjectionSpec { kind: ProjectionKind::Sjlt { s: 1 }, ..base.clone() },
            ProjectionSpec { kind: ProjectionKind::Mask, ..base.clone() },
            ProjectionSpec { kind: ProjectionKind::Rademacher, ..base.clone() },
            ProjectionSpec { kind: ProjectionKind::Gaussian, ..base.clone() },
            ProjectionSpec::none(),
        ];
        let mut seen = vec![base.fingerprint()];
        for other in others {
            assert!(!seen.contains(&other.fingerprint()), "{other:?}");
            seen.push(other.fingerprint());
        }
        assert_eq!(ProjectionSpec { seed: 7, dim: 9, ..ProjectionSpec::none() }.fingerprint(), "none");
    }

    #[test]
    fn bad_sizes_are_refused() {
        let spec = |kind, dim| ProjectionSpec { kind, dim, ..Default::default() };
        assert!(spec(ProjectionKind::Sjlt { s: 4 }, 10).check().is_err());
        assert!(spec(ProjectionKind::Sjlt { s: 0 }, 10).check().is_err());
        assert!(spec(ProjectionKind::Rademacher, 0).check().is_err());
        assert!(spec(ProjectionKind::Sjlt { s: 4 }, 12).check().is_ok());
        assert!("sjtl".parse::<ProjectionKind>().is_err());
    }
}
