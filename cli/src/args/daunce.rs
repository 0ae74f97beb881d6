//! Flags of `gstore daunce`: attribution from the covariance of losses over an ensemble.

use clap::{Args, Subcommand};
use gstore_ingest::pipeline::IngestRequest;
use gstore_model::ComputePrecision;

use super::gradients::precision;
use super::{
    DaunceAgreementArgs, DaunceAttachArgs, DaunceDiagnoseArgs, DauncePrepareArgs, DaunceQueryArgs,
    DaunceReportArgs, DaunceTrainArgs, DevicesArgs, TextArgs, at_least,
};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore daunce train --store s --model llama --dataset pool --models 100 --steps 16 --output copies\n  \
    gstore daunce losses --store s --ensemble copies --dataset pool\n  \
    gstore daunce diagnose --store s --ensemble copies\n  \
    gstore daunce agreement --store s --pool pool --target gsm8k -o agreement.svg\n  \
    gstore daunce query --store s --pool pool --target gsm8k --score corr --top 10\n  \
    gstore daunce report --store s --pool pool --target gsm8k -o report.html\n\n\
    A score is the covariance of the losses of a row and a target sample over models that were perturbed at random; positive scores are proponents.\n\
    Below some 100 models most of a ranking is noise: look at the errors, and at `agreement`. docs/daunce.md")]
pub struct DaunceArgs {
    #[command(subcommand)]
    pub what: DaunceWhat,
}

/// What to do with an ensemble.
#[derive(Subcommand, Debug)]
#[allow(clippy::large_enum_variant)] // there is one in a process
pub enum DaunceWhat {
    /// Train perturbed copies of a model
    Train(DaunceTrainArgs),
    /// Store the hidden states that copies are compared with, before they are trained
    Prepare(DauncePrepareArgs),
    /// Register trained copies of other folders in the store
    Attach(DaunceAttachArgs),
    /// Compute the losses of a dataset under each model of an ensemble, by forward passes alone
    Losses(DaunceLossesArgs),
    /// The best and the worst rows of a pool for a target, with the errors of their scores
    Query(DaunceQueryArgs),
    /// For each target sample its best and worst rows with text, score and error: Markdown, HTML or JSON
    Report(DaunceReportArgs),
    /// How alike halves of the models rank, by their number: whether there are enough models
    Agreement(DaunceAgreementArgs),
    /// What is wrong with the models or their losses: copies, models that changed nothing or too much, coarse
    /// numbers
    Diagnose(DaunceDiagnoseArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore daunce losses --store s --ensemble e --model llama --dataset pool\n  \
    gstore daunce losses --store s --ensemble mine --model llama --adapter theta0 --adapters 'tuned/model-*' --dataset pool\n\n\
    First the losses of theta_0, then a column for each model whose weights are here; each is published when it is whole, and what is there is\n\
    not computed again. Ctrl-C keeps what was sealed; run the same command again to continue. More: docs/daunce.md\n\n\
    Memory: the weights, and for each thread the activations of one batch.")]
pub struct DaunceLossesArgs {
    /// The ensemble
    #[arg(long, value_name = "NAME")]
    pub ensemble: String,
    /// Dataset whose registered samples are used
    #[arg(long, value_name = "NAME")]
    pub dataset: String,
    /// The base model: a folder in Hugging Face layout, or org/name or org/name@revision on the Hugging Face
    /// Hub [default: the folder that the ensemble was made from]
    #[arg(long, alias = "model-name-or-path", value_name = "DIR|REPO")]
    pub model: Option<String>,
    /// With --adapters: the adapter that theta_0 is; without, theta_0 is the base model itself
    #[arg(long, value_name = "DIR", requires = "adapters")]
    pub adapter: Option<String>,
    /// Adapters or models to add to the ensemble first, as folders or patterns, also as name=folder;
    /// it is made if there is none
    #[arg(long, value_name = "DIR", num_args = 1.., requires = "model")]
    pub adapters: Vec<String>,
    /// Only these members, by their places from 0: a..b without b [default: all]
    #[arg(long, value_name = "A..B", value_parser = range)]
    pub members: Option<(usize, usize)>,
    #[command(flatten)]
    pub text: TextArgs,
    #[command(flatten)]
    pub devices: DevicesArgs,
    /// Precision of the factors of matrix products: with less than f32, losses hide how models differ
    #[arg(long, value_parser = precision(), default_value = "f32")]
    pub compute: ComputePrecision,
    /// Tokens that a thread computes at a time, about; changes speed and memory, not the losses
    #[arg(long, value_name = "N", default_value_t = IngestRequest::BATCH_TOKENS, value_parser = at_least::<u32>(1))]
    pub batch_tokens: u32,
    /// Show models, rows, tokens, time, memory and disk, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,
}

/// Places of members: `a..b`, or one.
fn range(text: &str) -> Result<(usize, usize), String> {
    let wrong = || format!("{text:?} is not a range of members: expected a..b, which excludes b");
    let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
    let (from, to) = match text.split_once("..") {
        Some((from, to)) => (number(from)?, number(to)?),
        None => (number(text)?, number(text)?.saturating_add(1)),
    };
    if from < to { Ok((from, to)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_a_range_or_one() {
        assert_eq!(range("3..7"), Ok((3, 7)));
        assert_eq!(range("5"), Ok((5, 6)));
        for wrong in ["", "7..3", "4..4", "a..b", "..3"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
