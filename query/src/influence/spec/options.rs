//! Options of a question: one table of names, types, defaults and purposes for SQL, flags and JSON.
//!
//! A front end hands values over as JSON, by name: [`Options::set`](super::values::Options::set) knows the
//! names, the readers of [`Options`](super::values::Options) know the types.
//! [`InfluenceSpec::from_options`](super::InfluenceSpec::from_options) makes the question of them.

use gstore_curvature::Inversion;

use self::Takes::{Count, Flag, Number, Numbers, Text, Texts, Word};
use super::{Across, Each, Fold, Method, Order, Sim, SubtaskBy, Within};
use crate::daunce::{Center, Score};

/// An option: how it is called everywhere, what it takes, and what it is for.
#[derive(Debug, Clone, Copy)]
pub struct OptionInfo {
    /// Its name; flags have hyphens for underscores.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What is meant where it is not given, in words; empty where it says nothing then.
    pub default: &'static str,
    /// What it is for, with other options as statements have them.
    pub about: &'static str,
    /// The functions that have it.
    functions: u8,
}

impl OptionInfo {
    /// Whether it says how vectors are compared, and so nothing of losses.
    pub(super) fn is_of_vectors(&self) -> bool {
        self.functions & OF_VECTORS != 0
    }
}

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// One text.
    Text,
    /// A list of texts, or one with commas.
    Texts,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A number.
    Number,
    /// A list of numbers, or one text with commas.
    Numbers,
    /// True or false.
    Flag,
    /// A whole number of at least 0.
    Count,
}

/// A table function, or a question as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Scores and rankings.
    Influence = 1,
    /// Rows without a score.
    Excluded = 2,
    /// The influence of rows on themselves.
    SelfInfluence = 4,
    /// Neighbours of a vector.
    Nearest = 8,
    /// A question as JSON.
    Question = 16,
    /// Covariances of losses.
    Daunce = 32,
}

// Names in SQL, as messages show them.
gstore_core::named!(Function {
    Influence = "influence()",
    Excluded = "excluded()",
    SelfInfluence = "self_influence()",
    Nearest = "nearest()",
    Question = "a question",
    Daunce = "daunce()",
});

impl Function {
    /// Its options, in the order of the table.
    pub fn options(self) -> impl Iterator<Item = &'static OptionInfo> {
        OPTIONS.iter().filter(move |option| option.functions & self as u8 != 0)
    }
}

/// Functions that ask about a target.
pub(super) const TARGET: u8 = Function::Influence as u8 | Function::Excluded as u8 | Function::Question as u8;
pub(super) const SELF: u8 = Function::SelfInfluence as u8;
const NEAREST: u8 = Function::Nearest as u8;
/// What is shown, and how many: no part of the question itself.
const SHOWN: u8 = Function::Influence as u8;
const JSON: u8 = Function::Question as u8;
const DAUNCE: u8 = Function::Daunce as u8;
/// The mark of options that say nothing of losses; it is the bit of no function.
const OF_VECTORS: u8 = 128;
const VECTORS: u8 = TARGET | OF_VECTORS;

/// What may become of a row that lacks something, by any method.
const MISSING: &[&str] = &["error", "exclude", "renormalise", "pairwise", "drop_model"];

const fn option(
    name: &'static str,
    takes: Takes,
    functions: u8,
    default: &'static str,
    about: &'static str,
) -> OptionInfo {
    OptionInfo { name, takes, default, about, functions }
}

/// The options that say which vectors are compared, and how.
pub const PAIR_OPTIONS: &[&str] = &[
    "checkpoints",
    "run",
    "weights",
    "sim",
    "missing",
    "kind",
    "pool_kind",
    "target_kind",
    "features",
    "modules",
    "precondition",
    "damping",
    "inversion",
    "filter",
    "stale",
    "partial",
    "exclude_target",
];

/// The options that say how covariances of losses are taken.
pub const COVARIANCE_OPTIONS: &[&str] =
    &["ensemble", "signal", "score", "center", "ddof", "groups", "min_models"];

/// All options.
#[rustfmt::skip]
pub const OPTIONS: &[OptionInfo] = &[
    option("pool", Texts, TARGET | SELF | NEAREST | DAUNCE, "", "Datasets whose rows are scored; their order breaks ties"),
    option("target", Texts, TARGET | DAUNCE, "", "What they are scored for: datasets, `skill_*` for all with such a name, or `dataset:subtask` for one subtask"),
    option("given", Texts, JSON, "", "Instead of a target: samples as records, JSON objects as in a data file"),
    option("checkpoints", Texts, VECTORS | SELF, "all that both sides have", "Checkpoints to use, by name or step"),
    option("weights", Numbers, VECTORS | SELF, "those of the run", "Weights of the checkpoints"),
    option("run", Text, VECTORS | SELF | NEAREST, "", "The training run whose checkpoints are meant, if there are several"),
    option("within", Word(Within::WORDS), TARGET | DAUNCE, "mean", "How the samples of a subtask combine: mean, max, min or sum"),
    option("across", Word(Across::WORDS), TARGET | DAUNCE, "max", "How subtasks combine: max, mean, sum or min"),
    option("fold", Word(Fold::WORDS), VECTORS, "none", "Whether a subtask is first replaced by one vector: none, mean or unit_mean"),
    option("sim", Word(Sim::WORDS), VECTORS | SELF | NEAREST, "cosine", "Similarity of two vectors: cosine or dot"),
    option("kind", Text, VECTORS | SELF | NEAREST, "grad-adam, else grad-sgd",
        "Feature of the pool, such as embed-mean; the target takes the same embedding, or grad-sgd"),
    option("pool_kind", Text, VECTORS | SELF, "", "The same as kind => 'KIND'"),
    option("target_kind", Text, VECTORS | SELF, "", "Feature of the target, if it is to be another"),
    option("features", Texts, VECTORS | SELF | NEAREST, "",
        "Labels or numbers of features to use: of their datasets no others, at their checkpoints, and of their kind if no kind is given"),
    option("missing", Word(MISSING), TARGET | SELF | DAUNCE, "error; with partial => true: exclude",
        "Rows that lack a checkpoint: error, exclude or renormalise; with the method daunce, the losses of some models: error, pairwise or drop_model"),
    option("partial", Flag, VECTORS | SELF | NEAREST, "", "Accept features that are still building"),
    option("by", Word(SubtaskBy::WORDS), TARGET | DAUNCE, "column",
        "What a subtask is: the column `subtask` of the target, or each dataset as a whole"),
    option("modules", Texts, VECTORS | SELF, "all, equally",
        "Modules that count, as globs with weights: '*.mlp.*', '*.mlp.*=1,*.self_attn.*=0.5'"),
    option("precondition", Text, VECTORS | SELF, "",
        "The Gram matrices, by name, whose damped inverse the target's vectors go through: TRAK, LoGra and TrackStar; of rows in the eigenbasis of factors also these"),
    option("damping", Number, VECTORS | SELF, "auto",
        "With precondition => 'NAME': what is added to eigenvalues, as a part of their mean in each module; auto: 0.1. Of rows in the eigenbasis of factors: the number itself; auto: as they are"),
    option("inversion", Word(&Inversion::NAMES), VECTORS | SELF, "damped",
        "With precondition => 'NAME': how eigenvalues are inverted: damped, absolute (damping is not a part of the mean), tikhonov or pseudoinverse"),
    option("filter", Text, VECTORS | SELF, "inverse",
        "Of rows in the eigenbasis of factors: the function of eigenvalues: inverse (with damping), identity or source:STEPS*RATE"),
    option("stale", Flag, VECTORS | SELF, "",
        "With precondition => 'NAME': accept matrices or factors of other datasets, rows that have changed, another checkpoint or other tokens"),
    option("per_token", Flag, VECTORS, "", "Score every token of the pools by itself"),
    option("prompt", Texts, TARGET | NEAREST, "", "Instead of a target: prompts of samples that are given"),
    option("completion", Texts, TARGET | NEAREST, "", "The completion of each prompt"),
    option("messages", Texts, TARGET | NEAREST, "", "Instead of a target: conversations, as JSON lists"),
    option("text", Texts, TARGET | NEAREST, "", "Instead of a target: plain texts"),
    option("raw", Flag, VECTORS | NEAREST, "",
        "Ask a given prompt with its completion as text without roles, also where the pool's samples are conversations"),
    option("exclude_target", Flag, TARGET | DAUNCE, "", "Leave out rows whose text is that of a target sample"),
    option("mode", Word(&["exact", "sketch"]), VECTORS, "exact",
        "Whether every row is read, or sketches of the rows first: exact or sketch. What the answer promises is printed"),
    option("miss", Number, VECTORS, "1e-6", "With mode => 'sketch': the probability that any of the rows wanted is missing"),
    option("tolerance", Number, VECTORS, "0",
        "With mode => 'sketch': accept that rows are missing that score at most this much better than the last one shown"),
    option("certified", Flag, VECTORS, "",
        "With mode => 'sketch': read only codes whose bounds are certain, so that the answer is the exact one; not with miss => X"),
    option("planes", Texts, JSON | OF_VECTORS, "", "With mode => 'sketch': the codes to read, in this order"),
    option("method", Word(Method::WORDS), TARGET, "influence",
        "What scores: influence (products of vectors) or daunce (covariances of losses over an ensemble)"),
    option("ensemble", Text, TARGET | DAUNCE, "the only one",
        "With method => 'daunce': the ensemble whose losses are compared"),
    option("signal", Text, TARGET | DAUNCE, "the only one",
        "With method => 'daunce': what was recorded of the models, such as loss or neg_margin"),
    option("score", Word(Score::WORDS), TARGET | DAUNCE, "cov",
        "With method => 'daunce': the covariance (cov) or the correlation (corr)"),
    option("center", Word(Center::WORDS), TARGET | DAUNCE, "row",
        "With method => 'daunce': what is subtracted first: row (its mean over the models), model (its mean over the pool), both, or base"),
    option("ddof", Count, TARGET | DAUNCE, "1", "With method => 'daunce': a covariance is divided by the models less this: 0 or 1"),
    option("groups", Texts, TARGET | DAUNCE, "all",
        "With method => 'daunce': ids of the base models whose copies count; those of each are centred by themselves"),
    option("min_models", Count, TARGET | DAUNCE, "3", "With method => 'daunce': the fewest models that a score is taken over"),
    option("in_target", Flag, SHOWN | DAUNCE, "", "Show whether a row occurs in the target"),
    option("explain", Flag, SHOWN | DAUNCE, "", "Show what stands behind each score"),
    option("quota", Texts, SHOWN, "", "How many rows each value of a metadata column may have"),
    option("quota_by", Text, SHOWN, "source", "The metadata column that quotas count by"),
    option("distinct", Number, SHOWN | OF_VECTORS, "", "Pass over rows whose cosine with a row taken before is above this"),
    option("round_robin", Word(Each::WORDS), SHOWN, "", "What takes rows in turn: subtask, target or sample"),
    option("each", Word(Each::WORDS), SHOWN | DAUNCE, "", "What has a ranking of its own: subtask, target or sample"),
    option("order", Word(Order::WORDS), SHOWN | DAUNCE, "best", "Which end of the rankings, with each, a quota, distinct or round_robin"),
    option("id", Text, NEAREST, "", "The sample of the pool whose neighbours are wanted"),
    option("vector", Numbers, NEAREST, "", "The vector whose neighbours are wanted"),
    option("checkpoint", Text, NEAREST, "", "The checkpoint whose vectors are compared, by name or step"),
    option("exact", Flag, NEAREST, "", "Whether graphs are not searched, or all of them"),
    option("ef", Count, NEAREST, "", "Candidates that a search of a graph keeps"),
    option("where", Text, SHOWN | SELF | NEAREST | DAUNCE, "all", "The rows that are ranked: an SQL condition over the columns of the pools' tables"),
    option("k", Count, SHOWN | SELF | NEAREST | DAUNCE, "", "The relation is the first k rows"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daunce::MissingCells;
    use crate::influence::Missing;

    #[test]
    fn what_may_be_missing_has_the_words_of_both_methods() {
        let mut words = [Missing::WORDS, MissingCells::WORDS].concat();
        let mut seen = std::collections::BTreeSet::new();
        words.retain(|word| seen.insert(*word));
        assert_eq!(MISSING, words);
    }
}
