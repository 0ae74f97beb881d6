//! Gradients of weights from the factors of linear layers, of each sample or of all rows, added to vectors.
//!
//! Invariant: the sums of a sample's gradient run over its own rows in order, so they do not depend on what
//! else is in the batch. Its products are in f32, or of two parts of bf16 where the backend's are; those of
//! sums over all rows have the backend's precision.

use std::ops::Range;
use std::slice;

use super::Cpu;
use super::gemm::{Addend, Left, Output, PanelFormat, Right, grams, multiply, sums};
use super::pool::Buffer;
use super::rows::add_scaled;
use super::sample_rows::CpuRows;
use super::tensor::CpuTensor;
use crate::backend::{BackendError, LoraOperands, RowVisitor, check, check_spans};

/// An error unless the spans lie in `rows` rows and every sample's vector has `len` values at `offset`.
pub(super) fn check_samples(
    spans: &[Range<usize>],
    rows: usize,
    out: &CpuRows,
    offset: usize,
    len: usize,
) -> Result<(), BackendError> {
    check_spans(spans, rows)?;
    out.check(spans.len(), offset, len)
}

/// Sizes of one adapted layer, and its place among the ranks of all.
struct AdapterSizes {
    rank: usize,
    out: usize,
    first: usize,
}

impl Cpu {
    pub(super) fn lora_factor_grads(
        &self,
        x: &CpuTensor,
        parts: &[LoraOperands<'_, CpuTensor>],
        spans: &[Range<usize>],
        out: &mut CpuRows,
    ) -> Result<(), BackendError> {
        let (rows, input) = x.size();
        let mut sizes = Vec::with_capacity(parts.len());
        let mut ranks = 0;
        for part in parts {
            let (rank, width) = (part.a.rows(), part.grad.cols());
            part.a.expect(rank, input, "LoRA factor A")?;
            part.b.expect(width, rank, "LoRA factor B")?;
            part.grad.expect(rows, width, "gradient of an adapted layer")?;
            check_samples(spans, rows, out, part.a_offset, rank * input)?;
            check_samples(spans, rows, out, part.b_offset, width * rank)?;
            sizes.push(AdapterSizes { rank, out: width, first: ranks });
            ranks += rank;
        }
        let kernel = &self.kernels.single;
        let inner = self.inner(x, parts, &sizes, ranks);
        let outer = self.outer(parts, &sizes, ranks, rows);
        for (sample, span) in spans.iter().enumerate() {
            let k = span.len();
            let inputs = Right { data: &x.values()[span.start * input..span.end * input], stride: input, k };
            let row = span.start * ranks;
            for (part, AdapterSizes { rank, out: width, first }) in parts.iter().zip(&sizes) {
                let (rank, width) = (*rank, *width);
                let first = (row + first).min(outer.len());
                let left = Left::by_column(&outer[first..], rank, ranks);
                let data = out.part(sample, part.a_offset, rank * input);
                multiply(
                    kernel,
                    Output { data, stride: input, cols: input },
                    left,
                    inputs,
                    Addend::Destination,
                );
                let e = &part.grad.values()[span.start * width..span.end * width];
                let left = Left::by_column(e, width, width);
                let data = out.part(sample, part.b_offset, width * rank);
                let right = Right { data: &inner[first..], stride: ranks, k };
                multiply(kernel, Output { data, stride: rank, cols: rank }, left, right, Addend::Destination);
            }
        }
        Ok(())
    }

    /// `scaling * A x` of every row, the layers side by side: `[rows, ranks]`.
    fn inner(
        &self,
        x: &CpuTensor,
        parts: &[LoraOperands<'_, CpuTensor>],
        sizes: &[AdapterSizes],
        ranks: usize,
    ) -> Buffer {
        let (rows, input) = x.size();
        let mut scaled = Buffer::take(ranks * input);
        for (part, size) in parts.iter().zip(sizes) {
            // A is transposed here, so that the ranks of all layers are the columns of one right factor.
            for (r, row) in part.a.values().chunks_exact(input).enumerate() {
                for (i, v) in row.iter().enumerate() {
                    scaled[i * ranks + size.first + r] = part.scaling * v;
                }
            }
        }
        let mut inner = Buffer::take(rows * ranks);
        let to = Output { data: &mut inner, stride: ranks, cols: ranks };
        let right = Right { data: &scaled, stride: ranks, k: input };
        multiply(&self.kernels.single, to, Left::by_row(x.values(), rows, input), right, Addend::Nothing);
        inner
    }

    /// `scaling * B^T e` of every row, the layers side by side: `[rows, ranks]`.
    fn outer(
        &self,
        parts: &[LoraOperands<'_, CpuTensor>],
        sizes: &[AdapterSizes],
        ranks: usize,
        rows: usize,
    ) -> Buffer {
        let mut outer = Buffer::take(rows * ranks);
        for (part, size) in parts.iter().zip(sizes) {
            if rows == 0 || size.rank == 0 {
                continue;
            }
            let mut scaled = Buffer::copy_of(part.b.values());
            scaled.iter_mut().for_each(|v| *v *= part.scaling);
            let to = Output { data: &mut outer[size.first..], stride: ranks, cols: size.rank };
            let right = Right { data: &scaled, stride: size.rank, k: size.out };
            let left = Left::by_row(part.grad.values(), rows, size.out);
            multiply(&self.kernels.single, to, left, right, Addend::Nothing);
        }
        outer
    }

    pub(super) fn full_weight_grads(
        &self,
        x: &CpuTensor,
        grad: &CpuTensor,
        spans: &[Range<usize>],
        out: &mut CpuRows,
        offset: usize,
    ) -> Result<(), BackendError> {
        self.add_weight_grads([x, grad], spans, out, offset, self.sample_format())
    }

    pub(super) fn weight_grads_of_all(
        &self,
        x: &CpuTensor,
        grad: &CpuTensor,
        out: &mut CpuRows,
        offset: usize,
    ) -> Result<(), BackendError> {
        self.add_weight_grads([x, grad], slice::from_ref(&(0..x.rows())), out, offset, self.format())
    }

    fn add_weight_grads(
        &self,
        [x, grad]: [&CpuTensor; 2],
        spans: &[Range<usize>],
        out: &mut CpuRows,
        offset: usize,
        format: PanelFormat,
    ) -> Result<(), BackendError> {
        let (rows, input) = x.size();
        let width = grad.cols();
        grad.expect(rows, width, "gradient of a linear layer")?;
        let len = width.saturating_mul(input);
        check_samples(spans, rows, out, offset, len)?;
        let product = |data: &mut [f32], span: &Range<usize>, add: Addend<'_>| {
            let e = &grad.values()[span.start * width..span.end * width];
            let inputs = &x.values()[span.start * input..span.end * input];
            sums(&self.kernels, format, data, [e, inputs], span.len(), add);
        };
        if let Some(whole) = out.replaced(spans.len(), len) {
            whole.zip(spans).for_each(|(data, span)| product(data, span, Addend::Nothing));
            return Ok(());
        }
        for (sample, span) in spans.iter().enumerate() {
            product(out.part(sample, offset, len), span, Addend::Destination);
        }
        Ok(())
    }

    pub(super) fn grams_of_rows(
        &self,
        x: &CpuTensor,
        step: usize,
        each: RowVisitor<'_>,
    ) -> Result<(), BackendError> {
        let rows = x.rows();
        if rows > 0 {
            grams(&self.kernels, self.sample_format(), x.values(), rows, step, each);
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn table_row_grads(
        &self,
        ids: &[u32],
        grad: &CpuTensor,
        scale: f32,
        spans: &[Range<usize>],
        out: &mut CpuRows,
        offset: usize,
    ) -> Result<(), BackendError> {
        let (rows, width) = grad.size();
        check(ids.len() == rows, || format!("{} ids of {rows} rows of a gradient", ids.len()))?;
        check_spans(spans, rows)?;
        let used = spans.iter().filter_map(|span| ids[span.clone()].iter().max());
        let table = used.max().map_or(0, |id| (*id as usize + 1).saturating_mul(width));
        check_samples(spans, rows, out, offset, table)?;
        for (sample, span) in spans.iter().enumerate() {
            let rows = grad.values()[span.start * width..span.end * width].chunks_exact(width);
            for (row, id) in rows.zip(&ids[span.clone()]) {
                let to = out.part(sample, offset + *id as usize * width, width);
                vectorised!(self.kernels.simd, add_scaled(to, row, scale));
            }
        }
        Ok(())
    }
}
