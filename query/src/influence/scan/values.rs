//! Stored values as numbers: widening, scales, norms.

use std::ops::Range;

use gstore_store::{Block, FeaturePart, Values};

use crate::kernel::rows_of;

/// Lengths are taken as at least this, as in LESS, so that a zero vector has similarity 0 with everything.
pub(crate) const MIN_NORM: f64 = 1e-12;

/// Coordinates of the module groups of a feature.
pub(crate) fn groups(part: &FeaturePart) -> Vec<Range<usize>> {
    part.attrs.groups.iter().map(|g| g.start as usize..g.start as usize + g.len as usize).collect()
}

/// The vector of row `i` of a block, with its scales applied. Powers of two and ones (f16, f32) apply
/// exactly.
pub(crate) fn vector(block: &Block<'_>, i: usize, groups: &[Range<usize>], out: &mut [f32]) {
    match rows_of(block.values, out.len(), i..i + 1) {
        Values::F16(v) => v.iter().zip(out.iter_mut()).for_each(|(x, out)| *out = x.to_f32()),
        Values::F32(v) => out.copy_from_slice(v),
        Values::I8(v) => v.iter().zip(out.iter_mut()).for_each(|(x, out)| *out = f32::from(*x)),
    }
    for (group, scale) in groups.iter().zip(&block.scale[i * groups.len()..]) {
        out[group.clone()].iter_mut().for_each(|x| *x *= scale);
    }
}

/// L2 norm of a whole vector from the norms of its groups, each square weighted.
pub(crate) fn norm(groups: &[f32], weights: &[f64]) -> f64 {
    match (groups, weights) {
        ([only], [1.0]) => f64::from(*only),
        _ => groups.iter().zip(weights).map(|(&n, w)| w * f64::from(n) * f64::from(n)).sum::<f64>().sqrt(),
    }
}
