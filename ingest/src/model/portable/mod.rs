//! The portable backend: candle tensors, with fused loops and single-threaded matrix products on their slices.
//!
//! Invariants
//! - every operation runs on the calling thread: no pool, no environment variable, no lock that another worker could hold
//! - the same batch gives the same bits; another cut of the batch may change the last bits, because products block by size

mod attention;
mod elementwise;
mod factors;
mod head;
mod matmul;
mod simd;
mod slices;

use std::ops::Range;

use candle_core::Tensor;

use self::matmul::{Mat, MatMut, Write, multiply, product};
use self::slices::{tensor, update, view};
use super::backend::{
    AttentionPlan, Backend, BackendError, HeadOutput, HeadTap, Heads, LinearWeights, LoraPart, SampleRows,
};

/// Rows whose logits exist at the same time.
const HEAD_ROWS: usize = 128;

/// The portable backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct Portable;

/// A linear layer of [`Portable`]. The matrix library is fastest, by up to a factor of two, when rows of the right factor are contiguous,
/// so the weight is kept both ways.
pub struct PortableLinear {
    /// `[out, input]`, for the backward pass.
    weight: Vec<f32>,
    /// `[input, out]`, for the forward pass.
    transposed: Vec<f32>,
    bias: Option<Vec<f32>>,
    out: usize,
    input: usize,
}

impl PortableLinear {
    fn weight(&self) -> Mat<'_> {
        Mat::new(&self.weight, self.out, self.input)
    }

    fn transposed(&self) -> Mat<'_> {
        Mat::new(&self.transposed, self.input, self.out)
    }
}

fn transpose(x: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for col in 0..cols {
        out.extend((0..rows).map(|row| x[row * cols + col]));
    }
    out
}

fn size(x: &Tensor) -> Result<(usize, usize), BackendError> {
    Ok(x.dims2()?)
}

fn check(holds: bool, what: &str) -> Result<(), BackendError> {
    if holds { Ok(()) } else { Err(BackendError(format!("sizes of {what} disagree"))) }
}

impl Backend for Portable {
    type Tensor = Tensor;
    type Linear = PortableLinear;

    fn tensor(&self, values: Vec<f32>, rows: usize, cols: usize) -> Result<Tensor, BackendError> {
        tensor(values, rows, cols)
    }

    fn to_host(&self, x: &Tensor) -> Result<Vec<f32>, BackendError> {
        Ok(view(x)?.to_vec())
    }

    fn pack(&self, weights: LinearWeights) -> Result<PortableLinear, BackendError> {
        let LinearWeights { weight, out, input, bias } = weights;
        check(weight.len() == out * input && bias.as_ref().is_none_or(|b| b.len() == out), "a linear layer")?;
        Ok(PortableLinear { transposed: transpose(&weight, out, input), weight, bias, out, input })
    }

    fn gather(&self, x: &Tensor, rows: &[u32]) -> Result<Tensor, BackendError> {
        let (have, width) = size(x)?;
        check(rows.iter().all(|r| (*r as usize) < have), "gathered rows")?;
        let values = view(x)?;
        let mut out = Vec::with_capacity(rows.len() * width);
        for row in rows {
            out.extend_from_slice(&values[*row as usize * width..][..width]);
        }
        tensor(out, rows.len(), width)
    }

    fn scatter_add(&self, acc: Tensor, rows: &[u32], x: &Tensor) -> Result<Tensor, BackendError> {
        let (have, width) = size(&acc)?;
        check(
            size(x)? == (rows.len(), width) && rows.iter().all(|r| (*r as usize) < have),
            "scattered rows",
        )?;
        let values = view(x)?;
        update(&acc, |acc| {
            for (row, values) in rows.iter().zip(values.chunks_exact(width)) {
                for (acc, v) in acc[*row as usize * width..].iter_mut().zip(values) {
                    *acc += v;
                }
            }
        })?;
        Ok(acc)
    }

    fn linear(
        &self,
        layer: &PortableLinear,
        x: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<Tensor, BackendError> {
        let (rows, width) = size(x)?;
        check(width == layer.input, "a linear layer")?;
        let x = view(x)?;
        let x = Mat::new(&x, rows, width);
        let mut out = match residual {
            None => product(x, layer.transposed()),
            Some(residual) => {
                check(size(residual)? == (rows, layer.out), "a residual")?;
                let mut out = view(residual)?.to_vec();
                multiply(MatMut::new(&mut out, rows, layer.out), Write::Add, x, layer.transposed(), 1.0);
                out
            }
        };
        if let Some(bias) = &layer.bias {
            for row in out.chunks_exact_mut(layer.out) {
                row.iter_mut().zip(bias).for_each(|(v, b)| *v += b);
            }
        }
        tensor(out, rows, layer.out)
    }

    fn linear_backward(
        &self,
        layer: &PortableLinear,
        grad: &Tensor,
        acc: Option<Tensor>,
    ) -> Result<Tensor, BackendError> {
        let (rows, width) = size(grad)?;
        check(width == layer.out, "a linear layer")?;
        let grad = view(grad)?;
        let grad = Mat::new(&grad, rows, width);
        let Some(acc) = acc else { return tensor(product(grad, layer.weight()), rows, layer.input) };
        check(size(&acc)? == (rows, layer.input), "an accumulated gradient")?;
        update(&acc, |out| {
            multiply(MatMut::new(out, rows, layer.input), Write::Add, grad, layer.weight(), 1.0);
        })?;
        Ok(acc)
    }

    fn rms_norm(&self, x: &Tensor, weight: &Tensor, eps: f32) -> Result<(Tensor, Tensor), BackendError> {
        let (rows, width) = size(x)?;
        check(size(weight)? == (1, width) && width > 0, "a norm")?;
        let mut out = vec![0.0; rows * width];
        let scales = elementwise::rms_norm(&view(x)?, &view(weight)?, eps, &mut out);
        Ok((tensor(out, rows, width)?, tensor(scales, rows, 1)?))
    }

    fn rms_norm_backward(
        &self,
        grad: &Tensor,
        x: &Tensor,
        r: &Tensor,
        weight: &Tensor,
        acc: Option<Tensor>,
    ) -> Result<Tensor, BackendError> {
        let (rows, width) = size(x)?;
        check(
            size(grad)? == (rows, width) && size(r)? == (rows, 1) && size(weight)? == (1, width),
            "a norm",
        )?;
        let acc = match acc {
            Some(acc) => acc,
            None => tensor(vec![0.0; rows * width], rows, width)?,
        };
        check(size(&acc)? == (rows, width), "an accumulated gradient")?;
        let (grad, x, r, weight) = (view(grad)?, view(x)?, view(r)?, view(weight)?);
        update(&acc, |acc| elementwise::rms_norm_backward(&grad, &x, &r, &weight, acc))?;
        Ok(acc)
    }

    fn rope(&self, x: Tensor, cos: &Tensor, sin: &Tensor, inverse: bool) -> Result<Tensor, BackendError> {
        let (rows, width) = size(&x)?;
        let (angle_rows, half) = size(cos)?;
        check(
            angle_rows == rows && size(sin)? == (rows, half) && half > 0 && width % (2 * half) == 0,
            "rotations",
        )?;
        let (cos, sin) = (view(cos)?, view(sin)?);
        update(&x, |x| elementwise::rope(x, width, &cos, &sin, half, inverse))?;
        Ok(x)
    }

    fn attention(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        heads: Heads,
        plan: &AttentionPlan,
    ) -> Result<(Tensor, Tensor), BackendError> {
        let (rows, width) = check_attention(q, k, v, heads, plan)?;
        let mut out = vec![0.0; rows * width];
        let mut log_sum = vec![0.0; rows * heads.query];
        let (q, k, v) = (view(q)?, view(k)?, view(v)?);
        let work =
            attention::Forward { q: &q, k: &k, v: &v, heads, plan, out: &mut out, log_sum: &mut log_sum };
        pulp::Arch::new().dispatch(work);
        Ok((tensor(out, rows, width)?, tensor(log_sum, rows, heads.query)?))
    }

    fn attention_backward(
        &self,
        grad: &Tensor,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        log_sum: &Tensor,
        heads: Heads,
        plan: &AttentionPlan,
    ) -> Result<[Tensor; 3], BackendError> {
        let (rows, width) = check_attention(q, k, v, heads, plan)?;
        let (key_rows, key_width) = size(k)?;
        let same = size(grad)? == (rows, width) && size(out)? == (rows, width);
        check(same && size(log_sum)? == (rows, heads.query), "attention's gradients")?;
        let mut dq = vec![0.0; rows * width];
        let mut dk = vec![0.0; key_rows * key_width];
        let mut dv = vec![0.0; key_rows * key_width];
        let (grad, q, k, v) = (view(grad)?, view(q)?, view(k)?, view(v)?);
        let (out, log_sum) = (view(out)?, view(log_sum)?);
        pulp::Arch::new().dispatch(attention::Backward {
            grad: &grad,
            q: &q,
            k: &k,
            v: &v,
            out: &out,
            log_sum: &log_sum,
            heads,
            plan,
            dq: &mut dq,
            dk: &mut dk,
            dv: &mut dv,
        });
        Ok([tensor(dq, rows, width)?, tensor(dk, key_rows, key_width)?, tensor(dv, key_rows, key_width)?])
    }

    fn swiglu(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor, BackendError> {
        let (rows, width) = size(gate)?;
        check(size(up)? == (rows, width), "gate and up")?;
        let mut out = vec![0.0; rows * width];
        elementwise::swiglu(&view(gate)?, &view(up)?, &mut out);
        tensor(out, rows, width)
    }

    fn swiglu_backward(
        &self,
        grad: &Tensor,
        gate: &Tensor,
        up: &Tensor,
    ) -> Result<[Tensor; 2], BackendError> {
        let (rows, width) = size(gate)?;
        check(size(up)? == (rows, width) && size(grad)? == (rows, width), "gate and up")?;
        let (mut dgate, mut dup) = (vec![0.0; rows * width], vec![0.0; rows * width]);
        let (grad, gate, up) = (view(grad)?, view(gate)?, view(up)?);
        elementwise::swiglu_backward(&grad, &gate, &up, &mut dgate, &mut dup);
        Ok([tensor(dgate, rows, width)?, tensor(dup, rows, width)?])
    }

    fn head(
        &self,
        layer: &PortableLinear,
        x: &Tensor,
        targets: &[u32],
        weights: Option<&[f32]>,
        mut tap: Option<HeadTap<'_, Tensor>>,
    ) -> Result<HeadOutput<Tensor>, BackendError> {
        let (rows, width) = size(x)?;
        let vocab = layer.out;
        check(width == layer.input && targets.len() == rows, "the head")?;
        check(
            weights.is_none_or(|w| w.len() == rows) && targets.iter().all(|t| (*t as usize) < vocab),
            "targets",
        )?;
        let x = view(x)?;
        let mut losses = Vec::with_capacity(rows);
        let mut grad = weights.map(|_| vec![0.0; rows * width]);
        for start in (0..rows).step_by(HEAD_ROWS) {
            let end = (start + HEAD_ROWS).min(rows);
            let n = end - start;
            let chunk = &x[start * width..end * width];
            let mut logits = product(Mat::new(chunk, n, width), layer.transposed());
            head::cross_entropy(
                &mut logits,
                vocab,
                &targets[start..end],
                weights.map(|w| &w[start..end]),
                &mut losses,
            );
            if let Some(grad) = &mut grad {
                let target = MatMut::new(&mut grad[start * width..end * width], n, width);
                multiply(target, Write::Replace, Mat::new(&logits, n, vocab), layer.weight(), 1.0);
                if let Some(tap) = &mut tap {
                    tap(start..end, &tensor(chunk.to_vec(), n, width)?, &tensor(logits, n, vocab)?)?;
                }
            }
        }
        Ok(HeadOutput { losses, grad: grad.map(|g| tensor(g, rows, width)).transpose()? })
    }

    fn span_means(&self, x: &Tensor, spans: &[Range<usize>]) -> Result<Vec<f32>, BackendError> {
        let (rows, width) = size(x)?;
        check(spans.iter().all(|s| s.start <= s.end && s.end <= rows), "spans")?;
        let values = view(x)?;
        let mut means = vec![0.0; spans.len() * width];
        for (mean, span) in means.chunks_exact_mut(width).zip(spans) {
            for row in values[span.start * width..span.end * width].chunks_exact(width) {
                mean.iter_mut().zip(row).for_each(|(m, v)| *m += v);
            }
            let scale = 1.0 / span.len().max(1) as f32;
            mean.iter_mut().for_each(|m| *m *= scale);
        }
        Ok(means)
    }

    fn lora_grads(
        &self,
        x: &Tensor,
        parts: &[LoraPart<'_, Tensor>],
        spans: &[Range<usize>],
        out: &mut SampleRows<'_>,
    ) -> Result<(), BackendError> {
        let (rows, input) = size(x)?;
        check_spans(rows, spans, out)?;
        let mut views = Vec::with_capacity(parts.len());
        for part in parts {
            let (rank, width) = (size(part.a)?.0, size(part.grad)?.1);
            let fit = size(part.a)? == (rank, input) && size(part.b)? == (width, rank);
            check(fit && size(part.grad)?.0 == rows, "LoRA factors")?;
            let inside =
                part.a_offset + rank * input <= out.width && part.b_offset + width * rank <= out.width;
            check(inside, "LoRA offsets")?;
            views.push((view(part.grad)?, view(part.a)?, view(part.b)?, rank, width));
        }
        let host = parts.iter().zip(&views).map(|(part, (grad, a, b, rank, width))| factors::Part {
            grad,
            a,
            b,
            rank: *rank,
            out: *width,
            scaling: part.scaling,
            a_offset: part.a_offset,
            b_offset: part.b_offset,
        });
        factors::lora_grads(&view(x)?, input, &host.collect::<Vec<_>>(), spans, out);
        Ok(())
    }

    fn weight_grads(
        &self,
        x: &Tensor,
        grad: &Tensor,
        spans: &[Range<usize>],
        out: &mut SampleRows<'_>,
        offset: usize,
    ) -> Result<(), BackendError> {
        let ((rows, input), (grad_rows, width)) = (size(x)?, size(grad)?);
        check_spans(rows, spans, out)?;
        check(grad_rows == rows && offset + input * width <= out.width, "a weight gradient")?;
        factors::weight_grads(&view(x)?, input, &view(grad)?, width, spans, out, offset);
        Ok(())
    }
}

fn check_spans(rows: usize, spans: &[Range<usize>], out: &SampleRows<'_>) -> Result<(), BackendError> {
    let inside = spans.iter().all(|s| s.start <= s.end && s.end <= rows);
    check(inside && spans.len() * out.width <= out.values.len(), "spans")
}

fn check_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: Heads,
    plan: &AttentionPlan,
) -> Result<(usize, usize), BackendError> {
    let ((rows, width), (key_rows, key_width)) = (size(q)?, size(k)?);
    let widths = width == heads.query * heads.dim && key_width == heads.kv * heads.dim && heads.dim > 0;
    check(widths && size(v)? == (key_rows, key_width) && plan.positions.len() == rows, "attention")?;
    let inside = plan.spans.iter().all(|span| {
        let keys_fit = span.keys.start <= span.keys.end && span.keys.end <= key_rows;
        let queries_fit = span.queries.start <= span.queries.end && span.queries.end <= rows;
        keys_fit
            && queries_fit
            && plan.positions[span.queries.clone()].is_sorted()
            && plan.positions[span.queries.clone()].last().is_none_or(|p| (*p as usize) < span.keys.len())
    });
    check(inside, "attention's spans")?;
    Ok((rows, width))
}
