//! Influence questions: the terms of the scoring form.
//!
//! ```text
//! score(row, target) = across over subtasks s of
//!     ( within over target samples q of s of ( sum over checkpoints c of w_c * sim(T_c[row], P_c V_c[q]) ) )
//! ```
//!
//! Every method is a choice of these terms; the default is LESS, where P_c is the identity.

mod covariance;
pub(super) mod mode;
pub(super) mod modules;
pub(super) mod options;
pub(super) mod reading;
pub(super) mod values;

use std::fmt;

use gstore_curvature::{Damping, Filter, Inversion};
use gstore_store::Granularity;

use self::mode::Mode;
use self::modules::ModuleWeights;
use crate::daunce::{Covariance, Score};
use crate::error::SideOf;
use crate::term::term;

term! {
    /// How the target samples of one subtask become one value.
    #[derive(Default)]
    Within, "within" {
        /// Mean over the samples (LESS).
        #[default]
        Mean = "mean",
        /// Largest.
        Max = "max",
        /// Smallest.
        Min = "min",
        /// Sum over the samples.
        Sum = "sum",
    }
}

term! {
    /// How the values of the subtasks become the score.
    #[derive(Default)]
    Across, "across" {
        /// Largest (LESS).
        #[default]
        Max = "max",
        /// Mean over the subtasks.
        Mean = "mean",
        /// Sum over the subtasks.
        Sum = "sum",
        /// Smallest.
        Min = "min",
    }
}

term! {
    /// Whether the target samples of a subtask are replaced by one vector before they are compared.
    #[derive(Default)]
    Fold, "fold" {
        /// Every sample is compared (LESS).
        #[default]
        None = "none",
        /// The mean of their vectors.
        Mean = "mean",
        /// The mean of their normalised vectors.
        UnitMean = "unit_mean",
    }
}

term! {
    /// How two vectors are compared.
    #[derive(Default)]
    Sim, "sim" {
        /// Dot product over both lengths, each taken as at least 1e-12 (LESS).
        #[default]
        Cosine = "cosine",
        /// Dot product.
        Dot = "dot",
    }
}

term! {
    /// What happens to a pool row that lacks a vector at one of the checkpoints used.
    #[derive(Default)]
    Missing, "missing" {
        /// The query fails and says how many rows lack what.
        #[default]
        Error = "error",
        /// The row is excluded and counted.
        Exclude = "exclude",
        /// The weights are normalised over the checkpoints the row has; a row that has none is excluded.
        Renormalise = "renormalise",
    }
}

impl Missing {
    /// What is meant where nothing is said: rows that a feature still being built does not have yet are no
    /// mistake where such features are allowed.
    pub fn default_for(partial: bool) -> Self {
        if partial { Self::Exclude } else { Self::Error }
    }
}

term! {
    /// What a subtask is.
    #[derive(Default)]
    SubtaskBy, "by" {
        /// The metadata column `subtask` of the target dataset; its name where the column is absent or null.
        #[default]
        Column = "column",
        /// Each target dataset is one subtask.
        Dataset = "dataset",
    }
}

term! {
    /// Which end of the ranking.
    Order, "order" {
        /// Highest scores first: proponents.
        Best = "best",
        /// Lowest scores first: opponents.
        Worst = "worst",
    }
}

impl Order {
    /// By which scores are multiplied, so that the higher rank first.
    pub(crate) fn sign(self) -> f32 {
        match self {
            Self::Best => 1.0,
            Self::Worst => -1.0,
        }
    }
}

term! {
    /// The unit that has its own ranking, where there is one for each.
    Each, "each" {
        /// Each subtask: its value, without `across`.
        Subtask = "subtask",
        /// Each target dataset: `across` over its own subtasks.
        Target = "target",
        /// Each target sample: the weighted similarities with it, without `within`, `across` and `fold`.
        Sample = "sample",
    }
}

term! {
    /// What scores.
    Method, "method" {
        /// Products of vectors, such as gradients.
        Influence = "influence",
        /// Covariances of losses over the models of an ensemble.
        Daunce = "daunce",
    }
}

/// The samples a question is about: a dataset, or one subtask of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetRef {
    /// Name of the dataset, or a pattern such as `skill_*`: a target for each dataset whose name matches.
    pub dataset: String,
    /// Only the rows of this subtask (a value of the metadata column `subtask`).
    pub subtask: Option<String>,
}

impl TargetRef {
    /// Parses `dataset` or `dataset:subtask`; a subtask may itself contain colons.
    pub fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some((dataset, subtask)) => Self { dataset: dataset.into(), subtask: Some(subtask.into()) },
            None => Self { dataset: text.into(), subtask: None },
        }
    }

    /// Whether it is a pattern over names of datasets, which have letters, digits and `_` alone.
    pub fn is_pattern(&self) -> bool {
        self.dataset.contains(['*', '?'])
    }
}

impl fmt::Display for TargetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subtask {
            Some(subtask) => write!(f, "{}:{subtask}", self.dataset),
            None => f.write_str(&self.dataset),
        }
    }
}

/// What a sample is called that is given with the question, and the subtask of all of them.
pub const GIVEN: &str = "given";

/// A question. `Default` is LESS without pools and targets:
/// `InfluenceSpec { pools, targets, ..Default::default() }`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InfluenceSpec {
    /// Datasets whose rows are scored. Their order breaks ties.
    pub pools: Vec<String>,
    /// What the rows are scored for.
    pub targets: Vec<TargetRef>,
    /// Instead of `targets`: samples that are given with the question, as records (JSON objects, as in a data
    /// file). They are one subtask.
    pub given: Vec<String>,
    /// Asks given prompts with completions as text without roles, also of pools whose
    /// records are conversations.
    pub raw: bool,
    /// Leaves out pool rows whose content is that of a target sample.
    pub exclude_target: bool,
    /// The run whose checkpoints are used; by default the only one that fits.
    pub run: Option<String>,
    /// Names or steps of the checkpoints to use; by default all that both sides have.
    pub checkpoints: Option<Vec<String>>,
    /// One weight per checkpoint named in `checkpoints`, or per checkpoint used; by default the
    /// run's. Normalised to sum 1.
    pub weights: Option<Vec<f64>>,
    /// Samples of a subtask to one value.
    pub within: Within,
    /// Subtasks to the score.
    pub across: Across,
    /// Whether samples of a subtask are replaced by one vector first.
    pub fold: Fold,
    /// How vectors are compared.
    pub sim: Sim,
    /// Feature kind of the pools; by default that of `features`, else `grad-adam` where every pool has it, else
    /// `grad-sgd`.
    pub pool_kind: Option<String>,
    /// Feature kind of the targets; by default `grad-sgd`, for embeddings the pool's kind, and for gradients that
    /// were computed elsewhere too, where every target has them. `features` may name targets of another kind.
    pub target_kind: Option<String>,
    /// Labels or numbers of features. Of a dataset with some only these are used: they decide on kinds where none
    /// are asked for, and on checkpoints. One that would not be used is an error.
    pub features: Vec<String>,
    /// Rows that lack a checkpoint.
    pub missing: Missing,
    /// Allows features that are still being built. Rows that they do not have yet are treated as
    /// `missing` says: see [`Missing::default_for`].
    pub partial: bool,
    /// What a subtask is.
    pub by: SubtaskBy,
    /// Which modules count, and how much; by default all, equally.
    pub modules: Option<ModuleWeights>,
    /// Name of the artifact whose Gram matrices precondition the target's vectors, or of the factors in whose
    /// eigenbasis they are. Cosines then take the lengths of both sides under them, `sqrt(v' H^-1 v)`.
    pub precondition: Option<String>,
    /// What is added to eigenvalues before they are inverted, as a part of their mean unless the inversion
    /// says otherwise; by default 0.1 of the mean. Of vectors in the eigenbasis of factors the number itself;
    /// by default that of the rows.
    pub damping: Option<f64>,
    /// How eigenvalues are inverted.
    pub inversion: Inversion,
    /// The filter of eigenvalues, for vectors in the eigenbasis of factors; by default the
    /// damped inverse.
    pub filter: Option<Filter>,
    /// Accepts matrices of other datasets, or of another checkpoint.
    pub stale: bool,
    /// Scores every scored token of the pools by itself, from features of granularity
    /// token; targets stay samples.
    pub per_token: bool,
    /// Whether rankings read every row, or a sketch first.
    pub mode: Mode,
    /// Instead of products of vectors: covariances of losses over an ensemble.
    pub covariance: Option<Covariance>,
    /// Asks for the pools' vectors alone, as a fit of Gram matrices does: no weight of a checkpoint counts. No
    /// option says so.
    pub unscored: bool,
}

impl InfluenceSpec {
    /// Whether the target's vectors are preconditioned.
    pub fn preconditions(&self) -> bool {
        self.precondition.is_some() || self.damping.is_some() || self.filter.is_some()
    }

    /// Through which filter of the eigenvalues rows in an eigenbasis are compared.
    pub(crate) fn eigen_filter(&self) -> Filter {
        let inverse = || Filter::Inverse(self.damping.map_or(Damping::OfMean, Damping::Value));
        self.filter.unwrap_or_else(inverse)
    }

    /// What the pools' vectors belong to.
    pub fn granularity(&self) -> Granularity {
        if self.per_token { Granularity::Token } else { Granularity::Sample }
    }

    /// What the vectors of a side belong to: a target's are always those of samples.
    pub(crate) fn granularity_of(&self, of: SideOf) -> Granularity {
        match of {
            SideOf::Pool => self.granularity(),
            SideOf::Target => Granularity::Sample,
        }
    }

    /// The targets as messages name them.
    pub fn target_names(&self) -> Vec<String> {
        if self.given.is_empty() {
            return self.targets.iter().map(ToString::to_string).collect();
        }
        (1..=self.given.len()).map(|i| format!("{GIVEN} {i}")).collect()
    }

    /// Whether the terms let the samples of a subtask be compared as one vector.
    pub(crate) fn collapses(&self) -> bool {
        // A correlation is divided by the length of each sample's losses.
        let is_linear = self.covariance.as_ref().is_none_or(|c| c.how.score == Score::Cov);
        self.fold != Fold::None || is_linear && matches!(self.within, Within::Mean | Within::Sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_parse_to_what_they_print() {
        for word in Fold::WORDS {
            assert_eq!(word.parse::<Fold>().unwrap().to_string(), *word);
        }
        let error = "median".parse::<Within>().unwrap_err().to_string();
        assert!(
            error.contains("within") && error.contains("median") && error.contains("mean, max, min, sum"),
            "{error}"
        );
    }

    #[test]
    fn a_target_may_name_a_subtask() {
        assert_eq!(TargetRef::parse("mmlu:law:2").subtask.as_deref(), Some("law:2"));
        assert_eq!(TargetRef::parse("gsm8k"), TargetRef { dataset: "gsm8k".into(), subtask: None });
        assert_eq!(TargetRef::parse("mmlu:law").to_string(), "mmlu:law");
    }
}
