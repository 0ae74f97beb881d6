//! Per-sample gradients from the factors of linear layers.

use std::ops::Range;

use candle_core::Tensor;

use super::super::backend::{BackendError, LoraPart, SampleRows};
use super::matmul::{Mat, MatMut, Write, multiply, product};
use super::rows::add_to;
use super::sizes::{check, check_part, check_samples, check_spans, size};
use super::slices::{View, view};

/// One adapted layer on the host.
struct Part<'a> {
    grad: View<'a>,
    a: View<'a>,
    b: View<'a>,
    rank: usize,
    out: usize,
    scaling: f32,
    a_offset: usize,
    b_offset: usize,
}

impl<'a> Part<'a> {
    fn new(
        part: &LoraPart<'a, Tensor>,
        (rows, input): (usize, usize),
        samples: &SampleRows<'_>,
    ) -> Result<Part<'a>, BackendError> {
        let LoraPart { grad, a, b, scaling, a_offset, b_offset } = *part;
        let (rank, out) = (size(a)?.0, size(grad)?.1);
        check(size(a)? == (rank, input) && size(b)? == (out, rank) && size(grad)?.0 == rows, "LoRA factors")?;
        check_part(samples, a_offset, rank, input)?;
        check_part(samples, b_offset, out, rank)?;
        Ok(Part { grad: view(grad)?, a: view(a)?, b: view(b)?, rank, out, scaling, a_offset, b_offset })
    }
}

/// The layers' ranks are laid side by side, so that both products with the wide `x` run once: `A x` for all layers, and `(B^T e) x^T`
/// for all layers of a sample.
pub(super) fn lora_grads(
    x: &Tensor,
    parts: &[LoraPart<'_, Tensor>],
    spans: &[Range<usize>],
    out: &mut SampleRows<'_>,
) -> Result<(), BackendError> {
    let (rows, input) = size(x)?;
    check_spans(rows, spans)?;
    check_samples(spans.len(), out)?;
    let parts: Vec<Part> =
        parts.iter().map(|part| Part::new(part, (rows, input), out)).collect::<Result<_, _>>()?;
    let x = view(x)?;
    let ranks: usize = parts.iter().map(|p| p.rank).sum();
    let all_a: Vec<f32> = parts.iter().flat_map(|p| &*p.a).copied().collect();
    // A x, and scaling * B^T e, of every row.
    let inner = product(Mat::new(&x, rows, input), Mat::new(&all_a, ranks, input).t());
    let outer = outer_factors(&parts, rows, ranks);
    let mut all_da = vec![0.0; ranks * input];
    for (sample, span) in spans.iter().enumerate().filter(|(_, span)| !span.is_empty()) {
        let n = span.len();
        let x = Mat::new(&x[span.start * input..span.end * input], n, input);
        let outer = Mat::new(&outer[span.start * ranks..span.end * ranks], n, ranks);
        multiply(MatMut::new(&mut all_da, ranks, input), Write::Replace, outer.t(), x, 1.0);
        let mut first = 0;
        for part in parts.iter().filter(|part| part.rank > 0) {
            let da = &all_da[first * input..(first + part.rank) * input];
            add_to(out.part(sample, part.a_offset, part.rank * input), da);
            let e = Mat::new(&part.grad[span.start * part.out..span.end * part.out], n, part.out);
            let inner = Mat::strided(&inner[span.start * ranks + first..], n, part.rank, ranks);
            let db = out.part(sample, part.b_offset, part.out * part.rank);
            multiply(MatMut::new(db, part.out, part.rank), Write::Add, e.t(), inner, part.scaling);
            first += part.rank;
        }
    }
    Ok(())
}

/// `scaling * B^T e` of every row, the layers side by side.
fn outer_factors(parts: &[Part<'_>], rows: usize, ranks: usize) -> Vec<f32> {
    let mut outer = vec![0.0; rows * ranks];
    let mut first = 0;
    for part in parts.iter().filter(|part| rows * part.rank > 0) {
        let target = MatMut::strided(&mut outer[first..], rows, part.rank, ranks);
        let (e, b) = (Mat::new(&part.grad, rows, part.out), Mat::new(&part.b, part.out, part.rank));
        multiply(target, Write::Replace, e, b, part.scaling);
        first += part.rank;
    }
    outer
}

pub(super) fn weight_grads(
    x: &Tensor,
    grad: &Tensor,
    spans: &[Range<usize>],
    out: &mut SampleRows<'_>,
    offset: usize,
) -> Result<(), BackendError> {
    let ((rows, input), (grad_rows, width)) = (size(x)?, size(grad)?);
    check(grad_rows == rows, "a weight gradient")?;
    check_spans(rows, spans)?;
    check_samples(spans.len(), out)?;
    check_part(out, offset, width, input)?;
    let (x, grad) = (view(x)?, view(grad)?);
    for (sample, span) in spans.iter().enumerate() {
        let x = Mat::new(&x[span.start * input..span.end * input], span.len(), input);
        let e = Mat::new(&grad[span.start * width..span.end * width], span.len(), width);
        let target = out.part(sample, offset, width * input);
        multiply(MatMut::new(target, width, input), Write::Add, e.t(), x, 1.0);
    }
    Ok(())
}

pub(super) fn table_grads(
    ids: &[u32],
    grad: &Tensor,
    scale: f32,
    spans: &[Range<usize>],
    out: &mut SampleRows<'_>,
    offset: usize,
) -> Result<(), BackendError> {
    let (rows, width) = size(grad)?;
    check(ids.len() == rows, "a table's gradient")?;
    check_spans(rows, spans)?;
    check_samples(spans.len(), out)?;
    let last = spans.iter().filter_map(|span| ids[span.clone()].iter().max()).max();
    check_part(out, offset, last.map_or(0, |id| *id as usize + 1), width)?;
    let grad = view(grad)?;
    for (sample, span) in spans.iter().enumerate() {
        for row in span.clone() {
            let target = out.part(sample, offset + ids[row] as usize * width, width);
            let grad = &grad[row * width..][..width];
            target.iter_mut().zip(grad).for_each(|(t, g)| *t += scale * g);
        }
    }
    Ok(())
}
