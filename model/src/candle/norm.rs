//! Norms, forward and backward. An RMS norm is a layer norm whose mean is taken to be zero.

use candle_core::Tensor;

use super::{Result, expect, size};
use crate::backend::{NormFactors, NormForm, NormKind, NormWeights};

/// One row for each group of `width` columns.
fn split(x: &Tensor, width: usize) -> Result<Tensor> {
    Ok(x.reshape(((), width))?)
}

pub(super) fn forward(x: &Tensor, weights: &NormWeights<Tensor>, form: NormForm) -> Result<(Tensor, Tensor)> {
    let ((rows, cols), width) = (size(x), size(&weights.weight).1);
    let groups = form.groups(cols, width)?;
    let split = split(x, width)?;
    let mut mean = split.mean_keepdim(1)?;
    // What rounding left over.
    mean = (&mean + split.broadcast_sub(&mean)?.mean_keepdim(1)?)?;
    let centred = if form.kind == NormKind::Layer { split.broadcast_sub(&mean)? } else { split };
    let r = centred.sqr()?.mean_keepdim(1)?.affine(1.0, f64::from(form.eps))?.sqrt()?.recip()?;
    let mut y = centred.broadcast_mul(&r)?.broadcast_mul(&weights.weight)?;
    if let Some(bias) = &weights.bias {
        y = y.broadcast_add(bias)?;
    }
    let by_row = |stat: &Tensor| stat.reshape((rows, groups));
    let stats = match form.kind {
        NormKind::Rms => by_row(&r)?,
        NormKind::Layer => Tensor::cat(&[by_row(&r)?, by_row(&mean)?], 1)?,
    };
    Ok((y.reshape((rows, cols))?, stats))
}

/// The groups less their means, and the `r` of each.
fn centred(factors: &NormFactors<'_, Tensor>, width: usize) -> Result<(Tensor, Tensor)> {
    let NormFactors { grad, x, stats, form } = *factors;
    let (rows, cols) = size(x);
    let groups = form.groups(cols, width)?;
    expect(grad, rows, cols, "gradient of a norm")?;
    expect(stats, rows, form.stat_columns(groups), "statistics of a norm")?;
    let stat = |first: usize| stats.narrow(1, first, groups)?.reshape(((), 1));
    let u = match form.kind {
        NormKind::Rms => split(x, width)?,
        NormKind::Layer => split(x, width)?.broadcast_sub(&stat(groups)?)?,
    };
    Ok((u, stat(0)?))
}

/// The outputs without weight and bias.
pub(super) fn normalized(factors: &NormFactors<'_, Tensor>, width: usize) -> Result<Tensor> {
    let (u, r) = centred(factors, width)?;
    Ok(u.broadcast_mul(&r)?.reshape(size(factors.x))?)
}

/// With `u = x - mean`: `r (grad w) - u r^3 mean(grad w u)`, and of a layer norm less `r mean(grad w)`.
pub(super) fn backward(factors: &NormFactors<'_, Tensor>, weights: &NormWeights<Tensor>) -> Result<Tensor> {
    let width = size(&weights.weight).1;
    let (u, r) = centred(factors, width)?;
    let weighted = split(factors.grad, width)?.broadcast_mul(&weights.weight)?;
    let along = ((&weighted * &u)?.mean_keepdim(1)? * (r.sqr()? * &r)?)?;
    let mut dx = (weighted.broadcast_mul(&r)? - u.broadcast_mul(&along)?)?;
    if factors.form.kind == NormKind::Layer {
        dx = dx.broadcast_sub(&(weighted.mean_keepdim(1)? * r)?)?;
    }
    Ok(dx.reshape(size(factors.x))?)
}
