//! Terms of a covariance of losses: score, centring, degrees of freedom, missing cells.

use crate::term::term;

/// Models below which there is no score: two of them always correlate by 1 or -1.
pub(super) const MIN_MODELS: usize = 3;

/// Models below which an answer says that ranks are mostly noise.
pub(crate) const FEW_MODELS: usize = 30;

term! {
    /// What the score is.
    Score, "score" {
        /// The covariance of the losses: rows whose losses vary much rank far out for every query.
        Cov = "cov",
        /// Their correlation, which does not depend on how much they vary.
        Corr = "corr",
    }
}

term! {
    /// What is subtracted from the losses before they are multiplied.
    Center, "center" {
        /// The mean of each row over the models (of each group).
        Row = "row" | "example",
        /// The mean of each model over the pool's rows.
        Model = "model",
        /// Both: what makes a model better at everything is no part of the score then.
        Both = "both" | "example+model",
        /// The loss of the base model: moments about it, not about a mean.
        Base = "base",
    }
}

impl Center {
    /// Whether the mean of each model over the pool's rows is subtracted.
    pub fn of_models(self) -> bool {
        matches!(self, Self::Model | Self::Both)
    }

    /// Whether the mean of each row over the models is subtracted.
    pub fn of_rows(self) -> bool {
        matches!(self, Self::Row | Self::Both)
    }
}

term! {
    /// What happens where the loss of a row under some of the models is missing.
    MissingCells, "missing" {
        /// The question fails and says how many rows lack some.
        Error = "error",
        /// The score is taken over the models that have both losses.
        Pairwise = "pairwise",
        /// Models that lack the loss of any row are left out for all.
        DropModel = "drop_model",
    }
}

/// How a score is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CovarianceOptions {
    /// Covariance or correlation.
    pub score: Score,
    /// What is subtracted first.
    pub center: Center,
    /// What the number of models is reduced by in the divisor: 0 or 1. Of several groups each is.
    pub ddof: u8,
}

impl Default for CovarianceOptions {
    /// The reference: covariance of what is centred over the models, divided by K - 1.
    fn default() -> Self {
        Self { score: Score::Cov, center: Center::Row, ddof: 1 }
    }
}

/// The part of a question that asks for the covariance of losses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covariance {
    /// The ensemble, by name; by default the only one that has losses of the pools.
    pub ensemble: Option<String>,
    /// The signal, where there are several.
    pub signal: Option<String>,
    /// How the score is taken.
    pub how: CovarianceOptions,
    /// Rows that lack the loss of some models.
    pub missing: MissingCells,
    /// The base models whose perturbed copies count; by default all, each centred by itself.
    pub groups: Vec<String>,
    /// The fewest models that an answer is given from.
    pub min_models: usize,
}

impl Covariance {
    /// Why no covariance can be taken of so few models, if none can.
    pub(crate) fn refuses_min_models(min_models: usize) -> Option<String> {
        let why =
            || format!("a covariance takes at least 2 models, and `min_models => {min_models}` is fewer");
        (min_models < 2).then(why)
    }

    /// How the score is taken but for the means of the models, before these are known.
    pub(crate) fn how_without_means(&self) -> CovarianceOptions {
        let center = if self.how.center.of_rows() { Center::Row } else { Center::Base };
        CovarianceOptions { center, ..self.how }
    }
}

impl Default for Covariance {
    fn default() -> Self {
        Self {
            ensemble: None,
            signal: None,
            how: CovarianceOptions::default(),
            missing: MissingCells::Error,
            groups: Vec::new(),
            min_models: MIN_MODELS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_paper_are_understood() {
        assert_eq!("example".parse::<Center>().unwrap(), Center::Row);
        assert_eq!("example+model".parse::<Center>().unwrap(), Center::Both);
        for word in Center::WORDS {
            assert_eq!(word.parse::<Center>().unwrap().to_string(), *word);
        }
        let error = "mean".parse::<Score>().unwrap_err().to_string();
        assert!(error.contains("score") && error.contains("cov, corr"), "{error}");
    }
}
