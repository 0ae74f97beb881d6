//! Standardised columns: mean 0 and deviation 1 over the rows that are learned from.

use serde::{Deserialize, Serialize};

use crate::matrix::Matrix;

/// Means and deviations of columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Standard {
    /// The mean of each column.
    pub means: Vec<f64>,
    /// Its population deviation; 1 for a column that is constant, which then becomes zeros.
    pub deviations: Vec<f64>,
    /// Columns that are constant.
    pub constant: Vec<usize>,
}

/// A deviation of so small a part of the mean that few digits of f64 are left to tell rows apart.
const COARSE: f64 = 1e-13;

/// Sizes whose squares and sums neither overflow nor vanish.
const SAFE: std::ops::Range<f64> = 1e-100..1e100;

/// The columns in which all rows are equal.
pub(crate) fn constant_columns(matrix: &Matrix) -> Vec<usize> {
    let mut same = vec![true; matrix.cols()];
    for row in 1..matrix.rows() {
        for ((same, x), first) in same.iter_mut().zip(matrix.row(row)).zip(matrix.row(0)) {
            *same &= x == first;
        }
    }
    (0..matrix.cols()).filter(|col| same[*col]).collect()
}

impl Standard {
    /// Of the columns of finite values. Only a column of equal values is constant: where one has another
    /// value, however close or far, there is a deviation to divide by.
    pub fn of(matrix: &Matrix) -> Self {
        let (n, cols) = (matrix.rows().max(1) as f64, matrix.cols());
        let constant = constant_columns(matrix);
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
        let mut deviations: Vec<f64> = squares.iter().map(|square| (square / n).sqrt()).collect();
        for col in 0..cols {
            if !is_plain(means[col], deviations[col]) {
                (means[col], deviations[col]) = moments(&matrix.column(col));
            }
        }
        constant.iter().for_each(|col| deviations[*col] = 1.0);
        Self { means, deviations, constant }
    }

    /// Columns that are not constant, but whose rows differ in their last digits alone.
    pub fn coarse(&self) -> Vec<usize> {
        let is_coarse = |col: &usize| self.deviations[*col] <= COARSE * self.means[*col].abs();
        let of_columns = (0..self.means.len()).filter(is_coarse);
        of_columns.filter(|col| self.constant.binary_search(col).is_err()).collect()
    }

    /// The standardised columns.
    pub fn apply(&self, matrix: &Matrix) -> Matrix {
        let mut found = matrix.clone();
        for row in 0..found.rows() {
            let row = found.row_mut(row);
            for ((x, mean), deviation) in row.iter_mut().zip(&self.means).zip(&self.deviations) {
                let centred = *x - mean;
                // A difference may be beyond f64 that is a small number of deviations.
                *x =
                    if centred.is_finite() { centred / deviation } else { *x / deviation - mean / deviation };
            }
            self.constant.iter().for_each(|col| row[*col] = 0.0);
        }
        found
    }
}

/// Whether plain sums of values and of squares were good enough.
fn is_plain(mean: f64, deviation: f64) -> bool {
    SAFE.contains(&deviation) && mean.abs() < SAFE.end && deviation > COARSE * mean.abs()
}

/// Mean and deviation of values of any size, by their differences from the first of them in units of the
/// largest difference. A deviation of values that differ is above 0.
fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    // Differences of halves do not overflow.
    let first = values.first().map_or(0.0, |first| first / 2.0);
    let off = |x: &f64| x / 2.0 - first;
    let spread = values.iter().map(|x| off(x).abs()).fold(0.0, f64::max);
    if spread == 0.0 {
        // Equal values, or smallest ones whose halves are 0.
        return (first * 2.0, f64::from_bits(1));
    }
    let parts: Vec<f64> = values.iter().map(|x| off(x) / spread).collect();
    let middle = parts.iter().sum::<f64>() / n;
    let square = parts.iter().map(|part| (part - middle) * (part - middle)).sum::<f64>();
    let deviation = (square / n).sqrt() * spread * 2.0;
    (2.0 * (first + middle * spread), deviation.clamp(f64::from_bits(1), f64::MAX))
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

    #[test]
    fn a_column_of_any_scale_that_is_not_constant_is_standardised() {
        for (scale, offset) in
            [(1e300, 0.0), (1e-300, 0.0), (1e307, 0.0), (256.0, 2f64.powi(60)), (1e-320, 0.0)]
        {
            let values: Vec<f64> = (0..9).map(|row| offset + scale * f64::from(row)).collect();
            let matrix = Matrix::new(1, values);
            let standard = Standard::of(&matrix);
            assert!(standard.constant.is_empty(), "{scale}");
            assert_eq!(standard.coarse().len(), usize::from(offset > 0.0), "{scale}");
            let found = standard.apply(&matrix);
            for (row, x) in found.values().iter().enumerate() {
                // The deviation of 0 to 8 is the root of 60 / 9.
                let expected = (row as f64 - 4.0) / (60.0f64 / 9.0).sqrt();
                assert!((x - expected).abs() < 1e-2, "{scale}: {x} is not {expected}");
            }
        }
        let far = Matrix::new(1, vec![-f64::MAX, f64::MAX, f64::MAX, f64::MAX]);
        let found = Standard::of(&far).apply(&far);
        assert!(found.values().iter().all(|x| x.is_finite()) && found.values()[0] < -1.5, "{found:?}");
    }
}
