//! Rotary positions: coordinate pairs of heads turned by angles.

use candle_core::Tensor;

use super::{Result, expect, size};
use crate::backend::check;

/// Turns the pairs of each row by its angles, or back.
pub(super) fn turned(
    x: &Tensor,
    cos: &Tensor,
    sin: &Tensor,
    head_dim: usize,
    inverse: bool,
) -> Result<Tensor> {
    let ((rows, width), half) = (size(x), size(cos).1);
    expect(cos, rows, half, "cosines of rotary positions")?;
    expect(sin, rows, half, "sines of rotary positions")?;
    check(half > 0 && 2 * half <= head_dim && width.is_multiple_of(head_dim), || {
        format!("heads of {head_dim} columns cannot turn {half} pairs")
    })?;
    let heads = x.reshape((rows, width / head_dim, head_dim))?;
    let (low, high) = (heads.narrow(2, 0, half)?, heads.narrow(2, half, half)?);
    let rest = heads.narrow(2, 2 * half, head_dim - 2 * half)?;
    let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?);
    let sin = if inverse { sin.neg()? } else { sin };
    let turned_low = (low.broadcast_mul(&cos)? - high.broadcast_mul(&sin)?)?;
    let turned_high = (high.broadcast_mul(&cos)? + low.broadcast_mul(&sin)?)?;
    Ok(Tensor::cat(&[turned_low, turned_high, rest], 2)?.reshape((rows, width))?)
}
