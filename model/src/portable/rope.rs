//! Rotary positions.

use candle_core::Tensor;

use super::super::backend::BackendError;
use super::simd::vectorized;
use super::sizes::{check, size};
use super::slices::{update, view};

pub(super) fn rotate(
    x: Tensor,
    cos: &Tensor,
    sin: &Tensor,
    head_dim: usize,
    inverse: bool,
) -> Result<Tensor, BackendError> {
    let ((rows, width), (angle_rows, half)) = (size(&x)?, size(cos)?);
    let angles_fit = angle_rows == rows && size(sin)? == (rows, half);
    let heads_fit = half > 0 && half <= head_dim / 2 && width > 0 && width % head_dim == 0;
    check(angles_fit && heads_fit, "rotations")?;
    let (cos, sin) = (view(cos)?, view(sin)?);
    update(&x, |x| turn(x, width, &cos, &sin, half, head_dim, inverse))?;
    Ok(x)
}

/// Rotates the pairs `(i, i + half)` of every head in place.
fn turn(x: &mut [f32], width: usize, cos: &[f32], sin: &[f32], half: usize, head_dim: usize, inverse: bool) {
    let sign = if inverse { -1.0 } else { 1.0 };
    vectorized(
        #[inline(always)]
        || {
            let rows = x.chunks_exact_mut(width).zip(cos.chunks_exact(half)).zip(sin.chunks_exact(half));
            for ((row, cos), sin) in rows {
                for head in row.chunks_exact_mut(head_dim) {
                    let (low, high) = head[..2 * half].split_at_mut(half);
                    for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                        let sin = sign * sin;
                        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                    }
                }
            }
        },
    );
}
