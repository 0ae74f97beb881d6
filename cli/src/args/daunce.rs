//! Flags of `gstore daunce`: attribution from the covariance of losses over an ensemble.

use clap::{Args, Subcommand};

use super::{DaunceAttachArgs, DauncePrepareArgs, DaunceTrainArgs};

/// `gstore daunce`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore daunce train --store s --model llama --dataset pool --models 32 --steps 16 --output ens\n  \
    gstore daunce losses --store s --ensemble ens --dataset pool --model llama\n  \
    gstore daunce query --store s --ensemble ens --pool pool --target gsm8k\n\n\
    More: docs/daunce.md")]
pub struct DaunceArgs {
    /// What to do
    #[command(subcommand)]
    pub what: DaunceWhat,
}

/// What is done with an ensemble.
#[derive(Subcommand, Debug)]
#[allow(clippy::large_enum_variant)] // there is one in a process
pub enum DaunceWhat {
    /// Train perturbed copies of a model
    Train(DaunceTrainArgs),
    /// Store the hidden states that the copies are compared with, before they are trained
    Prepare(DauncePrepareArgs),
    /// Register trained copies of other folders in the store
    Attach(DaunceAttachArgs),
}
