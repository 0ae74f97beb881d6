//! Rows of features with two classes: exported ones, or made from a seed.

use gstore_generate::uniform;

use crate::error::EvaluateError;

/// Rows of features, each of one of two classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    columns: usize,
    features: Vec<f64>,
    labels: Vec<bool>,
}

impl Problem {
    /// Features by rows, and the class of each row.
    ///
    /// # Errors
    /// Features that are no matrix of so many columns with a label for each row, or not finite.
    pub fn new(features: Vec<f64>, columns: usize, labels: Vec<bool>) -> Result<Problem, EvaluateError> {
        let bad = |what: &str| Err(EvaluateError::Option(format!("features {what}")));
        if columns == 0 || labels.is_empty() || features.len() != columns * labels.len() {
            return bad("are not a matrix with a label for each row");
        }
        if features.iter().any(|value| !value.is_finite()) {
            return bad("have a value that is not finite");
        }
        Ok(Problem { columns, features, labels })
    }

    /// Normal features of `columns` dimensions; a class is what a plane says of them after noise of this
    /// width.
    pub fn made(rows: usize, columns: usize, noise: f64, seed: u64) -> Problem {
        let features: Vec<f64> = (0..rows * columns).map(|at| normal(seed, 1, at as u64)).collect();
        let plane: Vec<f64> = (0..columns).map(|at| normal(SHARED, 2, at as u64)).collect();
        let label = |row: usize| {
            let x = &features[row * columns..(row + 1) * columns];
            super::matrix::dot(x, &plane) + noise * normal(seed, 3, row as u64) > 0.0
        };
        let labels = (0..rows).map(label).collect();
        Problem { columns, features, labels }
    }

    /// The same with the labels of some rows changed.
    #[must_use]
    pub fn flipped(&self, rows: &[u32]) -> Problem {
        let mut labels = self.labels.clone();
        for row in rows {
            if let Some(label) = labels.get_mut(*row as usize) {
                *label = !*label;
            }
        }
        Problem { labels, ..self.clone() }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    /// Features of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn row(&self, row: usize) -> (&[f64], bool) {
        let features = self.features.get(row * self.columns..(row + 1) * self.columns);
        (features.unwrap_or_default(), self.labels.get(row).copied().unwrap_or_default())
    }
}

/// Seed of the plane that made problems share, so that one has queries for another.
const SHARED: u64 = 2;

/// A normal number (Box and Muller) that depends on its counters alone.
pub(super) fn normal(seed: u64, stream: u64, at: u64) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(seed, stream, 2 * at)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(seed, stream, 2 * at + 1)).cos()
}
