//! The loss of one row of logits. If its weight is given the row becomes the gradient of the weighted loss, else it is left undefined.

use super::simd::{dot, exp, exp_sum, max, sum, sum_of};

/// Cross-entropy against `(1 - smoothing) * onehot(target) + smoothing / vocab`.
#[inline(always)]
pub(super) fn cross_entropy(row: &mut [f32], target: usize, smoothing: f32, weight: Option<f32>) -> f32 {
    let largest = max(row);
    let uniform = smoothing / row.len() as f32;
    let mut gap = (1.0 - smoothing) * (largest - row[target]);
    if smoothing != 0.0 {
        gap -= uniform * sum(row, largest);
    }
    let total = exp_sum(row, largest);
    if let Some(weight) = weight {
        let scale = weight / total;
        let level = weight * uniform;
        for v in row.iter_mut() {
            *v = *v * scale - level;
        }
        row[target] -= weight * (1.0 - smoothing);
    }
    total.ln() + gap
}

/// `KL(p || q)` of the distributions of `row` and of `reference`, which is overwritten.
#[inline(always)]
pub(super) fn divergence(row: &mut [f32], reference: &mut [f32], weight: Option<f32>) -> f32 {
    let (largest, largest_reference) = (max(row), max(reference));
    let total = sum_of(
        row,
        #[inline(always)]
        |z| exp(z - largest),
    );
    let total_reference = sum_of(
        reference,
        #[inline(always)]
        |z| exp(z - largest_reference),
    );
    let offset = total.ln() - total_reference.ln();
    for (z, reference) in row.iter_mut().zip(reference.iter_mut()) {
        let shifted = *z - largest;
        *reference = shifted - (*reference - largest_reference) - offset;
        *z = exp(shifted) / total;
    }
    let loss = dot(row, reference);
    if let Some(weight) = weight {
        for (p, log_ratio) in row.iter_mut().zip(reference) {
            *p *= weight * (*log_ratio - loss);
        }
    }
    loss
}
