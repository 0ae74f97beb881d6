//! `none`: the concatenated tensors themselves.

/// Adds a slice of the vector at its place.
pub(super) fn add(offset: usize, values: &[f32], totals: &mut [f64]) {
    for (total, value) in totals[offset..].iter_mut().zip(values) {
        *total += f64::from(*value);
    }
}
