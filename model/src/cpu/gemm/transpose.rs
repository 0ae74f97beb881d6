//! Transposes of matrices, block by block.

use super::super::level::Simd;

/// Rows and columns of a block: a cache line of values.
const BLOCK: usize = 16;

/// Writes the transpose of `rows` rows of `cols` values: row `p` of `to`, of which each starts `to_stride`
/// values behind the one before, begins with column `p`.
pub(crate) fn transpose(
    from: &[f32],
    stride: usize,
    [rows, cols]: [usize; 2],
    to: &mut [f32],
    to_stride: usize,
) {
    let simd = Simd::widest();
    for first in (0..cols).step_by(BLOCK) {
        for start in (0..rows).step_by(BLOCK) {
            let (height, width) = (BLOCK.min(rows - start), BLOCK.min(cols - first));
            let from = &from[start * stride + first..];
            let to = &mut to[first * to_stride + start..];
            if height == BLOCK && width == BLOCK && in_registers(simd, from, stride, to, to_stride) {
                continue;
            }
            for j in 0..height {
                for (p, value) in from[j * stride..][..width].iter().enumerate() {
                    to[p * to_stride + j] = *value;
                }
            }
        }
    }
}

/// Transposes a whole block, if the CPU has the registers for it.
fn in_registers(simd: Simd, from: &[f32], stride: usize, to: &mut [f32], to_stride: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    if simd.level() == super::SimdLevel::Avx512 {
        super::avx512::transpose_block(simd, from, stride, to, to_stride);
        return true;
    }
    let _ = (simd, from, stride, to, to_stride);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_transposed_and_nothing_else_is_written() {
        for [rows, cols] in [[0, 3], [1, 1], [16, 16], [17, 33], [32, 48], [5, 64], [70, 15]] {
            let (stride, to_stride) = (cols + 3, rows + 2);
            let from: Vec<f32> = (0..rows * stride).map(|at| at as f32).collect();
            let mut to = vec![-1.0; cols * to_stride];
            transpose(&from, stride, [rows, cols], &mut to, to_stride);
            for (p, row) in to.chunks_exact(to_stride).enumerate() {
                let column: Vec<f32> = (0..rows).map(|j| from[j * stride + p]).collect();
                assert_eq!(row[..rows], column);
                assert_eq!(row[rows..], [-1.0; 2]);
            }
        }
    }
}
