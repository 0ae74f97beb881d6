//! Cross-entropy of rows of logits.

use super::simd::{exp_sum, max, vectorized};

/// Turns each row of logits into the gradient of its weighted loss if `weights` are given (else leaves it undefined); appends the rows'
/// losses.
pub(super) fn cross_entropy(
    logits: &mut [f32],
    vocab: usize,
    targets: &[u32],
    weights: Option<&[f32]>,
    losses: &mut Vec<f32>,
) {
    vectorized(
        #[inline(always)]
        || {
            for (i, (row, target)) in logits.chunks_exact_mut(vocab).zip(targets).enumerate() {
                let target = *target as usize;
                let largest = max(row);
                let at_target = row[target];
                let sum = exp_sum(row, largest);
                losses.push(sum.ln() + (largest - at_target));
                if let Some(weights) = weights {
                    let scale = weights[i] / sum;
                    for v in row.iter_mut() {
                        *v *= scale;
                    }
                    row[target] -= weights[i];
                }
            }
        },
    );
}
