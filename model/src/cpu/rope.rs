//! Rotary positions.

use super::Cpu;
use super::tensor::CpuTensor;
use crate::backend::{BackendError, check};

impl Cpu {
    pub(super) fn rotate(
        &self,
        mut x: CpuTensor,
        cos: &CpuTensor,
        sin: &CpuTensor,
        head_dim: usize,
        inverse: bool,
    ) -> Result<CpuTensor, BackendError> {
        let (rows, width) = x.size();
        let half = cos.cols();
        cos.expect(rows, half, "cosines of rotary positions")?;
        sin.expect(rows, half, "sines of rotary positions")?;
        check(head_dim > 0 && width.is_multiple_of(head_dim) && 2 * half <= head_dim, || {
            format!("rotary positions: {half} angles, rows of {width}, heads of {head_dim}")
        })?;
        let sign = if inverse { -1.0 } else { 1.0 };
        let values = x.values_mut();
        vectorised!(self.kernels.simd, {
            let angles = cos.values().chunks_exact(half).zip(sin.values().chunks_exact(half));
            for (row, (cos, sin)) in values.chunks_exact_mut(width).zip(angles) {
                for head in row.chunks_exact_mut(head_dim) {
                    let (low, high) = head[..2 * half].split_at_mut(half);
                    for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                        let sin = sign * sin;
                        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                    }
                }
            }
        });
        Ok(x)
    }
}
