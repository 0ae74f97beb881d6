//! Flags of the commands of `gstore daunce` that rank by losses.

use std::path::PathBuf;

use clap::Args;
use gstore_store::SnapshotName;

use super::{CovarianceArgs, JsonArgs, OutputArgs, PictureArgs, RankingArgs};

/// A pool, a target, and how their losses are compared.
pub type LossRankingArgs = RankingArgs<CovarianceArgs>;

#[derive(Args, Debug)]
pub struct DaunceQueryArgs {
    #[command(flatten)]
    pub ranking: LossRankingArgs,
    /// How many rows at each end
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = super::at_least::<usize>(1))]
    pub top: usize,
    /// Whole texts in a table, below their rows, instead of their beginnings; other formats always have them
    #[arg(long)]
    pub full: bool,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Args, Debug)]
pub struct DaunceReportArgs {
    #[command(flatten)]
    pub ranking: LossRankingArgs,
    /// How many rows at each end
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = super::at_least::<usize>(1))]
    pub top: usize,
    /// How many target samples at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = super::at_least::<usize>(1))]
    pub queries: usize,
    /// Whole texts instead of their beginnings, which .json always has
    #[arg(long)]
    pub full: bool,
    /// File to write: .md, .html or .json [default: standard output, as Markdown]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

#[derive(Args, Debug)]
pub struct DaunceAgreementArgs {
    #[command(flatten)]
    pub ranking: LossRankingArgs,
    /// Rows at the top of the rankings whose overlap is counted
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = super::at_least::<usize>(1))]
    pub top: usize,
    /// Print the numbers as JSON
    #[arg(long, conflicts_with = "output")]
    pub json: bool,
    #[command(flatten)]
    pub picture: PictureArgs,
}

#[derive(Args, Debug)]
pub struct DaunceDiagnoseArgs {
    /// The ensemble
    #[arg(long, value_name = "NAME", required = true)]
    pub ensemble: String,
    /// Datasets whose losses are looked at [default: all]
    #[arg(long = "of", value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    pub datasets: Vec<String>,
    /// Print what was found as JSON
    #[arg(long)]
    pub json: bool,
    /// The state of the store to read: a number or a tag [default: the current one]
    #[arg(long, value_name = "N|TAG")]
    pub snapshot: Option<SnapshotName>,
}
