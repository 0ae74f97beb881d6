//! The kinds of projection and the sizes that belong to them.

use std::fmt;

/// Non-zeros per column of `sjlt` unless asked otherwise.
const DEFAULT_S: u32 = 4;

/// Coordinates of each module of a factored kind unless asked otherwise.
pub const DEFAULT_MODULE_DIM: u32 = 1024;

/// The sides of a sparse factored kind are rounded up to a multiple of this, a row of 256-bit registers.
const SIDE_MULTIPLE: u32 = 8;

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
    /// Dense signs on each side of a module's gradient.
    TwoSided {
        /// Rows of the output side.
        k_out: u32,
        /// Rows of the input side; `k_out * k_in` is the dimension of a module.
        k_in: u32,
    },
    /// One coordinate of each stratum of each side of a module's gradient, then sparse signs.
    FactMask {
        /// Strata of the output side, of a smaller side all its coordinates.
        k_out: u32,
        /// Strata of the input side, of a smaller side all its coordinates.
        k_in: u32,
    },
    /// Sparse signs on each side of a module's gradient, then sparse signs.
    FactSjlt {
        /// Rows of the output side.
        k_out: u32,
        /// Rows of the input side.
        k_in: u32,
    },
    /// Part of the eigenbasis of the factors of a module's curvature, whitened; modules have their own sides.
    Ekfac,
}

impl ProjectionKind {
    /// Sparse signs as they are by default.
    pub const SJLT: Self = Self::Sjlt { s: DEFAULT_S };

    /// The kinds that a name alone describes, with no sides yet.
    pub(super) const NAMED: [Self; 8] = [
        Self::SJLT,
        Self::Rademacher,
        Self::Gaussian,
        Self::Mask,
        Self::None,
        Self::FactSjlt { k_out: 0, k_in: 0 },
        Self::FactMask { k_out: 0, k_in: 0 },
        Self::TwoSided { k_out: 0, k_in: 0 },
    ];

    /// The name that keys, fingerprints and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            ProjectionKind::None => "none",
            ProjectionKind::Sjlt { .. } => "sjlt",
            ProjectionKind::Rademacher => "rademacher",
            ProjectionKind::Gaussian => "gaussian",
            ProjectionKind::Mask => "mask",
            ProjectionKind::TwoSided { .. } => "two_sided",
            ProjectionKind::FactMask { .. } => "fact_mask",
            ProjectionKind::FactSjlt { .. } => "fact_sjlt",
            ProjectionKind::Ekfac => "ekfac",
        }
    }

    /// Rows of the output and of the input side of a factored kind, before a mask is cut to a smaller module;
    /// none of a kind whose modules have their own.
    pub fn sides(self) -> Option<(u32, u32)> {
        match self {
            ProjectionKind::TwoSided { k_out, k_in }
            | ProjectionKind::FactMask { k_out, k_in }
            | ProjectionKind::FactSjlt { k_out, k_in } => Some((k_out, k_in)),
            _ => None,
        }
    }

    /// Whether it projects each module by itself and needs no more than the factors of its gradient.
    pub fn is_factored(self) -> bool {
        self.sides().is_some() || self == ProjectionKind::Ekfac
    }

    /// The same kind with the sides that suit `dim` coordinates per module; a flat kind as it is.
    ///
    /// `fact_mask`, `fact_sjlt`: both sides `2 sqrt(dim)`, rounded up to a multiple of 8. `two_sided`:
    /// the two factors of `dim` nearest to each other, the output side the smaller; choose a square,
    /// such as 1024 = 32 x 32.
    pub(crate) fn for_module_dim(self, dim: u32) -> Self {
        match self {
            ProjectionKind::TwoSided { .. } => {
                let k_out = (1..=dim.isqrt()).rev().find(|k| dim.is_multiple_of(*k)).unwrap_or(1);
                ProjectionKind::TwoSided { k_out, k_in: dim / k_out }
            }
            ProjectionKind::FactMask { .. } => {
                let k = fact_side(dim);
                ProjectionKind::FactMask { k_out: k, k_in: k }
            }
            ProjectionKind::FactSjlt { .. } => {
                let k = fact_side(dim);
                ProjectionKind::FactSjlt { k_out: k, k_in: k }
            }
            flat => flat,
        }
    }
}

/// The least multiple of [`SIDE_MULTIPLE`] that is at least `2 sqrt(dim)`.
fn fact_side(dim: u32) -> u32 {
    let square = 4 * u64::from(dim);
    let root = square.isqrt() + u64::from(square.isqrt().pow(2) < square);
    (root as u32).next_multiple_of(SIDE_MULTIPLE)
}

impl fmt::Display for ProjectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_that_suit_a_dimension() {
        let sides = |name: &str, dim| name.parse::<ProjectionKind>().unwrap().for_module_dim(dim).sides();
        for name in ["fact_mask", "fact_sjlt"] {
            assert_eq!(sides(name, 1024), Some((64, 64)));
            assert_eq!(sides(name, 4096), Some((128, 128)));
            assert_eq!(sides(name, 2048), Some((96, 96)));
            assert_eq!(sides(name, 1025), Some((72, 72)));
            assert_eq!(sides(name, 1), Some((8, 8)));
        }
        assert_eq!(sides("two_sided", 1024), Some((32, 32)));
        assert_eq!(sides("two_sided", 512), Some((16, 32)));
        assert_eq!(sides("two_sided", 7), Some((1, 7)));
        assert_eq!(sides("sjlt", 7), None);
    }
}
