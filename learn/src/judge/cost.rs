//! Cost of a prefilter, next to that of scoring the whole pool.

use serde::Serialize;

/// Costs of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// Rows of the pool, with those that occur in the target: they are filtered as the others are.
    pub rows: u64,
    /// Rows that were labelled.
    pub labelled: u64,
    /// Share of the pool that is kept.
    pub kept: f64,
    /// What a row's cheap features take.
    pub feature: f64,
    /// What that takes of which a row's score is made, in the same unit: its gradients at all checkpoints, or
    /// its embeddings.
    pub gradient: f64,
    /// The part of it that a labelled row has with its cheap features, as these are vectors that its
    /// score is made of.
    pub shared: f64,
    /// Whether the unit is a second that was measured; else it is a forward pass.
    pub measured: bool,
}

impl Cost {
    /// Rows of which all inputs of scores are computed: the labelled ones and the kept ones. A labelled
    /// row that is kept counts twice, as it does where the kept rows are a dataset of their own.
    pub fn scored(&self) -> f64 {
        self.labelled as f64 + self.kept * self.rows as f64
    }

    /// The share of the whole computation that is saved; not positive where it costs more.
    pub fn saving(&self) -> f64 {
        1.0 - self.with() / self.without().max(f64::MIN_POSITIVE)
    }

    /// What the scores of all rows take.
    pub fn without(&self) -> f64 {
        self.rows as f64 * self.gradient
    }

    /// What it takes with the prefilter.
    pub fn with(&self) -> f64 {
        self.scored() * self.gradient + self.rows as f64 * self.feature - self.labelled as f64 * self.shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_and_what_was_labelled_costs_gradients() {
        // 3,000 labels and 36.5 % of 7,505 rows.
        let cost = Cost {
            rows: 7_505,
            labelled: 3_000,
            kept: 0.365,
            feature: 0.0,
            gradient: 1.0,
            shared: 0.0,
            measured: false,
        };
        assert!((cost.scored() - 5_739.3).abs() < 0.1);
        assert!((cost.saving() - (1.0 - cost.scored() / 7_505.0)).abs() < 1e-12);
        assert!(Cost { kept: 1.0, ..cost }.saving() <= 0.0);
        assert!(Cost { feature: 0.9, ..cost }.saving() < 0.0);
    }

    #[test]
    fn what_labelled_rows_have_with_their_features_costs_no_second_time() {
        let cost = Cost {
            rows: 1_000,
            labelled: 100,
            kept: 0.2,
            feature: 1.0,
            gradient: 2.0,
            shared: 1.0,
            measured: false,
        };
        // Kept rows are computed in a dataset of their own, where nothing of them is there.
        assert_eq!((cost.with(), cost.without()), (1_500.0, 2_000.0));
        assert_eq!(Cost { shared: 0.0, ..cost }.with(), 1_600.0);
    }
}
