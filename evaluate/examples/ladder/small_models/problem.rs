//! Rows of features with two classes: exported ones, or made from a seed.

use gstore_evaluate::EvaluateError;
use gstore_generate::uniform;

/// Rows of features, each of one of two classes.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassificationData {
    columns: usize,
    features: Vec<f64>,
    labels: Vec<bool>,
}

impl ClassificationData {
    /// Features by rows, and the class of each row.
    ///
    /// # Errors
    /// Features that are no matrix of so many columns with a label for each row, or not finite.
    pub fn new(
        features: Vec<f64>,
        columns: usize,
        labels: Vec<bool>,
    ) -> Result<ClassificationData, EvaluateError> {
        let bad = |what: &str| Err(EvaluateError::Option(format!("features {what}")));
        if columns == 0 || labels.is_empty() || features.len() != columns * labels.len() {
            return bad("are not a matrix with a label for each row");
        }
        if features.iter().any(|value| !value.is_finite()) {
            return bad("have a value that is not finite");
        }
        Ok(ClassificationData { columns, features, labels })
    }

    /// The same with the labels of some rows changed.
    #[must_use]
    pub fn flipped(&self, rows: &[u32]) -> ClassificationData {
        let mut labels = self.labels.clone();
        for row in rows {
            if let Some(label) = labels.get_mut(*row as usize) {
                *label = !*label;
            }
        }
        ClassificationData { labels, ..self.clone() }
    }

    /// Some of its rows, in the order in which they are named; those that there are not are left out.
    #[must_use]
    pub fn select(&self, rows: &[u32]) -> ClassificationData {
        let there: Vec<usize> =
            rows.iter().map(|row| *row as usize).filter(|row| *row < self.rows()).collect();
        let features = there.iter().flat_map(|row| self.row(*row).0).copied().collect();
        let labels = there.iter().map(|row| self.labels[*row]).collect();
        ClassificationData { columns: self.columns, features, labels }
    }

    /// The same with each feature less its mean and over its standard deviation, so that a ridge weighs
    /// features alike; one that is constant is 0.
    #[must_use]
    pub fn standardised(&self) -> ClassificationData {
        let (n, columns) = (self.rows().max(1) as f64, self.columns.max(1));
        let column = |at: usize| self.features.iter().skip(at).step_by(columns);
        let of_column = |at: usize| {
            let mean = column(at).sum::<f64>() / n;
            let spread = (column(at).map(|x| (x - mean) * (x - mean)).sum::<f64>() / n).sqrt();
            (mean, spread)
        };
        let scales: Vec<(f64, f64)> = (0..columns).map(of_column).collect();
        let scaled = |(at, x): (usize, &f64)| {
            let (mean, spread) = scales[at % columns];
            // Rounding alone does not tell rows apart.
            if spread > 1e-12 * mean.abs() { (x - mean) / spread } else { 0.0 }
        };
        ClassificationData {
            features: self.features.iter().enumerate().map(scaled).collect(),
            ..self.clone()
        }
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

/// A normal number (Box and Muller) that depends on its counters alone.
pub fn normal(seed: u64, stream: u64, at: u64) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(seed, stream, 2 * at)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(seed, stream, 2 * at + 1)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_selected_and_features_brought_to_one_scale() {
        let features = vec![1.0, 7.0, 5.0, 7.0, 3.0, 7.0, 3.0, 7.0];
        let problem =
            ClassificationData::new(features, 2, vec![true, false, true, false]).expect("a problem");
        // Column means 3 and 7, spreads the root of 2 and 0.
        let found = problem.standardised();
        let root = 2f64.sqrt();
        assert!((found.row(0).0[0] + root).abs() < 1e-12 && (found.row(1).0[0] - root).abs() < 1e-12);
        assert_eq!((found.row(2), found.row(3)), ((&[0.0, 0.0][..], true), (&[0.0, 0.0][..], false)));
        assert_eq!(found.row(0).0[1], 0.0);
        let some = problem.select(&[2, 9, 0]);
        assert_eq!((some.rows(), some.row(0), some.row(1)), (2, problem.row(2), problem.row(0)));
    }
}
