//! Per-sample gradients from the factors of linear layers.

use std::ops::Range;

use super::super::backend::SampleRows;
use super::matmul::{Mat, MatMut, Write, multiply};

/// One adapted layer on the host; the fields are those of `LoraPart`.
pub(super) struct Part<'a> {
    pub grad: &'a [f32],
    pub a: &'a [f32],
    pub b: &'a [f32],
    pub rank: usize,
    pub out: usize,
    pub scaling: f32,
    pub a_offset: usize,
    pub b_offset: usize,
}

/// Gradients of the factors of layers that share the inputs `x` of width `input`.
///
/// The layers' ranks are laid side by side, so that both products with the wide `x` run once: `A x` for all layers, and `(B^T e) x^T`
/// for all layers of a sample.
pub(super) fn lora_grads(
    x: &[f32],
    input: usize,
    parts: &[Part<'_>],
    spans: &[Range<usize>],
    out: &mut SampleRows<'_>,
) {
    let rows = x.len() / input;
    let ranks: usize = parts.iter().map(|p| p.rank).sum();
    let all_a: Vec<f32> = parts.iter().flat_map(|p| p.a).copied().collect();
    // A x, and scaling * B^T e, of every row.
    let mut inner = vec![0.0; rows * ranks];
    multiply(
        MatMut::new(&mut inner, rows, ranks),
        Write::Replace,
        Mat::new(x, rows, input),
        Mat::new(&all_a, ranks, input).t(),
        1.0,
    );
    let mut outer = vec![0.0; rows * ranks];
    let mut first = 0;
    for part in parts {
        let target = MatMut::strided(&mut outer[first..], rows, part.rank, ranks);
        let (e, b) = (Mat::new(part.grad, rows, part.out), Mat::new(part.b, part.out, part.rank));
        multiply(target, Write::Replace, e, b, part.scaling);
        first += part.rank;
    }
    let mut all_da = vec![0.0; ranks * input];
    for (sample, span) in spans.iter().enumerate() {
        let n = span.len();
        let x = Mat::new(&x[span.start * input..span.end * input], n, input);
        let outer = Mat::new(&outer[span.start * ranks..span.end * ranks], n, ranks);
        multiply(MatMut::new(&mut all_da, ranks, input), Write::Replace, outer.t(), x, 1.0);
        let mut first = 0;
        for part in parts {
            let da = &all_da[first * input..(first + part.rank) * input];
            out.part(sample, part.a_offset, part.rank * input).copy_from_slice(da);
            let e = Mat::new(&part.grad[span.start * part.out..span.end * part.out], n, part.out);
            let inner =
                Mat::strided(&inner[span.start * ranks + first.min(ranks * n)..], n, part.rank, ranks);
            let db = out.part(sample, part.b_offset, part.out * part.rank);
            multiply(MatMut::new(db, part.out, part.rank), Write::Replace, e.t(), inner, part.scaling);
            first += part.rank;
        }
    }
}

/// Adds `sum_t e_t x_t^T` of each span to the sample's vector at `offset`.
pub(super) fn weight_grads(
    x: &[f32],
    input: usize,
    grad: &[f32],
    width: usize,
    spans: &[Range<usize>],
    out: &mut SampleRows<'_>,
    offset: usize,
) {
    for (sample, span) in spans.iter().enumerate() {
        let x = Mat::new(&x[span.start * input..span.end * input], span.len(), input);
        let e = Mat::new(&grad[span.start * width..span.end * width], span.len(), width);
        let target = out.part(sample, offset, width * input);
        multiply(MatMut::new(target, width, input), Write::Add, e.t(), x, 1.0);
    }
}
