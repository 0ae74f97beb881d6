//! Stored values as numbers: widening, scales, norms, directions.

use std::ops::Range;

use gstore_store::FeaturePart;
use half::f16;

/// Lengths are taken as at least this, as in LESS, so that a zero vector has similarity 0 with everything.
pub(crate) const MIN_NORM: f64 = 1e-12;

/// Coordinates of the module groups of a feature.
pub(crate) fn groups(part: &FeaturePart) -> Vec<Range<usize>> {
    part.attrs.groups.iter().map(|g| g.start as usize..g.start as usize + g.len as usize).collect()
}

/// L2 norm of a whole vector from the norms of its groups, each square weighted.
pub(crate) fn norm(groups: &[f32], weights: &[f64]) -> f64 {
    match (groups, weights) {
        ([only], [1.0]) => f64::from(*only),
        _ => groups.iter().zip(weights).map(|(&n, w)| w * f64::from(n) * f64::from(n)).sum::<f64>().sqrt(),
    }
}

/// Why a vector has no direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoDirection {
    /// Its length is below [`MIN_NORM`].
    Zero,
    /// It is not finite.
    NotFinite,
}

/// The vector of length 1 in f16.
pub(crate) fn unit(vector: &[f32]) -> Result<impl Iterator<Item = f16> + '_, NoDirection> {
    // Squares of f32 do not overflow in f64, nor do those of the smallest vanish.
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if length < MIN_NORM {
        return Err(NoDirection::Zero);
    }
    if !length.is_finite() {
        return Err(NoDirection::NotFinite);
    }
    Ok(vector.iter().map(move |x| f16::from_f64(f64::from(*x) / length)))
}
