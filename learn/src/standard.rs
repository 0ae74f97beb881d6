//! Standardised columns: mean 0 and deviation 1 over the rows that are learned from.

use serde::{Deserialize, Serialize};

use crate::matrix::Matrix;

/// Means and deviations of columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standard {
    /// The mean of each column.
    pub means: Vec<f64>,
    /// Its population deviation; 1 for a column that is constant, which then becomes zeros.
    pub deviations: Vec<f64>,
    /// Columns that are constant.
    pub constant: Vec<usize>,
}

impl Standard {
    /// Of the columns of finite values.
    pub fn of(matrix: &Matrix) -> Self {
        let (n, cols) = (matrix.rows().max(1) as f64, matrix.cols());
        let mut means = vec![0.0; cols];
        let mut squares = vec![0.0; cols];
        for row in 0..matrix.rows() {
            means.iter_mut().zip(matrix.row(row)).for_each(|(mean, x)| *mean += x);
        }
        means.iter_mut().for_each(|mean| *mean /= n);
        for row in 0..matrix.rows() {
            for ((square, x), mean) in squares.iter_mut().zip(matrix.row(row)).zip(&means) {
                *square += (x - mean) * (x - mean);
            }
        }
        let mut constant = Vec::new();
        let deviations = squares.iter().zip(&means).enumerate().map(|(col, (square, mean))| {
            let deviation = (square / n).sqrt();
            // Of equal values the mean may differ from each by its rounding.
            if deviation <= 1e-13 * mean.abs() || !deviation.is_normal() {
                constant.push(col);
                return 1.0;
            }
            deviation
        });
        let deviations = deviations.collect();
        Self { means, deviations, constant }
    }

    /// The standardised columns.
    pub fn apply(&self, matrix: &Matrix) -> Matrix {
        let mut found = matrix.clone();
        for row in 0..found.rows() {
            let row = found.row_mut(row);
            for ((x, mean), deviation) in row.iter_mut().zip(&self.means).zip(&self.deviations) {
                *x = (*x - mean) / deviation;
            }
            self.constant.iter().for_each(|col| row[*col] = 0.0);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_column_becomes_zeros_and_stays_so_elsewhere() {
        let matrix = Matrix::new(2, vec![1.0, 0.1, 3.0, 0.1, 5.0, 0.1]);
        let standard = Standard::of(&matrix);
        assert_eq!((standard.constant.as_slice(), standard.means[0]), ([1].as_slice(), 3.0));
        let found = standard.apply(&matrix);
        assert!((found.column(0).iter().map(|x| x * x).sum::<f64>() - 3.0).abs() < 1e-12);
        assert_eq!(standard.apply(&Matrix::new(2, vec![3.0, 9.0])).values(), [0.0, 0.0]);
    }
}
