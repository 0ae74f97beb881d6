//! Packed causal attention and its backward, tile by tile.
//!
//! Queries lie in the lanes of vectors, 32 side by side; keys go down the rows of a tile. So the softmax runs down columns without
//! crossing lanes, and four of the five products of the backward pass are one kernel. A tile has the keys from the first
//! to the last that its queries see, so its memory is linear in the keys of a sequence or its window, and probabilities exist for one tile at a time.

mod backward;
mod forward;
mod kernels;
mod tile;

use candle_core::Tensor;

use self::backward::Backward;
use self::forward::Forward;
use super::super::backend::{AttentionForm, AttentionPlan, BackendError};
use super::sizes::{check, check_cap, size};
use super::slices::{tensor, view};

pub(super) fn forward(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    form: AttentionForm,
    plan: &AttentionPlan,
) -> Result<(Tensor, Tensor), BackendError> {
    let (rows, width) = check_attention(q, k, v, form, plan)?;
    let heads = form.heads.query;
    let mut out = vec![0.0; rows * width];
    let mut log_sum = vec![0.0; rows * heads];
    let (q, k, v) = (view(q)?, view(k)?, view(v)?);
    let work = Forward { q: &q, k: &k, v: &v, form, plan, out: &mut out, log_sum: &mut log_sum };
    pulp::Arch::new().dispatch(work);
    Ok((tensor(out, rows, width)?, tensor(log_sum, rows, heads)?))
}

pub(super) fn backward(
    grad: &Tensor,
    [q, k, v]: [&Tensor; 3],
    out: &Tensor,
    log_sum: &Tensor,
    form: AttentionForm,
    plan: &AttentionPlan,
) -> Result<[Tensor; 3], BackendError> {
    let (rows, width) = check_attention(q, k, v, form, plan)?;
    let (key_rows, key_width) = size(k)?;
    let same = size(grad)? == (rows, width) && size(out)? == (rows, width);
    check(same && size(log_sum)? == (rows, form.heads.query), "attention's gradients")?;
    let mut dq = vec![0.0; rows * width];
    let mut dk = vec![0.0; key_rows * key_width];
    let mut dv = vec![0.0; key_rows * key_width];
    let (grad, q, k, v) = (view(grad)?, view(q)?, view(k)?, view(v)?);
    let (out, log_sum) = (view(out)?, view(log_sum)?);
    pulp::Arch::new().dispatch(Backward {
        grad: &grad,
        q: &q,
        k: &k,
        v: &v,
        out: &out,
        log_sum: &log_sum,
        form,
        plan,
        dq: &mut dq,
        dk: &mut dk,
        dv: &mut dv,
    });
    Ok([tensor(dq, rows, width)?, tensor(dk, key_rows, key_width)?, tensor(dv, key_rows, key_width)?])
}

fn check_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    form: AttentionForm,
    plan: &AttentionPlan,
) -> Result<(usize, usize), BackendError> {
    let ((rows, width), (key_rows, key_width)) = (size(q)?, size(k)?);
    let heads = form.heads;
    let whole = heads.dim > 0 && heads.kv > 0 && heads.query.is_multiple_of(heads.kv);
    let of_heads = |count: usize| count.checked_mul(heads.dim);
    let widths = of_heads(heads.query) == Some(width) && of_heads(heads.kv) == Some(key_width);
    let same = size(v)? == (key_rows, key_width) && plan.positions.len() == rows;
    check(whole && widths && same, "attention")?;
    check(form.window != Some(0), "attention's window")?;
    check_cap(form.softcap)?;
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
