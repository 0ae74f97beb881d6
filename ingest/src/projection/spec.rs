//! Projection specifications, their checks and their fingerprints.

use std::sync::Arc;

use gstore_store::{canonical_json, sha256_hex};
use serde_json::json;

use super::error::ProjectionError;
use super::kind::ProjectionKind;
use super::modules::{EigenBasis, EigenBlock, ModuleShape};

/// Version of the definitions: part of every fingerprint.
const VERSION: &str = "proj-v1";

/// A projection of the trainable tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectionSpec {
    /// Kind of matrix.
    pub kind: ProjectionKind,
    /// Output coordinates: of a flat kind in all, of a factored kind of each module; not used by `none`.
    pub dim: u32,
    /// Seed.
    pub seed: u64,
    /// Whether each checkpoint has its own matrix.
    pub per_checkpoint: bool,
    /// Eigenbases of the modules, of `ekfac` alone.
    pub basis: Option<Arc<EigenBasis>>,
}

impl Default for ProjectionSpec {
    fn default() -> Self {
        Self { kind: ProjectionKind::SJLT, dim: 8192, seed: 0, per_checkpoint: false, basis: None }
    }
}

impl ProjectionSpec {
    /// No projection: vectors are the concatenated tensors.
    pub fn none() -> Self {
        Self { kind: ProjectionKind::None, dim: 0, seed: 0, per_checkpoint: false, basis: None }
    }

    /// A factored kind with `dim` coordinates per module and the sides that suit them; a flat
    /// kind with `dim` in all.
    pub fn sized(kind: ProjectionKind, dim: u32) -> Self {
        Self { kind: kind.for_module_dim(dim), dim, seed: 0, per_checkpoint: false, basis: None }
    }

    /// `ekfac`: blocks of at most `dim` coordinates of these eigenbases.
    pub fn of_basis(basis: Arc<EigenBasis>, dim: u32) -> Self {
        Self { basis: Some(basis), ..Self::sized(ProjectionKind::Ekfac, dim) }
    }

    /// The eigenbasis of a module, of `ekfac`.
    pub(crate) fn block(&self, module: &ModuleShape) -> Option<&EigenBlock> {
        self.basis.as_ref().and_then(|basis| basis.of(&module.name))
    }

    /// Rows of both sides of a module; none of a vector or a flat kind.
    pub(super) fn sides(&self, module: &ModuleShape) -> Option<(usize, usize)> {
        self.block(module).map_or_else(|| module.shape.sides(self.kind), |block| Some(block.sides()))
    }

    /// Coordinates of a module of a factored kind.
    pub(super) fn module_dim(&self, module: &ModuleShape) -> u32 {
        // At most `dim`, of which it is a part.
        self.block(module).map_or(self.dim, |block| u32::try_from(block.lambda().len()).unwrap_or(self.dim))
    }

    /// SHA-256 of the canonical JSON of everything that decides an entry, as 64 hex digits;
    /// `none` without a projection.
    pub fn fingerprint(&self) -> String {
        let combine = match self.kind {
            ProjectionKind::None => return "none".to_owned(),
            ProjectionKind::Mask => "blocks",
            kind if kind.is_factored() => "blocks",
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
        if let Some((k_out, k_in)) = self.kind.sides() {
            description["sizes"] = json!({ "module_dim": self.dim, "k_out": k_out, "k_in": k_in });
        }
        if let ProjectionKind::FactMask { .. } | ProjectionKind::FactSjlt { .. } = self.kind {
            description["s"] = 1.into();
        }
        if let Some(basis) = &self.basis {
            description["sizes"] = json!({ "module_dim": self.dim });
            description["factors"] = basis.digest().into();
        }
        sha256_hex(canonical_json(&description).as_bytes())
    }

    /// Checks what can be checked without knowing the tensors.
    pub fn check(&self) -> Result<(), ProjectionError> {
        match self.kind {
            ProjectionKind::None => Ok(()),
            _ if self.dim == 0 || self.dim >= 1 << 31 => Err(ProjectionError::Dim { dim: self.dim }),
            ProjectionKind::Ekfac if self.basis.is_none() => Err(ProjectionError::NoFactors),
            ProjectionKind::Sjlt { s } if s == 0 || !self.dim.is_multiple_of(s) => {
                Err(ProjectionError::Sparsity { s, dim: self.dim })
            }
            kind => kind.sides().map_or(Ok(()), |(k_out, k_in)| self.check_sides(k_out, k_in)),
        }
    }

    fn check_sides(&self, k_out: u32, k_in: u32) -> Result<(), ProjectionError> {
        let cells = u64::from(k_out) * u64::from(k_in);
        let fits = match self.kind {
            ProjectionKind::TwoSided { .. } => cells == u64::from(self.dim),
            _ => (1..1 << 31).contains(&cells),
        };
        match fits {
            true => Ok(()),
            false => Err(ProjectionError::Sides { kind: self.kind, k_out, k_in, dim: self.dim }),
        }
    }

    /// The checkpoint that is part of the keys: none if one matrix serves all.
    pub(super) fn scope<'a>(&self, checkpoint: Option<&'a str>) -> Result<Option<&'a str>, ProjectionError> {
        match (self.per_checkpoint, checkpoint) {
            (true, None) if self.kind != ProjectionKind::None => Err(ProjectionError::NoCheckpoint),
            (per_checkpoint, checkpoint) => Ok(checkpoint.filter(|_| per_checkpoint)),
        }
    }
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
    fn fingerprints_of_factored_kinds_are_frozen() {
        let kind = |name: &str| name.parse::<ProjectionKind>().unwrap();
        let cases = [
            (
                ProjectionSpec::sized(kind("two_sided"), 1024),
                "ad4de548c3d2e3788a73d7d8959f200e22f2709df433008e0269ef436129dfcb",
            ),
            (
                ProjectionSpec::sized(kind("fact_mask"), 1024),
                "de8a258f477228605f8253c3e431c2b35c38cf38993b4a87b2aa96dd7f6f1994",
            ),
            (
                ProjectionSpec::sized(kind("fact_sjlt"), 1024),
                "4563646172e012503766de3944110d2a556bee70318bbcc9e5aa4d21e7a509f2",
            ),
        ];
        for (spec, want) in &cases {
            assert_eq!(spec.fingerprint(), *want, "{}", spec.kind);
        }
        let base = &cases[2].0;
        let others = [
            ProjectionSpec { dim: 2048, ..base.clone() },
            ProjectionSpec { seed: 1, ..base.clone() },
            ProjectionSpec { per_checkpoint: true, ..base.clone() },
            ProjectionSpec { kind: ProjectionKind::FactSjlt { k_out: 64, k_in: 32 }, ..base.clone() },
            ProjectionSpec { kind: ProjectionKind::FactSjlt { k_out: 32, k_in: 64 }, ..base.clone() },
        ];
        let mut seen: Vec<_> = cases.iter().map(|(spec, _)| spec.fingerprint()).collect();
        for other in others {
            assert!(!seen.contains(&other.fingerprint()), "{other:?}");
            seen.push(other.fingerprint());
        }
    }

    #[test]
    fn bad_sizes_are_refused() {
        let spec = |kind, dim| ProjectionSpec { kind, dim, ..Default::default() };
        assert!(spec(ProjectionKind::Sjlt { s: 4 }, 10).check().is_err());
        assert!(spec(ProjectionKind::Sjlt { s: 0 }, 10).check().is_err());
        assert!(spec(ProjectionKind::Rademacher, 0).check().is_err());
        assert!(spec(ProjectionKind::Sjlt { s: 4 }, 12).check().is_ok());
        assert!(spec(ProjectionKind::TwoSided { k_out: 3, k_in: 4 }, 12).check().is_ok());
        assert!(spec(ProjectionKind::TwoSided { k_out: 3, k_in: 4 }, 13).check().is_err());
        assert!(spec(ProjectionKind::FactSjlt { k_out: 0, k_in: 4 }, 12).check().is_err());
        assert!(spec(ProjectionKind::FactMask { k_out: 1 << 16, k_in: 1 << 16 }, 12).check().is_err());
        assert!(spec(ProjectionKind::FactMask { k_out: 3, k_in: 4 }, 0).check().is_err());
        assert!("sjtl".parse::<ProjectionKind>().is_err());
    }
}
