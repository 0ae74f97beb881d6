//! RMS and layer norms, of whole rows or of groups as wide as the weight.
//!
//! Statistics of a row: `r` of each group; of a layer norm, then the mean of each group.

use std::ops::Range;

use super::Cpu;
use super::factors::check_samples;
use super::math::{dot, sum, sum3};
use super::pool::Buffer;
use super::rows::add_to;
use super::sample_rows::CpuRows;
use super::tensor::CpuTensor;
use crate::backend::{BackendError, NormFactors, NormForm, NormKind, NormWeights};

/// The mean that group `g` of `groups` was shifted by.
#[inline(always)]
fn mean_of(form: NormForm, stats: &[f32], g: usize, groups: usize) -> f32 {
    match form.kind {
        NormKind::Rms => 0.0,
        NormKind::Layer => stats[groups + g],
    }
}

impl Cpu {
    pub(super) fn norm_forward(
        &self,
        x: &CpuTensor,
        weights: &NormWeights<CpuTensor>,
        form: NormForm,
    ) -> Result<(CpuTensor, CpuTensor), BackendError> {
        let width = weights.weight.cols();
        weights.weight.expect(1, width, "weight of a norm")?;
        if let Some(bias) = &weights.bias {
            bias.expect(1, width, "bias of a norm")?;
        }
        let groups = form.groups(x.cols(), width)?;
        let kept = form.stat_columns(groups);
        let mut out = CpuTensor::unspecified(x.rows(), x.cols());
        let mut stats = CpuTensor::unspecified(x.rows(), kept);
        let (to, stats_to) = (out.values_mut(), stats.values_mut());
        let (weight, bias) = (weights.weight.values(), weights.bias.as_ref().map(CpuTensor::values));
        vectorised!(self.kernels.simd, {
            let rows = x.values().chunks_exact(groups * width).zip(to.chunks_exact_mut(groups * width));
            for ((x, to), stats) in rows.zip(stats_to.chunks_exact_mut(kept)) {
                let pairs = x.chunks_exact(width).zip(to.chunks_exact_mut(width));
                for (g, (x, to)) in pairs.enumerate() {
                    let mean = match form.kind {
                        NormKind::Rms => 0.0,
                        NormKind::Layer => sum(x) / width as f32,
                    };
                    for (to, x) in to.iter_mut().zip(x) {
                        *to = x - mean;
                    }
                    let r = (dot(to, to) / width as f32 + form.eps).sqrt().recip();
                    for (to, w) in to.iter_mut().zip(weight) {
                        *to = *to * r * w;
                    }
                    if let Some(bias) = bias {
                        add_to(to, bias);
                    }
                    stats[g] = r;
                    if form.kind == NormKind::Layer {
                        stats[groups + g] = mean;
                    }
                }
            }
        });
        Ok((out, stats))
    }

    pub(super) fn norm_gradient(
        &self,
        &NormFactors { grad, x, stats, form }: &NormFactors<'_, CpuTensor>,
        weights: &NormWeights<CpuTensor>,
        acc: Option<CpuTensor>,
    ) -> Result<CpuTensor, BackendError> {
        let (rows, cols) = x.size();
        let width = weights.weight.cols();
        weights.weight.expect(1, width, "weight of a norm")?;
        let groups = form.groups(x.cols(), width)?;
        let kept = form.stat_columns(groups);
        grad.expect(rows, cols, "gradient of a norm")?;
        stats.expect(rows, kept, "statistics of a norm")?;
        if let Some(acc) = &acc {
            acc.expect(rows, cols, "sum of a norm's gradients")?;
        }
        let mut out = acc.unwrap_or_else(|| CpuTensor::zeros(rows, cols));
        let to = out.values_mut();
        let weight = weights.weight.values();
        vectorised!(self.kernels.simd, {
            let rows = grad.values().chunks_exact(cols).zip(x.values().chunks_exact(cols));
            let rows = rows.zip(stats.values().chunks_exact(kept)).zip(to.chunks_exact_mut(cols));
            for (((grad, x), stats), to) in rows {
                let parts = grad.chunks_exact(width).zip(x.chunks_exact(width));
                for (g, ((grad, x), to)) in parts.zip(to.chunks_exact_mut(width)).enumerate() {
                    let (r, mean) = (stats[g], mean_of(form, stats, g, groups));
                    // With h = (x - mean) r and d = grad * weight: r (d - mean(d) - h mean(d h)), the
                    // mean of d for layer norms only.
                    let along = sum3(grad, weight, x, |d, w, x| d * w * (x - mean));
                    let along = along * r * r / width as f32;
                    let level = match form.kind {
                        NormKind::Rms => 0.0,
                        NormKind::Layer => dot(grad, weight) / width as f32,
                    };
                    for (((to, d), x), w) in to.iter_mut().zip(grad).zip(x).zip(weight) {
                        *to += r * (d * w - level - (x - mean) * along);
                    }
                }
            }
        });
        Ok(out)
    }

    pub(super) fn norm_weight_grads(
        &self,
        &NormFactors { grad, x, stats, form }: &NormFactors<'_, CpuTensor>,
        width: usize,
        spans: &[Range<usize>],
        out: &mut CpuRows,
        [offset, bias_offset]: [Option<usize>; 2],
    ) -> Result<(), BackendError> {
        let (rows, cols) = x.size();
        let groups = form.groups(x.cols(), width)?;
        let kept = form.stat_columns(groups);
        grad.expect(rows, cols, "gradient of a norm")?;
        stats.expect(rows, kept, "statistics of a norm")?;
        for offset in offset.iter().chain(&bias_offset) {
            check_samples(spans, rows, out, *offset, width)?;
        }
        let mut sums = Buffer::take(2 * width);
        let (weight_sum, bias_sum) = sums.split_at_mut(width);
        for (sample, span) in spans.iter().enumerate() {
            weight_sum.fill(0.0);
            bias_sum.fill(0.0);
            let part = span.start * cols..span.end * cols;
            let (grad, x) = (&grad.values()[part.clone()], &x.values()[part]);
            let stats = &stats.values()[span.start * kept..span.end * kept];
            vectorised!(self.kernels.simd, {
                let rows = grad.chunks_exact(cols).zip(x.chunks_exact(cols));
                for ((grad, x), stats) in rows.zip(stats.chunks_exact(kept)) {
                    let parts = grad.chunks_exact(width).zip(x.chunks_exact(width));
                    for (g, (grad, x)) in parts.enumerate() {
                        let (r, mean) = (stats[g], mean_of(form, stats, g, groups));
                        for ((sum, d), x) in weight_sum.iter_mut().zip(grad).zip(x) {
                            *sum += d * ((x - mean) * r);
                        }
                        add_to(bias_sum, grad);
                    }
                }
            });
            if let Some(offset) = offset {
                add_to(out.part(sample, offset, width), weight_sum);
            }
            if let Some(offset) = bias_offset {
                add_to(out.part(sample, offset, width), bias_sum);
            }
        }
        Ok(())
    }
}
