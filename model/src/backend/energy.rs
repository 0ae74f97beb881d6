//! Squared lengths of weight gradients, from their factors or from one of them at a time.

use std::ops::Range;
use std::slice;

use super::{Backend, BackendError, check, check_spans};

/// Lanes in which products are summed.
const LANES: usize = 8;

/// For each span the squared length of `G = sum_t e_t x_t^T`.
///
/// It is `sum over t, s of <e_t, e_s> <x_t, x_s>`, which takes fewer products than G where a span is short:
/// then it is summed on the host. Else G is formed, of one span after the other. Which it is depends on the
/// sizes of a span alone.
///
/// # Errors
/// Sizes that do not fit, and those of the backend.
pub(super) fn span_energies<B: Backend + ?Sized>(
    backend: &B,
    x: &B::Tensor,
    grad: &B::Tensor,
    spans: &[Range<usize>],
) -> Result<Vec<f64>, BackendError> {
    let ((rows, input), (of_grad, out)) = (backend.size(x), backend.size(grad));
    check(of_grad == rows, || format!("{of_grad} rows of a gradient for {rows} of the inputs"))?;
    check_spans(spans, rows)?;
    let is_short = |span: &Range<usize>| span.len().saturating_mul(input + out) <= input.saturating_mul(out);
    let (mut inputs, mut grads) = (Vec::new(), Vec::new());
    if spans.iter().any(|span| !span.is_empty() && is_short(span)) {
        (inputs, grads) = (backend.to_host(x)?, backend.to_host(grad)?);
    }
    let mut formed = None;
    let mut energies = Vec::with_capacity(spans.len());
    for span in spans {
        energies.push(if span.is_empty() {
            0.0
        } else if is_short(span) {
            let inputs = &inputs[span.start * input..span.end * input];
            factor_energy((inputs, input), (&grads[span.start * out..span.end * out], out))
        } else {
            let mut sums = backend.rows(1, out * input, formed.take())?;
            backend.weight_grads(x, grad, slice::from_ref(span), &mut sums, 0)?;
            let values = backend.host_rows(&mut sums)?;
            let energy = dot(values, values);
            formed = Some(sums);
            energy
        });
    }
    Ok(energies)
}

/// The sum over all pairs of rows of the product of both inner products.
fn factor_energy((inputs, input): (&[f32], usize), (grads, out): (&[f32], usize)) -> f64 {
    let (grads, inputs) = (grads.chunks_exact(out.max(1)), inputs.chunks_exact(input.max(1)));
    let rows: Vec<(&[f32], &[f32])> = grads.zip(inputs).collect();
    let product = |(e, a): (&[f32], &[f32]), (f, b): (&[f32], &[f32])| dot(e, f) * dot(a, b);
    let (mut own, mut between) = (0.0, 0.0);
    for (at, row) in rows.iter().enumerate() {
        own += product(*row, *row);
        between += rows[..at].iter().map(|before| product(*row, *before)).sum::<f64>();
    }
    // Never negative but for rounding.
    (own + 2.0 * between).max(0.0)
}

/// A sum of products in f64, by lanes.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let (of_a, of_b) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in of_a.0.iter().zip(of_b.0) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += f64::from(*a) * f64::from(*b);
        }
    }
    let rest: f64 = of_a.1.iter().zip(of_b.1).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    lanes.iter().sum::<f64>() + rest
}
