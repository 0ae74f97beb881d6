//! Symmetric positive definite matrices: sums of outer products, Cholesky, solving.

/// A square matrix by rows; sums fill its lower half, which is all that is read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Square {
    size: usize,
    values: Vec<f64>,
}

impl Square {
    /// All zeros.
    pub(super) fn zeros(size: usize) -> Square {
        Square { size, values: vec![0.0; size * size] }
    }

    /// Adds `weight` times the outer product of a vector with itself.
    pub(super) fn add_outer(&mut self, weight: f64, vector: &[f64]) {
        for (row, x) in vector.iter().enumerate() {
            let scaled = weight * x;
            let line = &mut self.values[row * self.size..row * self.size + row + 1];
            line.iter_mut().zip(vector).for_each(|(value, y)| *value += scaled * y);
        }
    }

    /// The same with `value` more on the diagonal.
    pub(super) fn plus_diagonal(&self, value: f64) -> Square {
        let mut sum = self.clone();
        (0..self.size).for_each(|at| sum.values[at * self.size + at] += value);
        sum
    }

    /// The matrix between vectors of fewer dimensions: `rows` times this times `rows` transposed.
    pub(super) fn projected(&self, rows: &[Vec<f64>]) -> Square {
        let mut found = Square::zeros(rows.len());
        for (i, row) in rows.iter().enumerate() {
            let image = self.times(row);
            for (j, other) in rows.iter().enumerate().take(i + 1) {
                found.values[i * rows.len() + j] = dot(&image, other);
            }
        }
        found
    }

    fn times(&self, vector: &[f64]) -> Vec<f64> {
        let at = |row: usize, column: usize| match row >= column {
            true => self.values[row * self.size + column],
            false => self.values[column * self.size + row],
        };
        let of = |row: usize| vector.iter().enumerate().map(|(column, x)| at(row, column) * x).sum();
        (0..self.size).map(of).collect()
    }

    /// The lower factor `L` of `L L^T`; none if the matrix is not positive definite.
    pub(super) fn cholesky(mut self) -> Option<Cholesky> {
        let n = self.size;
        for row in 0..n {
            for column in 0..=row {
                let (a, b) =
                    (&self.values[row * n..row * n + column], &self.values[column * n..column * n + column]);
                let value = self.values[row * n + column] - dot(a, b);
                if row == column && !(value > 0.0 && value.is_finite()) {
                    return None;
                }
                let diagonal = self.values[column * n + column];
                self.values[row * n + column] = if row == column { value.sqrt() } else { value / diagonal };
            }
        }
        Some(Cholesky(self))
    }
}

/// A factor that solves systems.
pub(super) struct Cholesky(Square);

impl Cholesky {
    /// The `x` of `A x = b`.
    pub(super) fn solve(&self, b: &[f64]) -> Vec<f64> {
        let (n, values) = (self.0.size, &self.0.values);
        let mut x = b.to_vec();
        for row in 0..n {
            let sum = dot(&values[row * n..row * n + row], &x[..row]);
            x[row] = (x[row] - sum) / values[row * n + row];
        }
        for row in (0..n).rev() {
            let sum: f64 = (row + 1..n).map(|below| values[below * n + row] * x[below]).sum();
            x[row] = (x[row] - sum) / values[row * n + row];
        }
        x
    }
}

/// The dot product, in order.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved() {
        let mut matrix = Square::zeros(3);
        for vector in [[1.0, 2.0, 0.5], [0.0, 1.0, -1.0], [2.0, 0.0, 1.0]] {
            matrix.add_outer(1.5, &vector);
        }
        let matrix = matrix.plus_diagonal(0.1);
        let b = [1.0, -2.0, 3.0];
        let x = matrix.clone().cholesky().expect("positive definite").solve(&b);
        assert!(matrix.times(&x).iter().zip(b).all(|(found, b)| (found - b).abs() < 1e-12), "{x:?}");
        let unit = [vec![1.0, 0.0, 0.0], vec![0.0, 1.0, 0.0], vec![0.0, 0.0, 1.0]];
        let same = matrix.projected(&unit).cholesky().expect("positive definite").solve(&b);
        assert!(same.iter().zip(&x).all(|(a, b)| (a - b).abs() < 1e-12), "{same:?}");
        assert!(Square::zeros(2).cholesky().is_none());
    }
}
