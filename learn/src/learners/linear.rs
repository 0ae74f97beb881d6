//! Linear models of standardised columns.

use serde::{Deserialize, Serialize};

use crate::matrix::{Matrix, dot};

/// A linear function for each target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Linear {
    /// A row of coefficients for each target.
    pub coefficients: Matrix,
    /// The constant of each.
    pub intercepts: Vec<f64>,
}

impl Linear {
    /// The value of each target for one row of standardised columns.
    pub fn predict(&self, row: &[f64]) -> impl Iterator<Item = f64> {
        self.intercepts.iter().enumerate().map(move |(t, b)| dot(self.coefficients.row(t), row) + b)
    }
}

pub(crate) fn sigmoid(z: f64) -> f64 {
    if z >= 0.0 {
        1.0 / (1.0 + (-z).exp())
    } else {
        let e = z.exp();
        e / (1.0 + e)
    }
}
