//! Norm, rotary positions and the gated activation, forward and backward, as fused loops over rows.

use super::simd::{dot, dot3, exp, vectorized};

/// `out = x * r * weight` per row; returns `r` of each row.
pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Vec<f32> {
    let width = weight.len();
    let mut scales = Vec::with_capacity(x.len() / width.max(1));
    vectorized(
        #[inline(always)]
        || {
            for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                let r = (dot(x, x) / width as f32 + eps).sqrt().recip();
                for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
                    *out = x * r * w;
                }
                scales.push(r);
            }
        },
    );
    scales
}

/// Adds `r * (grad * weight) - x * r^3 / width * sum(grad * weight * x)` to `acc`, per row.
pub(super) fn rms_norm_backward(grad: &[f32], x: &[f32], r: &[f32], weight: &[f32], acc: &mut [f32]) {
    let width = weight.len();
    vectorized(
        #[inline(always)]
        || {
            let rows =
                grad.chunks_exact(width).zip(x.chunks_exact(width)).zip(r).zip(acc.chunks_exact_mut(width));
            for (((grad, x), r), acc) in rows {
                let along = r * r * r / width as f32 * dot3(grad, weight, x);
                for (((acc, grad), x), w) in acc.iter_mut().zip(grad).zip(x).zip(weight) {
                    *acc += r * (grad * w) - x * along;
                }
            }
        },
    );
}

/// Rotates the pairs `(i, i + half)` of every head in place.
pub(super) fn rope(x: &mut [f32], width: usize, cos: &[f32], sin: &[f32], half: usize, inverse: bool) {
    let sign = if inverse { -1.0 } else { 1.0 };
    vectorized(
        #[inline(always)]
        || {
            let rows = x.chunks_exact_mut(width).zip(cos.chunks_exact(half)).zip(sin.chunks_exact(half));
            for ((row, cos), sin) in rows {
                for head in row.chunks_exact_mut(2 * half) {
                    let (low, high) = head.split_at_mut(half);
                    for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                        let sin = sign * sin;
                        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                    }
                }
            }
        },
    );
}

/// `out = silu(gate) * up`.
pub(super) fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    vectorized(
        #[inline(always)]
        || {
            for ((out, g), u) in out.iter_mut().zip(gate).zip(up) {
                *out = g / (1.0 + exp(-g)) * u;
            }
        },
    );
}

/// Gradients of gate and up: `silu'(g) = s + g s (1 - s)` with `s = sigmoid(g)`.
pub(super) fn swiglu_backward(grad: &[f32], gate: &[f32], up: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
    vectorized(
        #[inline(always)]
        || {
            let rows = grad.iter().zip(gate).zip(up).zip(dgate).zip(dup);
            for ((((d, g), u), dgate), dup) in rows {
                let s = 1.0 / (1.0 + exp(-g));
                *dgate = d * u * (s + g * s * (1.0 - s));
                *dup = d * (g * s);
            }
        },
    );
}
