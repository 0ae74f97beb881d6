//! Options of a fit: learner, folds, the top, the budget.

use crate::data::OF_FOLDS;
use crate::error::LearnError;
use crate::judge::{Bootstrap, Budget};
use crate::learners::Learner;

/// How a prefilter is fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct FitOptions {
    /// The learner.
    pub learner: Learner,
    /// Folds of the cross-validation.
    pub folds: usize,
    /// Seed of folds, networks and resamples.
    pub seed: u64,
    /// The share of rows that is the true top.
    pub top: f64,
    /// Shares of kept rows that the report shows.
    pub budgets: Vec<f64>,
    /// How many rows are kept.
    pub budget: Budget,
    /// Resamples of the intervals.
    pub resamples: usize,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self {
            learner: Learner::Ridge { alphas: vec![1.0, 10.0, 100.0, 1000.0, 10_000.0] },
            folds: 5,
            seed: 42,
            top: 0.05,
            budgets: vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8],
            budget: Budget::Recall(0.95),
            resamples: Bootstrap::default().resamples,
        }
    }
}

impl FitOptions {
    /// Rows that must be labelled at least.
    pub fn least_rows(&self) -> usize {
        2 * self.folds
    }

    /// Rows that the folds and the learner need at least, and why.
    pub fn needed_rows(&self) -> (usize, String) {
        let (of_learner, why) = self.learner.least_rows_in(self.folds);
        match self.least_rows() {
            of_folds if of_folds < of_learner => (of_learner, why),
            of_folds => (of_folds, OF_FOLDS.to_owned()),
        }
    }

    /// Refuses numbers that make no sense.
    ///
    /// # Errors
    /// The first of them.
    pub fn check(&self) -> Result<(), LearnError> {
        let invalid = |why: &str| Err(LearnError::Invalid(why.to_owned()));
        let is_share = |share: f64| share > 0.0 && share < 1.0;
        match &self.budget {
            Budget::Recall(recall) if !is_share(*recall) => invalid("a recall must be between 0 and 1"),
            Budget::Share(share) if !is_share(*share) => {
                invalid("a budget must be a share of rows between 0 and 1")
            }
            _ if self.folds < 2 => invalid("two folds or more are needed"),
            _ if !is_share(self.top) => invalid("the top is a share of rows between 0 and 1"),
            _ if self.budgets.is_empty() || !self.budgets.iter().all(|b| is_share(*b)) => {
                invalid("the budgets of the report are shares of rows between 0 and 1")
            }
            _ if self.resamples < 100 => invalid("intervals need 100 resamples or more"),
            _ => self.learner.check(),
        }
    }

    pub(crate) fn bootstrap(&self) -> Bootstrap {
        Bootstrap { resamples: self.resamples, seed: self.seed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learners::TreeOptions;

    #[test]
    fn learner_and_folds_have_a_least_number_of_rows() {
        let of = |learner, folds| FitOptions { learner, folds, ..FitOptions::default() }.needed_rows();
        let ridge = || Learner::Ridge { alphas: vec![1.0] };
        assert_eq!((of(ridge(), 5).0, of(ridge(), 2).0), (10, 4));
        let (rows, why) = of(Learner::Trees(TreeOptions::default()), 5);
        assert!(rows == 50 && why.contains("leaves"), "{rows}: {why}");
        assert_eq!(of(Learner::Trees(TreeOptions::default()), 2).0, 80);
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        for options in [
            FitOptions { folds: 1, ..FitOptions::default() },
            FitOptions { top: 1.0, ..FitOptions::default() },
            FitOptions { budget: Budget::Recall(f64::NAN), ..FitOptions::default() },
            FitOptions { budgets: vec![0.0], ..FitOptions::default() },
            FitOptions { learner: Learner::Ridge { alphas: vec![0.0] }, ..FitOptions::default() },
        ] {
            assert!(options.check().is_err(), "{options:?}");
        }
    }
}
