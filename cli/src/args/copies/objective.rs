//! Objective of a copy of a model: what it minimises, and at which rates.

use std::path::PathBuf;

use clap::Args;
use gstore_train::daunce::{BaseStates, Normalizer, Variant};

use super::super::TrainOptimizerArgs;
use super::super::words::{Word, one_of};

/// The objective.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Objective")]
pub struct DaunceObjectiveArgs {
    /// What each copy minimises
    #[arg(long, value_parser = one_of(VARIANTS), default_value = "if")]
    pub variant: Variant,
    /// Scale of the noise [default: 1]
    #[arg(long, value_name = "X")]
    pub rho: Option<f64>,
    /// Scale of what holds a copy near the start
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub gamma: f64,
    /// By how many tokens the loss of a row is divided
    #[arg(long, value_parser = one_of(NORMALIZERS), default_value = "step")]
    pub normalizer: Normalizer,
    /// Where logits of the start come from; the same bits
    #[arg(long, value_parser = one_of(BASE_STATES), default_value = "auto")]
    pub base_states: BaseStates,
    /// File of hidden states of the start that `gstore daunce prepare` wrote
    #[arg(long, value_name = "FILE", conflicts_with = "base_states")]
    pub hidden_states: Option<PathBuf>,
    /// Share of the inputs of LoRA factors that is dropped in training; the start is computed without
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub lora_dropout: f64,
}

const VARIANTS: &[Word<Variant>] = &[
    ("if", "The change of the loss with a perturbed linear term", Variant::If),
    ("efim", "The squared change of the loss with one", Variant::Efim),
    ("subset", "The loss itself: copies differ by their rows alone", Variant::Subset),
];

/// By how many tokens a loss is divided.
const NORMALIZERS: &[Word<Normalizer>] = &[
    (
        "step",
        "The mean number of scored tokens of the step's rows, as in the reference implementation",
        Normalizer::Step,
    ),
    ("row", "The row's own number of scored tokens, as losses are recorded", Normalizer::Row),
];

const BASE_STATES: &[Word<BaseStates>] = &[
    (
        "auto",
        "A file where there is one, where all weights are trained or where it takes up to 1 GiB; else passes",
        BaseStates::Auto,
    ),
    ("stored", "A file of hidden states, made if it is missing", BaseStates::Stored),
    ("forward", "A forward pass of the start for each batch", BaseStates::Forward),
];

/// Optimizer and schedule, with defaults of their own.
#[derive(Args, Debug, Clone)]
#[command(
    next_help_heading = "Optimizer",
    mut_arg("learning_rate", |rate| rate.default_value("0.0003")),
    mut_arg("lr_scheduler_type", |schedule| schedule.default_value("cosine")),
    mut_arg("warmup_ratio", |share| share.default_value("0.03")),
    mut_arg("max_grad_norm", |norm| norm.default_value("0"))
)]
pub struct DaunceRateArgs {
    #[command(flatten)]
    pub of: TrainOptimizerArgs,
    /// The first step has a rate of zero, as in the reference, and so changes nothing
    #[arg(long)]
    pub first_rate_zero: bool,
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    #[test]
    fn copies_have_rates_of_their_own() {
        let rates = |words: &[&str]| {
            let matches = DaunceRateArgs::augment_args(Command::new("t")).get_matches_from(words);
            DaunceRateArgs::from_arg_matches(&matches).unwrap().of
        };
        let own = rates(&["t"]);
        assert_eq!((own.learning_rate, own.warmup_ratio, own.max_grad_norm), (3e-4, 0.03, 0.0));
        assert_eq!((own.optim.as_str(), own.lr_scheduler_type.as_str()), ("adamw", "cosine"));
        assert_eq!(rates(&["t", "--learning-rate", "1"]).learning_rate, 1.0);
    }
}
