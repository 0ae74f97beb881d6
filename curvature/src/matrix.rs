//! Products of row-major matrices in f64.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// `a b` of `[rows, inner]` and `[inner, cols]`.
///
/// # Panics
/// If the sizes do not match.
pub fn product(a: &[f64], b: &[f64], (rows, inner, cols): (usize, usize, usize)) -> Vec<f64> {
    multiplied(MatRef::from_row_major_slice(a, rows, inner), MatRef::from_row_major_slice(b, inner, cols))
}

/// `a b^T` of `[rows, inner]` and `[cols, inner]`.
///
/// # Panics
/// If the sizes do not match.
pub(crate) fn product_of_transposed(
    a: &[f64],
    b: &[f64],
    (rows, inner, cols): (usize, usize, usize),
) -> Vec<f64> {
    let b = MatRef::from_row_major_slice(b, cols, inner);
    multiplied(MatRef::from_row_major_slice(a, rows, inner), b.transpose())
}

fn multiplied(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Vec<f64> {
    let (rows, cols) = (a.nrows(), b.ncols());
    let mut out = vec![0.0; rows * cols];
    let to = MatMut::from_row_major_slice_mut(&mut out, rows, cols);
    matmul(to, Accum::Replace, a, b, 1.0, Par::Seq);
    out
}

/// The transpose of `[rows, cols]`.
pub fn transposed(a: &[f64], rows: usize, cols: usize) -> Vec<f64> {
    (0..cols).flat_map(|col| (0..rows).map(move |row| a[row * cols + col])).collect()
}

/// Sum of the products of corresponding values.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Test values whose rows have full rank.
#[cfg(test)]
pub(crate) fn noise(count: usize) -> Vec<f64> {
    (0..count).map(|i| ((i * i + 3 * i) as f64 * 0.37).sin()).collect()
}
