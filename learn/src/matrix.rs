//! Matrices of f64 in row order, and the products that learners need, of f32 too.
//!
//! Invariants
//! - a product sums in an order that depends on its length alone, so that results have the same bits for any
//!   number of threads

use std::iter::Sum;
use std::ops::{Add, AddAssign, ControlFlow, Mul};

use gstore_core::parallel;
use gstore_core::{Cancel, Cancelled};
use serde::{Deserialize, Serialize};

/// A matrix, row after row.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Matrix {
    cols: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// Zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { cols, values: vec![0.0; rows * cols] }
    }

    /// Of values in row order; a length that is no multiple of `cols` loses its rest.
    pub fn new(cols: usize, mut values: Vec<f64>) -> Self {
        values.truncate(values.len() / cols.max(1) * cols);
        Self { cols, values }
    }

    /// Number of rows; none without columns.
    pub fn rows(&self) -> usize {
        self.values.len() / self.cols.max(1)
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// A row.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.cols..(row + 1) * self.cols]
    }

    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.values[row * self.cols..(row + 1) * self.cols]
    }

    /// Whether every value of a row is finite.
    pub fn is_finite(&self, row: usize) -> bool {
        self.row(row).iter().all(|value| value.is_finite())
    }

    /// All values, row after row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// A column.
    pub fn column(&self, col: usize) -> Vec<f64> {
        self.values.iter().skip(col).step_by(self.cols.max(1)).copied().collect()
    }

    /// Adds a row of as many values as there are columns.
    pub fn push(&mut self, row: &[f64]) {
        debug_assert_eq!(row.len(), self.cols);
        self.values.extend_from_slice(row);
    }

    /// Some rows, in this order.
    pub fn select(&self, rows: &[usize]) -> Matrix {
        let mut values = Vec::with_capacity(rows.len() * self.cols);
        rows.iter().for_each(|row| values.extend_from_slice(self.row(*row)));
        Matrix { cols: self.cols, values }
    }

    /// Rows as columns.
    pub fn transposed(&self) -> Matrix {
        let rows = self.rows();
        let mut values = Vec::with_capacity(self.values.len());
        for col in 0..self.cols {
            values.extend((0..rows).map(|row| self.values[row * self.cols + col]));
        }
        Matrix { cols: rows, values }
    }
}

/// Lanes of a sum: independent, so that the compiler uses vectors, and added in one order at the end.
const LANES: usize = 8;

pub(crate) fn dot<T>(a: &[T], b: &[T]) -> T
where
    T: Copy + Default + AddAssign + Add<Output = T> + Mul<Output = T> + Sum,
{
    let (a, b) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [T::default(); LANES];
    for (x, y) in a.0.iter().zip(b.0) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    let tail: T = a.1.iter().zip(b.1).map(|(x, y)| *x * *y).sum();
    lanes.into_iter().sum::<T>() + tail
}

pub(crate) fn add_scaled<T: Copy + AddAssign + Mul<Output = T>>(y: &mut [T], factor: T, x: &[T]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += factor * *x);
}

/// The products of all pairs of rows.
pub(crate) fn gram(rows: &Matrix, threads: usize, cancel: &Cancel) -> Result<Matrix, Cancelled> {
    let n = rows.rows();
    let mut found = Matrix::zeros(n, n);
    let mut at = 0;
    let line = |(): &mut (), i: usize| -> Result<Vec<f64>, Cancelled> {
        Ok((0..=i).map(|j| dot(rows.row(i), rows.row(j))).collect())
    };
    parallel::ordered(
        n,
        threads,
        cancel,
        || (),
        line,
        |line: Vec<f64>| {
            found.row_mut(at)[..=at].copy_from_slice(&line);
            at += 1;
            Ok(ControlFlow::Continue(()))
        },
    )?;
    for i in 0..n {
        for j in i + 1..n {
            found.values[i * n + j] = found.values[j * n + i];
        }
    }
    Ok(found)
}

/// The factor L of L L^T.
pub(crate) struct Cholesky(Matrix);

impl Cholesky {
    /// Of a symmetric matrix; none where it is not positive definite.
    pub(crate) fn new(mut matrix: Matrix, cancel: &Cancel) -> Result<Option<Self>, Cancelled> {
        let n = matrix.rows();
        for i in 0..n {
            cancel.check()?;
            let (above, own) = matrix.values.split_at_mut(i * n);
            for j in 0..i {
                let row = &above[j * n..j * n + n];
                own[j] = (own[j] - dot(&own[..j], &row[..j])) / row[j];
            }
            let rest = own[i] - dot(&own[..i], &own[..i]);
            if !(rest > 0.0 && rest.is_finite()) {
                return Ok(None);
            }
            own[i] = rest.sqrt();
        }
        Ok(Some(Self(matrix)))
    }

    /// Solves for one right side, in its place.
    pub(crate) fn solve(&self, side: &mut [f64]) {
        let n = self.0.rows();
        for i in 0..n {
            let row = self.0.row(i);
            side[i] = (side[i] - dot(&row[..i], &side[..i])) / row[i];
        }
        for i in (0..n).rev() {
            let row = self.0.row(i);
            side[i] /= row[i];
            let value = side[i];
            add_scaled(&mut side[..i], -value, &row[..i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static RUN: Cancel = Cancel::new();

    #[test]
    fn a_system_is_solved_on_any_number_of_threads() {
        let points: Vec<f64> = (0..35).map(|i| f64::from(i * i % 17) - 5.0).collect();
        let rows = Matrix::new(7, points);
        let mut gram_of_rows = gram(&rows, 3, &RUN).unwrap();
        assert_eq!(gram_of_rows, gram(&rows, 1, &RUN).unwrap());
        (0..5).for_each(|i| gram_of_rows.row_mut(i)[i] += 0.5);
        let expected = [1.0, -2.0, 3.0, 0.25, 7.0];
        let mut side: Vec<f64> = (0..5).map(|i| dot(gram_of_rows.row(i), &expected)).collect();
        Cholesky::new(gram_of_rows, &RUN).unwrap().expect("positive definite").solve(&mut side);
        for (found, expected) in side.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-9, "{side:?}");
        }
        let singular = Matrix::new(2, vec![1.0, 1.0, 1.0, 1.0]);
        assert!(Cholesky::new(singular, &RUN).unwrap().is_none());
    }

    #[test]
    fn rows_and_columns_are_found() {
        let matrix = Matrix::new(3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!((matrix.rows(), matrix.column(1)), (2, vec![2.0, 5.0]));
        assert_eq!(matrix.transposed().row(2), [3.0, 6.0]);
        assert_eq!(matrix.select(&[1, 0]).values(), [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]);
    }
}
