//! Ridge regression with several outputs, in closed form: one factorisation serves all targets.
//!
//! Minimises |y - X w - b|^2 + alpha |w|^2 for each target, b free, over standardised columns. With more
//! columns than rows the system is that of the rows (w = X^T (X X^T + alpha)^-1 y).

use gstore_core::{Cancel, written_number};

use super::linear::Linear;
use crate::error::LearnError;
use crate::matrix::{Cholesky, Matrix, add_scaled, dot, gram};

/// Equations of a system at most: 2 GiB of its matrix.
pub(crate) const MOST_EQUATIONS: usize = 16_384;

/// Fits for each `alpha`, all of them positive. Columns of `x` have mean 0.
///
/// # Errors
/// A system that is too large, and being told to stop.
pub(super) fn ridge(
    x: &Matrix,
    y: &Matrix,
    alphas: &[f64],
    (threads, cancel): (usize, &Cancel),
) -> Result<Vec<Linear>, LearnError> {
    let (rows, features, size) = (x.rows(), x.cols(), x.rows().min(x.cols()));
    if size > MOST_EQUATIONS {
        return Err(LearnError::TooLarge { features, rows, size, most: MOST_EQUATIONS });
    }
    let columns = x.transposed();
    let means: Vec<f64> =
        (0..y.cols()).map(|t| y.column(t).iter().sum::<f64>() / rows.max(1) as f64).collect();
    let centred: Vec<Vec<f64>> =
        (0..y.cols()).map(|t| y.column(t).iter().map(|value| value - means[t]).collect()).collect();
    let by_rows = features > rows;
    let products = gram(if by_rows { x } else { &columns }, threads, cancel)?;
    let mut found = Vec::with_capacity(alphas.len());
    for alpha in alphas {
        let mut system = products.clone();
        (0..size).for_each(|i| system.row_mut(i)[i] += alpha);
        let Some(factor) = Cholesky::new(system, cancel)? else {
            return Err(LearnError::Invalid(format!(
                "the system of the ridge with alpha {} is not positive definite; a larger alpha is needed",
                written_number(*alpha)
            )));
        };
        let mut coefficients = Matrix::new(features, Vec::new());
        for target in &centred {
            coefficients.push(&match by_rows {
                true => {
                    let mut side = target.clone();
                    factor.solve(&mut side);
                    let mut w = vec![0.0; features];
                    side.iter().enumerate().for_each(|(row, a)| add_scaled(&mut w, *a, x.row(row)));
                    w
                }
                false => {
                    let mut side: Vec<f64> = (0..features).map(|f| dot(columns.row(f), target)).collect();
                    factor.solve(&mut side);
                    side
                }
            });
        }
        found.push(Linear { coefficients, intercepts: means.clone() });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standard::Standard;

    static RUN: Cancel = Cancel::new();

    #[test]
    fn both_systems_have_one_solution() {
        let values = |n: usize, f: fn(f64) -> f64| (0..n).map(|i| f(i as f64)).collect::<Vec<f64>>();
        let x = Matrix::new(6, values(48, |i| (i * 1.7).sin() * 3.0 + i * 0.01));
        let x = Standard::of(&x).apply(&x);
        let y = Matrix::new(2, values(16, |i| (i * 0.9).cos()));
        let narrow = ridge(&x, &y, &[0.5, 4.0], (2, &RUN)).unwrap();
        // Columns of zeros change nothing but which system is the smaller one.
        let mut wide = Matrix::new(12, Vec::new());
        (0..8).for_each(|row| wide.push(&[x.row(row), &[0.0; 6]].concat()));
        let wide = ridge(&wide, &y, &[0.5, 4.0], (1, &RUN)).unwrap();
        for (narrow, wide) in narrow.iter().zip(&wide) {
            for target in 0..2 {
                for (a, b) in narrow.coefficients.row(target).iter().zip(wide.coefficients.row(target)) {
                    assert!((a - b).abs() < 1e-10, "{a} {b}");
                }
            }
        }
        let size = |fit: &Linear| dot(fit.coefficients.values(), fit.coefficients.values());
        assert!(size(&narrow[1]) < size(&narrow[0]));
    }
}
