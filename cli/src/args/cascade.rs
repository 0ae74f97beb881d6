//! Flags of a cascade of `gstore select`.

use std::path::PathBuf;

use clap::Args;

use super::prefilter::share;
use super::{ModelArgs, PrefilterLearner, at_least};

/// Features stage by stage, for the rows that are left.
#[derive(Args, Debug, Clone)]
pub struct CascadeArgs {
    /// Compute the pool's gradients first, stage by stage for the rows that are left, such as
    /// 'loss -> embed -> 1 checkpoint -> all'; a stage has embeddings, loss, tokens or metadata columns, with
    /// commas between them, or scores at some of the checkpoints
    #[arg(long, value_name = "STAGES")]
    pub cascade: Option<String>,
    /// Cut so that, with 95 % confidence, this share of the selected rows is kept
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "95%", requires = "cascade")]
    pub recall: f64,
    /// Rows that are labelled: a random sample with all features [default: enough for --recall]
    #[arg(long, value_name = "N", value_parser = at_least::<u64>(1), requires = "cascade")]
    pub labels: Option<u64>,
    /// Rounds in which the rows nearest to the last cut, a quarter as many as --labels, are labelled to learn
    /// from
    #[arg(long, value_name = "N", default_value_t = 0, requires = "cascade")]
    pub rounds: usize,
    /// What predicts
    #[arg(long, value_enum, default_value = "ridge", requires = "cascade")]
    pub learner: PrefilterLearner,
    /// Seed of the sample, of folds and networks
    #[arg(long, value_name = "N", default_value_t = 42, requires = "cascade")]
    pub seed: u64,
    /// Label the sample, print what is to be expected, and stop: no file is written but --report
    #[arg(long, requires = "cascade")]
    pub estimate: bool,
    /// File for the report of the cascade: .json, else text
    #[arg(long, value_name = "FILE", requires = "cascade")]
    pub report: Option<PathBuf>,
    #[command(flatten)]
    pub models: ModelArgs,
}
