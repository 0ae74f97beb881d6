//! What a prefilter saves of the gradients of a pool.

use serde::Serialize;

/// Costs of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// Rows of the pool.
    pub rows: u64,
    /// Rows whose gradients the labels took.
    pub labelled: u64,
    /// Share of the pool that is kept.
    pub kept: f64,
    /// What a row's cheap features take.
    pub feature: f64,
    /// What a row's gradients at all checkpoints take, in the same unit.
    pub gradient: f64,
    /// Whether the unit is a second that was measured; else it is a forward pass.
    pub measured: bool,
}

impl Cost {
    /// Gradients that are computed: those of the labelled rows and those of the kept ones. A labelled row that
    /// is kept counts twice, as it does where the kept rows are a dataset of their own.
    pub fn gradients(&self) -> f64 {
        self.labelled as f64 + self.kept * self.rows as f64
    }

    /// The share of the whole computation that is saved; not positive where it costs more.
    pub fn saving(&self) -> f64 {
        1.0 - self.gradients() / (self.rows as f64).max(1.0) - self.feature / self.gradient
    }

    /// What the gradients of all rows take.
    pub fn without(&self) -> f64 {
        self.rows as f64 * self.gradient
    }

    /// What it takes with the prefilter.
    pub fn with(&self) -> f64 {
        self.gradients() * self.gradient + self.rows as f64 * self.feature
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_and_what_was_labelled_costs_gradients() {
        // 3,000 labels and 36.5 % of 7,505 rows.
        let cost =
            Cost { rows: 7_505, labelled: 3_000, kept: 0.365, feature: 0.0, gradient: 1.0, measured: false };
        assert!((cost.gradients() - 5_739.3).abs() < 0.1);
        assert!((cost.saving() - (1.0 - cost.with() / cost.without())).abs() < 1e-12);
        assert!(Cost { kept: 1.0, ..cost }.saving() <= 0.0);
        assert!(Cost { feature: 0.9, ..cost }.saving() < 0.0);
    }
}
