//! The two products that attention and its backward consist of, on explicit vectors.

use pulp::Simd;

use super::tile::{BLOCK, Lanes, ROWS};

/// `out[i] = sum_p a[p * lda + from + i] * b[p]` for `p < inner`; the number of rows of `out` is a multiple of [`ROWS`].
#[inline(always)]
pub(super) fn product<S: Simd>(
    simd: S,
    a: &[f32],
    lda: usize,
    from: usize,
    b: &[Lanes],
    inner: usize,
    out: &mut [Lanes],
) {
    let b = S::as_simd_f32s(b.as_flattened()).0;
    let width = BLOCK / S::F32_LANES;
    for (block, out) in out.chunks_exact_mut(ROWS).enumerate() {
        let first = from + block * ROWS;
        let out = S::as_mut_simd_f32s(out.as_flattened_mut()).0;
        for column in (0..width).step_by(2) {
            let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
            for (a, b) in a.chunks_exact(lda).zip(b.chunks_exact(width)).take(inner) {
                let a = &a[first..first + ROWS];
                let (b0, b1) = (b[column], b[column + 1]);
                for (sums, a) in sums.iter_mut().zip(a) {
                    let a = simd.splat_f32s(*a);
                    sums[0] = simd.mul_add_e_f32s(a, b0, sums[0]);
                    sums[1] = simd.mul_add_e_f32s(a, b1, sums[1]);
                }
            }
            for (out, sums) in out.chunks_exact_mut(width).zip(sums) {
                out[column] = sums[0];
                out[column + 1] = sums[1];
            }
        }
    }
}

/// `out[i] += sum_l a[i][l] * b[l]`: rows of `b` and `out` have `width` values, a multiple of 16.
#[inline(always)]
pub(super) fn outer<S: Simd>(simd: S, a: &[Lanes], b: &[f32], width: usize, out: &mut [f32]) {
    let b = S::as_simd_f32s(b).0;
    let vectors = width / S::F32_LANES;
    for (a, out) in a.as_chunks::<ROWS>().0.iter().zip(out.chunks_exact_mut(ROWS * width)) {
        let out = S::as_mut_simd_f32s(out).0;
        let mut column = 0;
        while column < vectors {
            if column + 1 < vectors {
                outer_columns::<S, 2>(simd, a, b, vectors, column, out);
                column += 2;
            } else {
                outer_columns::<S, 1>(simd, a, b, vectors, column, out);
                column += 1;
            }
        }
    }
}

#[inline(always)]
fn outer_columns<S: Simd, const N: usize>(
    simd: S,
    a: &[Lanes; ROWS],
    b: &[S::f32s],
    vectors: usize,
    column: usize,
    out: &mut [S::f32s],
) {
    let mut sums = [[simd.splat_f32s(0.0); N]; ROWS];
    for (sums, out) in sums.iter_mut().zip(out.chunks_exact(vectors)) {
        sums.copy_from_slice(&out[column..column + N]);
    }
    for (l, b) in b.chunks_exact(vectors).take(BLOCK).enumerate() {
        let b = &b[column..column + N];
        for (sums, a) in sums.iter_mut().zip(a) {
            let a = simd.splat_f32s(a[l]);
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = simd.mul_add_e_f32s(a, *b, *sum);
            }
        }
    }
    for (sums, out) in sums.iter().zip(out.chunks_exact_mut(vectors)) {
        out[column..column + N].copy_from_slice(sums);
    }
}
