//! Checked eigendecomposition of symmetric matrices.

use std::ops::Range;

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::{Mat, MatRef, Par};

use crate::blocks::Blocks;
use crate::covariance::Covariance;
use crate::error::CurvatureError;
use crate::matrix::{product, transposed};

/// A residual larger than this times the rows of the matrix is an error.
const TOLERANCE: f64 = 1e-11;

/// Eigenvalues, ascending in each block, and their vectors.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Eigen {
    /// The values; negative ones, from rounding or sums in low precision, are set to 0.
    pub values: Vec<f64>,
    /// `[size, size]`, or as [`Blocks`] store it: column j is the vector of value j.
    pub vectors: Vec<f64>,
}

impl Eigen {
    /// Rows and columns.
    pub fn size(&self) -> usize {
        self.values.len()
    }

    /// The blocks of its vectors; none if they do not match the values.
    pub fn blocks(&self) -> Option<Blocks> {
        Blocks::of_values(self.size(), self.vectors.len())
    }

    /// The vector of one value.
    pub fn vector(&self, at: usize) -> Vec<f64> {
        self.blocks().map_or_else(Vec::new, |blocks| blocks.column(&self.vectors, at))
    }

    /// How far the vectors are from orthonormal: the largest value of `(Q^T Q - I) z` over random sign
    /// vectors z, which is at least that of `Q^T Q - I`, except with a probability of `2^-16`. NaN if the
    /// vectors do not match the values.
    pub fn departure(&self) -> f64 {
        let Some(blocks) = self.blocks() else { return f64::NAN };
        let of = |block: Range<usize>| {
            let (vectors, n) = (blocks.of(&self.vectors, &block), block.len());
            let z = random_signs(n);
            departure(&vectors, (&z, &product(&vectors, &z, (n, n, PROBES))), n)
        };
        blocks.ranges().map(of).fold(0.0, max_or_nan)
    }

    /// Decomposes the mean of a covariance, block by block.
    ///
    /// # Errors
    /// Those of [`Eigen::of`], and sums of another size.
    pub fn of_covariance(
        covariance: &Covariance,
        module: &str,
        what: &'static str,
    ) -> Result<Self, CurvatureError> {
        let blocks = covariance.blocks_of(covariance.size, module, what)?;
        let of = |block: Range<usize>| Self::of(&covariance.block_mean(&block), block.len(), module, what);
        Ok(Self::joined(blocks, blocks.ranges().map(of).collect::<Result<Vec<_>, _>>()?))
    }

    /// The eigenbasis of a matrix from those of its blocks, in order.
    pub fn joined(blocks: Blocks, parts: Vec<Self>) -> Self {
        if blocks.is_whole() {
            return parts.into_iter().next().unwrap_or_default();
        }
        let mut vectors = vec![0.0; blocks.values()];
        for (block, part) in blocks.ranges().zip(&parts) {
            blocks.put(&mut vectors, &block, &part.vectors);
        }
        Self { values: parts.into_iter().flat_map(|part| part.values).collect(), vectors }
    }

    /// Decomposes a symmetric matrix, on one thread; negative eigenvalues become 0 after the check. `module`
    /// and `what` name it in errors. Memory: about five matrices.
    ///
    /// # Errors
    /// Values that are not finite, and a result with a residual of more than 1e-11 times the rows.
    pub fn of(matrix: &[f64], size: usize, module: &str, what: &'static str) -> Result<Self, CurvatureError> {
        if matrix.len() != size * size {
            let (module, found, expected) = (module.to_owned(), matrix.len(), size * size);
            return Err(CurvatureError::Size { module, what, found, expected });
        }
        if !matrix.iter().all(|value| value.is_finite()) {
            return Err(CurvatureError::NotFinite { module: module.to_owned(), what });
        }
        if size == 0 {
            return Ok(Self::default());
        }
        let failed = |residual| CurvatureError::Decomposition { module: module.to_owned(), what, residual };
        let (mut vectors, mut values) = (Mat::zeros(size, size), Diag::zeros(size));
        let scratch =
            self_adjoint_evd_scratch::<f64>(size, ComputeEigenvectors::Yes, Par::Seq, Default::default());
        self_adjoint_evd(
            MatRef::from_row_major_slice(matrix, size, size),
            values.as_mut(),
            Some(vectors.as_mut()),
            Par::Seq,
            MemStack::new(&mut MemBuffer::new(scratch)),
            Default::default(),
        )
        .map_err(|_| failed(None))?;
        let values: Vec<f64> = values.column_vector().iter().copied().collect();
        let vectors: Vec<f64> = (0..size * size).map(|at| vectors[(at / size, at % size)]).collect();
        let residual = residual(matrix, &values, &vectors);
        if !residual.is_finite() || residual > TOLERANCE * size as f64 || !values.is_sorted() {
            return Err(failed(Some(residual)));
        }
        Ok(Self { values: values.into_iter().map(|value| value.max(0.0)).collect(), vectors })
    }
}

/// Number of vectors that residuals are multiplied with.
const PROBES: usize = 16;

/// Largest value of `(A Q - Q L) z`, relative to the largest magnitude of an eigenvalue, and of `(Q^T Q - I)
/// z`, over random sign vectors z: if a row of either has a value of `e`, at least one probe in two is `e` or
/// more away from zero, so that all miss it with a probability of `2^-16`. Checking all values would take two
/// products of whole matrices, a large part of the time of the decomposition.
fn residual(matrix: &[f64], values: &[f64], vectors: &[f64]) -> f64 {
    let n = values.len();
    let z = random_signs(n);
    let scaled: Vec<f64> = z.iter().enumerate().map(|(at, z)| z * values[at / PROBES]).collect();
    let rotated = product(vectors, &z, (n, n, PROBES));
    let mapped = product(matrix, &rotated, (n, n, PROBES));
    let expected = product(vectors, &scaled, (n, n, PROBES));
    let largest = values.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    let of_values = difference(&mapped, &expected) / if largest > 0.0 { largest } else { 1.0 };
    max_or_nan(of_values, departure(vectors, (&z, &rotated), n))
}

/// Largest value of `(Q^T Q - I) z`, where `rotated` is `Q z`.
fn departure(vectors: &[f64], (z, rotated): (&[f64], &[f64]), n: usize) -> f64 {
    let back = product(&transposed(rotated, n, PROBES), vectors, (PROBES, n, n));
    difference(&back, &transposed(z, n, PROBES))
}

/// Largest difference between their values.
fn difference(found: &[f64], expected: &[f64]) -> f64 {
    found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, max_or_nan)
}

/// The larger one; NaN is kept.
fn max_or_nan(most: f64, other: f64) -> f64 {
    if other > most || other.is_nan() { other } else { most }
}

/// Random sign vectors, `[n, PROBES]`.
fn random_signs(n: usize) -> Vec<f64> {
    let mut draw = 0x9e37_79b9_7f4a_7c15_u64;
    let mut sign = || {
        // Marsaglia's xorshift.
        draw ^= draw << 13;
        draw ^= draw >> 7;
        draw ^= draw << 17;
        if draw >> 63 == 0 { 1.0 } else { -1.0 }
    };
    (0..n * PROBES).map(|_| sign()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::noise;

    #[test]
    fn a_value_that_is_off_shows_in_the_residual() {
        let n = 40;
        let b = noise(n * n);
        let a = product(&b, &transposed(&b, n, n), (n, n, n));
        let Eigen { values, vectors } = Eigen::of(&a, n, "m", "matrix").unwrap();
        assert!(residual(&a, &values, &vectors) < 1e-13);
        let mut off = vectors.clone();
        off[7 * n + 11] += 1e-6;
        assert!(residual(&a, &values, &off) >= 0.9e-6);
        let of = |vectors: &[f64]| Eigen { values: values.clone(), vectors: vectors.to_vec() }.departure();
        assert!(of(&vectors) < 1e-13 && of(&off) > 1e-7);
        assert!(of(&vectors[1..]).is_nan());
        let mut off = values.clone();
        off[n - 1] *= 1.0 + 1e-6;
        assert!(residual(&a, &off, &vectors) > 1e-7);
        off[n - 1] = f64::NAN;
        assert!(!residual(&a, &off, &vectors).is_finite());
    }

    #[test]
    fn a_decomposition_gives_the_matrix_back() {
        let (n, rank) = (33, 20);
        let b = noise(n * rank);
        let a = product(&b, &transposed(&b, n, rank), (n, rank, n));
        let eigen = Eigen::of(&a, n, "m", "matrix").unwrap();
        assert!(eigen.values.is_sorted() && eigen.values[0] >= 0.0);
        assert!(eigen.values[n - rank] > 1e-3 && eigen.values[n - rank - 1] < 1e-10);
        let scaled: Vec<f64> = (0..n * n).map(|at| eigen.vectors[at] * eigen.values[at % n]).collect();
        let back = product(&scaled, &transposed(&eigen.vectors, n, n), (n, n, n));
        a.iter().zip(back).for_each(|(a, back)| assert!((a - back).abs() < 1e-10, "{a} {back}"));
    }

    #[test]
    fn eigenvalues_below_zero_count_as_zero() {
        let found = Eigen::of(&[1.0, 2.0, 2.0, 1.0], 2, "m", "matrix").unwrap();
        assert_eq!(found.values[0], 0.0);
        assert!((found.values[1] - 3.0).abs() < 1e-14, "{:?}", found.values);
        // The vectors are those of -1 and 3.
        let [first, last] = [0, 1].map(|at| found.vector(at));
        assert!((first[0] + first[1]).abs() < 1e-14 && (last[0] - last[1]).abs() < 1e-14, "{found:?}");
    }

    #[test]
    fn what_is_no_matrix_is_refused() {
        let refused = |matrix: &[f64]| Eigen::of(matrix, 2, "m", "matrix").unwrap_err();
        assert!(matches!(refused(&[1.0, 0.0, f64::NAN, 1.0]), CurvatureError::NotFinite { .. }));
        assert!(matches!(refused(&[1.0]), CurvatureError::Size { .. }));
        assert!(Eigen::of(&[], 0, "m", "matrix").unwrap().values.is_empty());
    }
}
