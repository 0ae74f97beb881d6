//! Gradients of weights from the factors of linear layers, of each sample or of all rows, added to vectors.
//!
//! A sample's gradient is in f32 at every precision of the backend; sums over all rows have the backend's.

use std::ops::Range;

use gstore_model::LoraOperands;
use gstore_model::sizes::{check, check_spans};

use super::linear::factor;
use super::{Cuda, Tensor, from, number};
use crate::runtime::{Added, Argument, Memory, Precision, Product, Result, Runtime};

/// Gradients of larger weights are one product per sample; those of others are one kernel for all samples.
const MOST_FOR_KERNEL: usize = 128 * 128;

/// Parts of a table, whose rows are summed at the same time: a power of two.
const TABLE_PARTS: usize = 16;

/// Vectors of the samples of a batch, on the device.
pub struct CudaRows<M> {
    memory: M,
    samples: usize,
    width: usize,
    /// The copy for the host.
    host: Vec<f32>,
}

impl<M: Memory> CudaRows<M> {
    pub(super) fn samples(&self) -> usize {
        self.samples
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn argument(&self) -> Argument<'_, M> {
        Argument::At(&self.memory, 0)
    }

    /// An error unless there are vectors for that many samples, each with `len` values at `offset`.
    pub(super) fn check(&self, samples: usize, offset: usize, len: usize) -> Result<()> {
        let fits = samples <= self.samples && offset.checked_add(len).is_some_and(|end| end <= self.width);
        check(fits, || {
            let CudaRows { samples: have, width, .. } = self;
            format!("{samples} parts of {len} values at {offset} of {have} vectors of {width}")
        })
    }
}

impl<R: Runtime> Cuda<R> {
    pub(super) fn zero_rows(
        &self,
        samples: usize,
        width: usize,
        old: Option<CudaRows<R::Memory>>,
    ) -> Result<CudaRows<R::Memory>> {
        let bytes = samples.checked_mul(width).and_then(|len| len.checked_mul(4));
        let Some(bytes) = bytes else {
            return Err(gstore_model::BackendError::new(format!("{samples} vectors of {width} values")));
        };
        let (memory, host) = match old {
            Some(CudaRows { memory, host, .. }) if memory.bytes() >= bytes => (memory, host),
            old => (self.allocate::<f32>(bytes / 4)?, old.map(|old| old.host).unwrap_or_default()),
        };
        self.runtime.clear(&memory, 0, bytes)?;
        Ok(CudaRows { memory, samples, width, host })
    }

    pub(super) fn rows_on_host<'a>(&self, rows: &'a mut CudaRows<R::Memory>) -> Result<&'a mut [f32]> {
        rows.host.resize(rows.samples * rows.width, 0.0);
        if !rows.host.is_empty() {
            self.runtime.read(&rows.memory, 0, bytemuck::cast_slice_mut(&mut rows.host))?;
        }
        Ok(&mut rows.host)
    }

    /// Adds `sum_t a_t b_t^T` of each span to the samples' vectors at `offset`.
    fn add_span_products(
        &self,
        a: &Tensor<R>,
        b: &Tensor<R>,
        spans: &[Range<usize>],
        out: &mut CudaRows<R::Memory>,
        offset: usize,
    ) -> Result<()> {
        let ((rows, m), n) = (a.size(), b.size().1);
        check_spans(spans, rows)?;
        out.check(spans.len(), offset, m.saturating_mul(n))?;
        if m * n > MOST_FOR_KERNEL {
            for (sample, span) in spans.iter().enumerate().filter(|(_, span)| !span.is_empty()) {
                let [a, b] = [a, b].map(|x| x.slice(span.start, span.len()));
                self.multiply(&Product {
                    size: [m, n, span.len()],
                    left: factor(self.values(&a)?, m, true),
                    right: factor(self.values(&b)?, n, false),
                    to: (&out.memory, sample * out.width + offset, n),
                    scale: 1.0,
                    added: Added::There,
                    bias: None,
                    precision: Precision::Single,
                    narrow: false,
                })?;
            }
            return Ok(());
        }
        let device_spans = self.upload_spans(spans, rows)?;
        let arguments = [
            self.argument(a)?,
            self.argument(b)?,
            Argument::At(device_spans.as_ref(), 0),
            out.argument(),
            Argument::U64(out.width as u64),
            Argument::U64(offset as u64),
            Argument::U32(number(m)?),
            Argument::U32(number(n)?),
        ];
        let grid = [n.div_ceil(16), m.div_ceil(16), spans.len()];
        self.launch("span_products", grid, 512, 32 * 16 * 16 * 4, &arguments)
    }

    pub(super) fn full_weight_grads(
        &self,
        x: &Tensor<R>,
        grad: &Tensor<R>,
        spans: &[Range<usize>],
        out: &mut CudaRows<R::Memory>,
        offset: usize,
    ) -> Result<()> {
        grad.expect(x.size().0, grad.size().1, "gradient of a linear layer")?;
        self.add_span_products(grad, x, spans, out, offset)
    }

    pub(super) fn weight_grads_of_all(
        &self,
        x: &Tensor<R>,
        grad: &Tensor<R>,
        out: &mut CudaRows<R::Memory>,
        offset: usize,
    ) -> Result<()> {
        let ((rows, input), width) = (x.size(), grad.size().1);
        grad.expect(rows, width, "gradient of a linear layer")?;
        out.check(1, offset, width.saturating_mul(input))?;
        self.multiply(&Product {
            size: [width, input, rows],
            left: factor(self.rounded_factor(grad, self.arithmetic.precision)?, width, true),
            right: factor(self.rounded_factor(x, self.arithmetic.precision)?, input, false),
            to: (&out.memory, offset, input),
            scale: 1.0,
            added: Added::There,
            bias: None,
            precision: self.arithmetic.precision,
            narrow: false,
        })
    }

    pub(super) fn lora_factor_grads(
        &self,
        x: &Tensor<R>,
        parts: &[LoraOperands<'_, Tensor<R>>],
        spans: &[Range<usize>],
        out: &mut CudaRows<R::Memory>,
    ) -> Result<()> {
        let (rows, input) = x.size();
        for part in parts {
            let (rank, width) = (part.a.size().0, part.grad.size().1);
            part.a.expect(rank, input, "LoRA factor A")?;
            part.b.expect(width, rank, "LoRA factor B")?;
            part.grad.expect(rows, width, "gradient of an adapted layer")?;
            out.check(spans.len(), part.a_offset, rank.saturating_mul(input))?;
            out.check(spans.len(), part.b_offset, width.saturating_mul(rank))?;
        }
        for part in parts {
            let (rank, width) = (part.a.size().0, part.grad.size().1);
            let [outer, inner] = [self.unspecified(rows, rank)?, self.unspecified(rows, rank)?];
            for (y, x, terms, weight, transposed) in
                [(&outer, part.grad, width, part.b, false), (&inner, x, input, part.a, true)]
            {
                let (memory, offset) = self.values(y)?;
                self.multiply(&Product {
                    size: [rows, rank, terms],
                    left: factor(self.values(x)?, terms, false),
                    right: factor(self.values(weight)?, weight.size().1, transposed),
                    to: (memory, offset, rank),
                    scale: part.scaling,
                    added: Added::Nothing,
                    bias: None,
                    precision: Precision::Single,
                    narrow: false,
                })?;
            }
            self.add_span_products(&outer, x, spans, out, part.a_offset)?;
            self.add_span_products(part.grad, &inner, spans, out, part.b_offset)?;
        }
        Ok(())
    }

    pub(super) fn table_row_grads(
        &self,
        (ids, grad): (&[u32], &Tensor<R>),
        scale: f32,
        spans: &[Range<usize>],
        out: &mut CudaRows<R::Memory>,
        offset: usize,
    ) -> Result<()> {
        let (rows, width) = grad.size();
        check(ids.len() == rows, || format!("{} ids of {rows} rows of a gradient", ids.len()))?;
        let device_spans = self.upload_spans(spans, rows)?;
        let used = spans.iter().filter_map(|span| ids[span.clone()].iter().max());
        let table = used.max().map_or(0, |id| (*id as usize + 1).saturating_mul(width));
        out.check(spans.len(), offset, table)?;
        let ids = self.upload(ids)?;
        let arguments = [
            Argument::At(&ids, 0),
            self.argument(grad)?,
            Argument::At(device_spans.as_ref(), 0),
            out.argument(),
            Argument::U64(out.width as u64),
            Argument::U64(offset as u64),
            Argument::U32(number(width)?),
            Argument::F32(scale),
        ];
        let grid = [width.div_ceil(128), spans.len(), TABLE_PARTS];
        self.launch("table_grads", grid, 128, 0, &arguments)
    }

    pub(super) fn weighted_span_sums(
        &self,
        x: &Tensor<R>,
        weights: &[f32],
        spans: &[Range<usize>],
    ) -> Result<Vec<f32>> {
        let (rows, cols) = x.size();
        check(weights.len() == rows, || format!("{} weights of {rows} rows", weights.len()))?;
        let (device_spans, weights) = (self.upload_spans(spans, rows)?, self.upload(weights)?);
        let sums = self.unspecified(spans.len(), cols)?;
        let arguments = [
            self.argument(x)?,
            from::<f32, _>(&weights, 0),
            Argument::At(device_spans.as_ref(), 0),
            self.argument(&sums)?,
            Argument::U32(number(cols)?),
        ];
        self.launch("span_sums", [cols.div_ceil(32), spans.len(), 1], 256, 256 * 4, &arguments)?;
        self.download(self.values(&sums)?.0, 0, sums.len())
    }
}
