//! The head: logits of a chunk of rows at a time, their losses and the gradient.
//!
//! Invariants
//! - logits exist for at most [`HEAD_ROWS`] rows (twice that for a divergence), so that they stay in
//!   the second-level cache
//! - a row's loss and gradient do not depend on the chunk it falls into

use std::ops::Range;

use super::Cpu;
use super::gemm::Addend;
use super::linear::CpuLinear;
use super::math::{dot, exp, exp_sum, max, soft_cap, sum3};
use super::pool::Buffer;
use super::tensor::CpuTensor;
use crate::backend::{BackendError, HEAD_ROWS, HeadOutput, HeadTap, HeadTask, Objective};

impl Cpu {
    pub(super) fn head_losses(
        &self,
        layer: &CpuLinear,
        x: &CpuTensor,
        task: &HeadTask<'_, CpuTensor>,
        mut tap: Option<HeadTap<'_, CpuTensor>>,
    ) -> Result<HeadOutput<CpuTensor>, BackendError> {
        let rows = x.rows();
        let (vocab, width) = (layer.out, layer.input);
        self.check_packed_form(layer)?;
        x.expect(rows, width, "inputs of the head")?;
        task.check(x.size(), vocab, CpuTensor::size)?;
        let (mut losses, mut entropies) = (vec![0.0; rows], Vec::new());
        let mut grad = task.weights.map(|_| CpuTensor::unspecified(rows, width));
        for start in (0..rows).step_by(HEAD_ROWS) {
            let chunk = start..rows.min(start + HEAD_ROWS);
            let n = chunk.len();
            let inputs = &x.values()[start * width..chunk.end * width];
            let mut logits = CpuTensor::unspecified(n, vocab);
            let z = logits.values_mut();
            self.logits(layer, inputs, task.softcap, z);
            if task.entropies {
                // Before the losses, which leave other values in place of the logits.
                entropies.extend(z.chunks_exact(vocab).map(|z| self.entropy(z)));
            }
            self.chunk_losses(layer, task, &chunk, z, &mut losses[chunk.clone()]);
            if let Some(grad) = &mut grad {
                let to = &mut grad.values_mut()[start * width..chunk.end * width];
                self.backward_rows(layer, z, n, to, Addend::Nothing);
                if let Some(tap) = &mut tap {
                    tap(chunk, &CpuTensor::from_values(inputs, n, width)?, &logits)?;
                }
            }
        }
        Ok(HeadOutput { losses, entropies, grad })
    }

    /// Losses of a chunk of rows by their logits `z`, which become the gradients of the uncapped logits
    /// if the rows have weights.
    fn chunk_losses(
        &self,
        layer: &CpuLinear,
        task: &HeadTask<'_, CpuTensor>,
        chunk: &Range<usize>,
        z: &mut [f32],
        losses: &mut [f32],
    ) {
        let (vocab, width, cap) = (layer.out, layer.input, task.softcap);
        // The logits of the other model, where there is one.
        let mut others = match &task.objective {
            Objective::Kl { reference } => {
                let mut others = Buffer::take(z.len());
                let inputs = &reference.values()[chunk.start * width..chunk.end * width];
                self.logits(layer, inputs, cap, &mut others);
                others
            }
            _ => Buffer::take(0),
        };
        for ((row, z), loss) in chunk.clone().zip(z.chunks_exact_mut(vocab)).zip(losses) {
            let weight = task.weights.map(|weights| weights[row]);
            let target = || task.targets[row] as usize;
            *loss = match &task.objective {
                Objective::CrossEntropy { smoothing } => {
                    self.cross_entropy(z, target(), *smoothing, weight, cap)
                }
                Objective::Margin => self.margin(z, target(), weight, cap),
                Objective::Kl { .. } => {
                    let other = &mut others[(row - chunk.start) * vocab..][..vocab];
                    self.divergence(z, other, weight, cap)
                }
                Objective::Perturbed { start, factors } => {
                    let from = &start.values()[row * vocab..][..vocab];
                    let row = PerturbedLoss { target: target(), factors: factors[row], weight };
                    self.perturbed(z, from, row, cap)
                }
                Objective::GaussNewton { tangent } => {
                    self.gauss_newton(z, &tangent.values()[row * vocab..][..vocab], weight, cap)
                }
            };
        }
    }

    /// Logits of rows whose sizes have been checked.
    fn logits(&self, layer: &CpuLinear, x: &[f32], cap: Option<f32>, to: &mut [f32]) {
        self.forward_rows(layer, x, x.len() / layer.input, to, Addend::Nothing);
        if let Some(cap) = cap {
            vectorised!(self.kernels.simd, soft_cap(to, cap));
        }
    }

    /// Loss of a row of logits; turns them into the gradient of the uncapped ones if a weight is given.
    fn cross_entropy(
        &self,
        z: &mut [f32],
        target: usize,
        smoothing: f32,
        weight: Option<f32>,
        cap: Option<f32>,
    ) -> f32 {
        let uniform = smoothing / z.len() as f32;
        vectorised!(self.kernels.simd, {
            let largest = max(z);
            let at_target = z[target] - largest;
            let mean = if smoothing == 0.0 { 0.0 } else { uniform * sum3(z, z, z, |z, _, _| z - largest) };
            // The factor of the cap comes from the logits, which the probabilities
            // replace unless there is a cap.
            let kept = cap.map(|_| Buffer::copy_of(z));
            let total = exp_sum(z, largest);
            let loss = total.ln() - (1.0 - smoothing) * at_target - mean;
            if let Some(weight) = weight {
                let (scale, level) = (weight / total, weight * uniform);
                for v in z.iter_mut() {
                    *v = *v * scale - level;
                }
                z[target] -= weight * (1.0 - smoothing);
                uncap(z, kept.as_deref(), cap);
            }
            loss
        })
    }

    /// Minus the margin of the target's logit over the log-sum of all others, of which there are some; turns
    /// the logits into the gradient of the uncapped ones if a weight is given.
    ///
    /// Not by way of p: near 1 nothing would be left of 1 - p.
    fn margin(&self, z: &mut [f32], target: usize, weight: Option<f32>, cap: Option<f32>) -> f32 {
        let other = usize::from(target == 0);
        vectorised!(self.kernels.simd, {
            let kept = cap.and(weight).map(|_| Buffer::copy_of(z));
            let at_target = z[target];
            // Another's logit in its place, which is then taken out of the sum again.
            z[target] = z[other];
            let largest = max(z);
            let total = exp_sum(z, largest) - z[other];
            if let Some(weight) = weight {
                let scale = weight / total;
                z.iter_mut().for_each(|v| *v *= scale);
                z[target] = -weight;
                uncap(z, kept.as_deref(), cap);
            }
            (largest + total.ln()) - at_target
        })
    }

    /// Entropy of the distribution of a row of logits.
    fn entropy(&self, z: &[f32]) -> f32 {
        vectorised!(self.kernels.simd, {
            let largest = max(z);
            // Apart from the largest logits: beside their 1, most digits of what the others add are lost.
            let others = sum3(z, z, z, |z, _, _| if z < largest { exp(z - largest) } else { 0.0 });
            let equal = sum3(z, z, z, |z, _, _| if z < largest { 0.0 } else { 1.0 });
            // Of the logits below the largest: the log-sum less this is the entropy.
            let mean = (1.0 / (equal + others)) * sum3(z, z, z, |z, _, _| exp(z - largest) * (z - largest));
            (others + (equal - 1.0)).ln_1p() - mean
        })
    }

    /// `KL(p || q)` of two rows of logits; turns the first into the gradient of the uncapped
    /// ones if a weight is given.
    fn divergence(&self, z: &mut [f32], other: &mut [f32], weight: Option<f32>, cap: Option<f32>) -> f32 {
        vectorised!(self.kernels.simd, {
            let (largest, other_largest) = (max(z), max(other));
            let total = sum3(z, z, z, |z, _, _| exp(z - largest));
            let other_total = sum3(other, other, other, |z, _, _| exp(z - other_largest));
            let (log_sum, inverse) = (largest + total.ln(), 1.0 / total);
            let other_log_sum = other_largest + other_total.ln();
            // `other` becomes log p - log q.
            for (other, z) in other.iter_mut().zip(z.iter()) {
                *other = (z - log_sum) - (*other - other_log_sum);
            }
            let loss = inverse * sum3(z, other, other, |z, ratio, _| exp(z - largest) * ratio);
            if let Some(weight) = weight {
                let kept = cap.map(|_| Buffer::copy_of(z));
                for (z, ratio) in z.iter_mut().zip(other.iter()) {
                    *z = weight * (exp(*z - largest) * inverse) * (ratio - loss);
                }
                uncap(z, kept.as_deref(), cap);
            }
            loss
        })
    }

    /// The perturbed objective of a row of logits that began at `from`; turns them into the gradient of the
    /// uncapped ones if a weight is given.
    ///
    /// Losses are compared through their log-sums, so that what differs little is not lost in their level: at
    /// `from` itself the value is exactly zero.
    fn perturbed(&self, z: &mut [f32], from: &[f32], row: PerturbedLoss, cap: Option<f32>) -> f32 {
        let PerturbedLoss { target, factors: [change, linear], weight } = row;
        vectorised!(self.kernels.simd, {
            let (largest, from_largest) = (max(z), max(from));
            let total = sum3(z, z, z, |z, _, _| exp(z - largest));
            let from_total = sum3(from, from, from, |z, _, _| exp(z - from_largest));
            let (inverse, from_inverse) = (1.0 / total, 1.0 / from_total);
            let at_target = z[target] - from[target];
            let risen = (largest - from_largest) + (total / from_total).ln() - at_target;
            let mean = from_inverse * sum3(z, from, from, |z, from, _| exp(from - from_largest) * (z - from));
            if let Some(weight) = weight {
                let kept = cap.map(|_| Buffer::copy_of(z));
                let (change, linear) = (weight * change, weight * linear);
                let (scale, from_scale) = (change * inverse, linear * from_inverse);
                for (z, from) in z.iter_mut().zip(from) {
                    *z = exp(*z - largest) * scale - exp(from - from_largest) * from_scale;
                }
                z[target] -= change - linear;
                uncap(z, kept.as_deref(), cap);
            }
            change * risen - linear * (mean - at_target)
        })
    }

    /// Half the curvature of the cross-entropy along a tangent of a row of logits before the cap; turns the
    /// logits into the product of the tangent with the curvature, before the cap as well, if a weight is
    /// given.
    fn gauss_newton(&self, z: &mut [f32], tangent: &[f32], weight: Option<f32>, cap: Option<f32>) -> f32 {
        vectorised!(self.kernels.simd, {
            let mut moved = Buffer::copy_of(tangent);
            // The slopes of the cap are a diagonal matrix: tangents and gradients take the same factors.
            uncap(&mut moved, Some(&*z), cap);
            let kept = cap.map(|_| Buffer::copy_of(z));
            let largest = max(z);
            let inverse = 1.0 / exp_sum(z, largest);
            let mean = inverse * dot(z, &moved);
            // Centred before it is squared: what all logits have in common cancels there without loss.
            let square = sum3(z, &moved, &moved, |z, t, _| z * (t - mean) * (t - mean));
            if let Some(weight) = weight {
                let scale = weight * inverse;
                for (z, t) in z.iter_mut().zip(moved.iter()) {
                    *z *= scale * (t - mean);
                }
                uncap(z, kept.as_deref(), cap);
            }
            0.5 * inverse * square
        })
    }
}

/// One row of the perturbed objective.
struct PerturbedLoss {
    target: usize,
    factors: [f32; 2],
    weight: Option<f32>,
}

/// Turns the gradient of capped values into that of the values before the cap, if there is one.
#[inline(always)]
fn uncap(grad: &mut [f32], capped: Option<&[f32]>, cap: Option<f32>) {
    let (Some(capped), Some(cap)) = (capped, cap) else { return };
    let inverse = 1.0 / cap;
    for (grad, capped) in grad.iter_mut().zip(capped) {
        let share = capped * inverse;
        *grad *= 1.0 - share * share;
    }
}
