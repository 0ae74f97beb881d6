//! Norms, forward and backward, as fused loops over rows.
//!
//! Both kinds are one formula: an RMS norm is a layer norm whose mean is taken to be zero.

use std::ops::Range;

use candle_core::Tensor;

use super::super::backend::{BackendError, NormForm, NormKind, NormWeights, SampleRows};
use super::rows::add_to;
use super::simd::{dot, dot3, squares, sum, vectorized};
use super::sizes::{check, check_part, check_samples, check_spans, size};
use super::slices::{tensor, update, view};

/// How the rows of an input fall into groups of the weight's width.
#[derive(Clone, Copy)]
struct Groups {
    rows: usize,
    cols: usize,
    width: usize,
    /// Groups of a row.
    count: usize,
    kind: NormKind,
}

impl Groups {
    fn new(x: &Tensor, width: usize, kind: NormKind) -> Result<Groups, BackendError> {
        let (rows, cols) = size(x)?;
        check(width > 0 && cols > 0 && cols % width == 0, "a norm")?;
        Ok(Groups { rows, cols, width, count: cols / width, kind })
    }

    fn of_weights(x: &Tensor, weights: &NormWeights<Tensor>, kind: NormKind) -> Result<Groups, BackendError> {
        let (rows, width) = size(&weights.weight)?;
        check(rows == 1, "a norm's weight")?;
        if let Some(bias) = &weights.bias {
            check(size(bias)? == (1, width), "a norm's bias")?;
        }
        Groups::new(x, width, kind)
    }

    fn stat_cols(self) -> usize {
        match self.kind {
            NormKind::Rms => self.count,
            NormKind::Layer => 2 * self.count,
        }
    }

    fn check(self, grad: &Tensor, stats: &Tensor) -> Result<(), BackendError> {
        let same = size(grad)? == (self.rows, self.cols) && size(stats)? == (self.rows, self.stat_cols());
        check(same, "a norm's gradient")
    }

    /// Calls `f` with the values of each group and its `r` and mean.
    #[inline(always)]
    fn each(self, rows: Range<usize>, stats: &[f32], mut f: impl FnMut(Range<usize>, f32, f32)) {
        for row in rows {
            let stats = &stats[row * self.stat_cols()..][..self.stat_cols()];
            for group in 0..self.count {
                let start = row * self.cols + group * self.width;
                let mean = if self.kind == NormKind::Layer { stats[self.count + group] } else { 0.0 };
                f(start..start + self.width, stats[group], mean);
            }
        }
    }
}

pub(super) fn forward(
    x: &Tensor,
    weights: &NormWeights<Tensor>,
    form: NormForm,
) -> Result<(Tensor, Tensor), BackendError> {
    let groups = Groups::of_weights(x, weights, form.kind)?;
    let (x, weight) = (view(x)?, view(&weights.weight)?);
    let bias = weights.bias.as_ref().map(view).transpose()?;
    let mut out = vec![0.0; groups.rows * groups.cols];
    let mut stats = vec![0.0; groups.rows * groups.stat_cols()];
    vectorized(
        #[inline(always)]
        || {
            for row in 0..groups.rows {
                let at = row * groups.cols..(row + 1) * groups.cols;
                let stats_at = row * groups.stat_cols()..(row + 1) * groups.stat_cols();
                measure(&x[at], groups, form.eps, &mut stats[stats_at]);
                groups.each(
                    row..row + 1,
                    &stats,
                    #[inline(always)]
                    |at, r, mean| {
                        let out = &mut out[at.clone()];
                        for ((out, x), w) in out.iter_mut().zip(&x[at]).zip(&*weight) {
                            *out = (x - mean) * r * w;
                        }
                        if let Some(bias) = &bias {
                            add_to(out, bias);
                        }
                    },
                );
            }
        },
    );
    Ok((tensor(out, groups.rows, groups.cols)?, tensor(stats, groups.rows, groups.stat_cols())?))
}

/// Writes the stats of one row.
#[inline(always)]
fn measure(row: &[f32], groups: Groups, eps: f32, stats: &mut [f32]) {
    let n = groups.width as f32;
    for (group, x) in row.chunks_exact(groups.width).enumerate() {
        let mut mean = 0.0;
        if groups.kind == NormKind::Layer {
            mean = sum(x, 0.0) / n;
            // What rounding left over.
            mean += sum(x, mean) / n;
            stats[groups.count + group] = mean;
        }
        stats[group] = (squares(x, mean) / n + eps).sqrt().recip();
    }
}

/// With `u = x - mean`: adds `r (grad w) - u r^3 mean(grad w u)` to `acc`, and of a layer norm `- r mean(grad w)`.
pub(super) fn backward(
    grad: &Tensor,
    x: &Tensor,
    stats: &Tensor,
    weights: &NormWeights<Tensor>,
    form: NormForm,
    acc: Option<Tensor>,
) -> Result<Tensor, BackendError> {
    let groups = Groups::of_weights(x, weights, form.kind)?;
    groups.check(grad, stats)?;
    let acc = match acc {
        Some(acc) => acc,
        None => tensor(vec![0.0; groups.rows * groups.cols], groups.rows, groups.cols)?,
    };
    check(size(&acc)? == (groups.rows, groups.cols), "an accumulated gradient")?;
    let (grad, x, stats, weight) = (view(grad)?, view(x)?, view(stats)?, view(&weights.weight)?);
    let n = groups.width as f32;
    update(&acc, |acc| {
        vectorized(
            #[inline(always)]
            || {
                groups.each(
                    0..groups.rows,
                    &stats,
                    #[inline(always)]
                    |at, r, mean| {
                        let (grad, x) = (&grad[at.clone()], &x[at.clone()]);
                        let along = r * r * r / n * dot3(grad, &weight, x, mean);
                        let layer = groups.kind == NormKind::Layer;
                        let shift = if layer { r / n * dot(grad, &weight) } else { 0.0 };
                        for (((acc, grad), x), w) in acc[at].iter_mut().zip(grad).zip(x).zip(&*weight) {
                            *acc += r * (grad * w) - (x - mean) * along - shift;
                        }
                    },
                );
            },
        );
    })?;
    Ok(acc)
}

#[allow(clippy::too_many_arguments)]
pub(super) fn grads(
    grad: &Tensor,
    x: &Tensor,
    stats: &Tensor,
    width: usize,
    form: NormForm,
    spans: &[Range<usize>],
    out: &mut SampleRows<'_>,
    offset: Option<usize>,
    bias_offset: Option<usize>,
) -> Result<(), BackendError> {
    let groups = Groups::new(x, width, form.kind)?;
    groups.check(grad, stats)?;
    check_spans(groups.rows, spans)?;
    check_samples(spans.len(), out)?;
    for offset in offset.iter().chain(&bias_offset) {
        check_part(out, *offset, 1, width)?;
    }
    let (grad, x, stats) = (view(grad)?, view(x)?, view(stats)?);
    for (sample, span) in spans.iter().enumerate() {
        if let Some(offset) = offset {
            let sums = out.part(sample, offset, width);
            vectorized(
                #[inline(always)]
                || {
                    groups.each(
                        span.clone(),
                        &stats,
                        #[inline(always)]
                        |at, r, mean| {
                            for ((sum, grad), x) in sums.iter_mut().zip(&grad[at.clone()]).zip(&x[at]) {
                                *sum += grad * ((x - mean) * r);
                            }
                        },
                    );
                },
            );
        }
        if let Some(offset) = bias_offset {
            let sums = out.part(sample, offset, width);
            groups.each(span.clone(), &stats, |at, _, _| {
                add_to(sums, &grad[at]);
            });
        }
    }
    Ok(())
}
