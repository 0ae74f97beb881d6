//! Norms of rows, and their gradients.

use std::ops::Range;

use gstore_model::{NormFactors, NormForm, NormKind, NormWeights};

use super::{Cuda, CudaRows, SUM_SCRATCH, Tensor, number, threads_for};
use crate::runtime::{Argument, Result, Runtime};

/// Threads of a block that keeps rows of up to 8,192 values in registers, eight a thread.
fn row_threads(width: usize) -> u32 {
    threads_for(width.div_ceil(2))
}

/// 1 for a layer norm, whose rows have means.
fn layer<M>(form: NormForm) -> Argument<'static, M> {
    Argument::U32(u32::from(form.kind == NormKind::Layer))
}

impl<R: Runtime> Cuda<R> {
    pub(super) fn norm_rows(
        &self,
        x: &Tensor<R>,
        weights: &NormWeights<Tensor<R>>,
        form: NormForm,
    ) -> Result<(Tensor<R>, Tensor<R>)> {
        let ((rows, cols), width) = (x.size(), weights.weight.size().1);
        weights.weight.expect(1, width, "weight of a norm")?;
        if let Some(bias) = &weights.bias {
            bias.expect(1, width, "bias of a norm")?;
        }
        let groups = form.groups(cols, width)?;
        let (y, stats) = (self.unspecified(rows, cols)?, self.unspecified(rows, form.stat_columns(groups))?);
        // Norms of heads are turned before they are rounded.
        let rounded = if groups == 1 { self.rounding(&y)? } else { Argument::Null };
        let arguments = [
            self.argument(x)?,
            self.argument(&weights.weight)?,
            weights.bias.as_ref().map_or(Ok(Argument::Null), |bias| self.argument(bias))?,
            self.argument(&y)?,
            self.argument(&stats)?,
            rounded,
            Argument::U32(number(groups)?),
            Argument::U32(number(width)?),
            layer(form),
            Argument::F32(form.eps),
        ];
        self.launch("norm_forward", [rows * groups, 1, 1], row_threads(width), SUM_SCRATCH, &arguments)?;
        Ok((y, stats))
    }

    /// Groups in a row, if the factors fit each other.
    fn norm_groups(
        &self,
        &NormFactors { grad, x, stats, form }: &NormFactors<'_, Tensor<R>>,
        width: usize,
    ) -> Result<usize> {
        let (rows, cols) = x.size();
        let groups = form.groups(cols, width)?;
        grad.expect(rows, cols, "gradient of a norm")?;
        stats.expect(rows, form.stat_columns(groups), "statistics of a norm")?;
        Ok(groups)
    }

    pub(super) fn norm_gradient(
        &self,
        factors: &NormFactors<'_, Tensor<R>>,
        weights: &NormWeights<Tensor<R>>,
        acc: Option<Tensor<R>>,
    ) -> Result<Tensor<R>> {
        let ((rows, cols), width) = (factors.x.size(), weights.weight.size().1);
        weights.weight.expect(1, width, "weight of a norm")?;
        let groups = self.norm_groups(factors, width)?;
        let sums = u32::from(acc.is_some());
        let dx = match acc {
            Some(acc) => {
                acc.expect(rows, cols, "sum of a norm's gradients")?;
                self.owned(acc)?
            }
            None => self.unspecified(rows, cols)?,
        };
        // A sum is the gradient of the residual stream, mostly a factor of the products of the layer before.
        let rounded = if sums == 1 && groups == 1 { self.rounding(&dx)? } else { Argument::Null };
        let arguments = [
            self.argument(factors.grad)?,
            self.argument(factors.x)?,
            self.argument(factors.stats)?,
            self.argument(&weights.weight)?,
            self.argument(&dx)?,
            rounded,
            Argument::U32(number(groups)?),
            Argument::U32(number(width)?),
            layer(factors.form),
            Argument::U32(sums),
        ];
        self.launch("norm_backward", [rows * groups, 1, 1], row_threads(width), SUM_SCRATCH, &arguments)?;
        Ok(dx)
    }

    pub(super) fn norm_weight_grads(
        &self,
        factors: &NormFactors<'_, Tensor<R>>,
        width: usize,
        spans: &[Range<usize>],
        out: &mut CudaRows<R::Memory>,
        offsets: [Option<usize>; 2],
    ) -> Result<()> {
        let groups = self.norm_groups(factors, width)?;
        for offset in offsets.into_iter().flatten() {
            out.check(spans.len(), offset, width)?;
        }
        let rows = factors.x.size().0;
        number(rows * groups)?;
        let device_spans = self.upload_spans(spans, rows)?;
        let [offset, bias_offset] =
            offsets.map(|offset| Argument::U64(offset.map_or(u64::MAX, |offset| offset as u64)));
        let arguments = [
            self.argument(factors.grad)?,
            self.argument(factors.x)?,
            self.argument(factors.stats)?,
            Argument::At(device_spans.as_ref(), 0),
            out.argument(),
            Argument::U64(out.width() as u64),
            offset,
            bias_offset,
            Argument::U32(number(groups)?),
            Argument::U32(number(width)?),
            layer(factors.form),
        ];
        self.launch("norm_grads", [width.div_ceil(32), spans.len(), 1], 256, 2 * 256 * 4, &arguments)
    }
}
