//! Ground truth: outputs for queries of models that were retrained on subsets of a pool.
//!
//! Invariants
//! - a larger output is better: it is the loss with the other sign, or a margin
//! - rows and queries are known by their ids

use std::collections::BTreeSet;

use gstore_core::correlation::spearman;
use gstore_core::many;
use serde::{Deserialize, Serialize};

use super::ids::Ids;
use super::subsets::{Subset, SubsetKind};
use super::sums::{Sum, tied};
use crate::error::EvaluateError;

/// What an output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// The loss with the other sign.
    NegativeLoss,
    /// A margin: below 0 the answer is wrong.
    Margin,
    /// Some other number of which more is better.
    Other,
}

/// Which subsets a comparison is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// Random ones.
    Random,
    /// All but a row or a group.
    LeftOut,
    /// All but the best rows of a method.
    Removed,
}

impl Needed {
    fn is(self, kind: &SubsetKind) -> bool {
        matches!(
            (self, kind),
            (Needed::Random, SubsetKind::Random)
                | (Needed::LeftOut, SubsetKind::Without { .. })
                | (Needed::Removed, SubsetKind::Removed { .. })
        )
    }

    /// The designs of retraining that draw them.
    fn designs(self) -> &'static str {
        match self {
            Needed::Random => "random",
            Needed::LeftOut => "leave-one-out or leave-group-out",
            Needed::Removed => "removal",
        }
    }
}

/// Subsets and what models say that were retrained on them.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// The rows that subsets are drawn from.
    pub pool: Ids,
    /// What the models are asked.
    pub queries: Ids,
    /// What was trained on.
    pub subsets: Vec<Subset>,
    /// What the outputs are.
    pub signal: Signal,
    /// By subset and run, the outputs for all queries. A subset with runs that are not done has none.
    pub outputs: Vec<Vec<Vec<f64>>>,
}

impl Truth {
    /// The mean output over the runs of a subset for a query; none where it was not retrained.
    pub fn output(&self, subset: usize, query: usize) -> Option<f64> {
        self.mean_of(subset, query, |_| true).map(|mean| mean.total)
    }

    /// The mean outputs of some subsets for a query, for ranks: those that differ by no more than rounding
    /// are the same. A subset that was not retrained has none.
    pub fn means(&self, subsets: &[usize], query: usize) -> Vec<f64> {
        let mean = |subset: &usize| self.mean_of(*subset, query, |_| true);
        tied(&subsets.iter().filter_map(mean).collect::<Vec<Sum>>())
    }

    /// The mean over some runs of a subset.
    fn mean_of(&self, subset: usize, query: usize, of: impl Fn(usize) -> bool) -> Option<Sum> {
        let runs = self.outputs.get(subset)?;
        let values =
            runs.iter().enumerate().filter(|(run, _)| of(*run)).filter_map(|(_, run)| run.get(query));
        Sum::mean(values.copied().collect())
    }

    /// Numbers of the subsets that were retrained and are of a kind.
    pub fn done(&self, of: impl Fn(&SubsetKind) -> bool) -> Vec<usize> {
        let done = |number: &usize| self.outputs.get(*number).is_some_and(|runs| !runs.is_empty());
        let wanted = |number: &usize| of(&self.subsets[*number].kind);
        (0..self.subsets.len()).filter(wanted).filter(done).collect()
    }

    /// Refuses subsets of another design than a comparison is about, be they retrained or not. `place`:
    /// whose they are.
    ///
    /// # Errors
    /// None is of the design.
    pub fn check_design(&self, needed: Needed, place: &str) -> Result<(), EvaluateError> {
        if self.subsets.iter().any(|subset| needed.is(&subset.kind)) {
            return Ok(());
        }
        let is_without = |subset: &&Subset| matches!(subset.kind, SubsetKind::Without { .. });
        let mut without = self.subsets.iter().filter(is_without);
        let is_single = without.all(|subset| subset.rows.len() + 1 == self.pool.len());
        let design = |subset: &Subset| match &subset.kind {
            SubsetKind::Full => None,
            SubsetKind::Random => Some("random"),
            SubsetKind::Without { .. } if is_single => Some("leave-one-out"),
            SubsetKind::Without { .. } => Some("leave-group-out"),
            SubsetKind::Removed { .. } | SubsetKind::RemovedAtRandom { .. } => Some("removal"),
        };
        let found: BTreeSet<&str> = self.subsets.iter().filter_map(design).collect();
        let found = match found.is_empty() {
            true => "has no subset but the whole pool".to_owned(),
            false => format!("is of the design {}", found.into_iter().collect::<Vec<&str>>().join(" and ")),
        };
        Err(EvaluateError::Truth(format!(
            "{place} {found}, and models of the design {} are needed here: they are another ground truth",
            needed.designs()
        )))
    }

    /// The number of the subset that is the whole pool.
    ///
    /// # Errors
    /// None that was retrained.
    pub fn full(&self) -> Result<usize, EvaluateError> {
        let is_full = |kind: &SubsetKind| *kind == SubsetKind::Full;
        if let Some(number) = self.done(is_full).first() {
            return Ok(*number);
        }
        let why = match self.subsets.iter().position(|subset| is_full(&subset.kind)) {
            Some(number) => format!("subset {number}, counted from 0, is the whole pool and has none"),
            None => "none is the whole pool (of tables: a subset with \"kind\": \"full\")".to_owned(),
        };
        Err(EvaluateError::Truth(format!(
            "there is no output of models that were trained on the whole pool: {} of {} have outputs, and {why}",
            self.done(|_| true).len(),
            many(self.subsets.len() as u64, "subset")
        )))
    }

    /// How far two halves of each subset's runs order the subsets alike: the mean over queries of Spearman's
    /// correlation, which says how much of the outputs is chance. None where subsets have one run.
    pub(super) fn agreement(&self, subsets: &[usize]) -> Option<f64> {
        let half = |query: usize, parity: usize| -> Option<Vec<f64>> {
            let mean = |subset: &usize| self.mean_of(*subset, query, |run| run % 2 == parity);
            Some(tied(&subsets.iter().map(mean).collect::<Option<Vec<Sum>>>()?))
        };
        let of_query = |query| spearman(&half(query, 0)?, &half(query, 1)?);
        let found: Vec<f64> = (0..self.queries.len()).filter_map(of_query).collect();
        (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
    }
}
