//! Flags of `gstore evaluate retrain`.

use std::ops::Range;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::prefilter::share;
use super::{
    ScoresArgs, TextArgs, TrainBatchArgs, TrainComputeArgs, TrainOptimizerArgs, TrainWeightArgs, at_least,
};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore evaluate retrain --truth truth --data pool.jsonl --query-data queries.jsonl --count 32 --fraction 0.5 --model llama --lora-rank 8 --learning-rate 1e-3 --epochs 2\n  \
    gstore evaluate retrain --truth truth --runs 0..8 --model llama --lora-rank 8 --learning-rate 1e-3 --epochs 2  # in the folder of the first\n  \
    gstore evaluate retrain --store s --truth truth --draw-only --ensemble retrained --query-dataset queries  # the same\n  \
    gstore evaluate retrain --truth ones --design leave-one-out --data pool.jsonl --query-data queries.jsonl --draw-only\n\n\
    The folder keeps rows, queries, subsets and the losses of each run: Ctrl-C or kill -9 lose only the run in progress; run the same command again to continue.\n\
    Several jobs can do different runs of one folder at once. To compare scores with them: gstore evaluate lds, loo, brittleness.\n\n\
    Memory: what `gstore train` takes, and the rows and queries.")]
pub struct EvaluateRetrainArgs {
    /// Folder of the ground truth; a new one needs rows and queries
    #[arg(long, value_name = "DIR")]
    pub truth: PathBuf,
    #[command(flatten)]
    pub draw: SubsetDrawArgs,
    /// Scores whose best rows are removed
    #[command(flatten)]
    pub scores: ScoresArgs,
    /// Only these runs, as 0..8 for the first eight: a job of an array
    #[arg(long, value_name = "A..B", value_parser = runs)]
    pub runs: Option<Range<usize>>,
    /// Make the folder and train nothing
    #[arg(long)]
    pub draw_only: bool,
    /// Replace another ground truth in the folder, with the outputs of its runs and its models in the
    /// --ensemble; one that is the same goes on
    #[arg(long)]
    pub force: bool,
    /// Keep subsets and losses in the store too, as an ensemble of this name whose members are the runs that
    /// are done; the queries are samples of --query-dataset
    #[arg(long, value_name = "NAME", requires = "query_dataset")]
    pub ensemble: Option<String>,
    /// Keep the retrained models in the folder
    #[arg(long)]
    pub keep_models: bool,
    /// Model to start from: a folder in Hugging Face layout, or org/name or org/name@revision
    /// on the Hugging Face Hub
    #[arg(
        long,
        alias = "model-name-or-path",
        value_name = "DIR|REPO",
        required_unless_present = "draw_only"
    )]
    pub model: Option<String>,
    #[command(flatten)]
    pub text: TextArgs,
    #[command(flatten)]
    pub weights: TrainWeightArgs,
    /// Batches and epochs; the runs of a subset count --seed up
    #[command(flatten)]
    pub batches: TrainBatchArgs,
    #[command(flatten)]
    pub optimizer: TrainOptimizerArgs,
    #[command(flatten)]
    pub computing: TrainComputeArgs,
}

/// Training rows, and the queries that they have scores for.
#[derive(Args, Debug, Clone)]
pub struct RowsAndQueriesArgs {
    /// Files of the rows, as in `gstore add`
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// A dataset of the store, in place of files
    #[arg(long, value_name = "NAME", conflicts_with = "data")]
    pub dataset: Option<String>,
    /// Files of the queries
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub query_data: Vec<PathBuf>,
    /// A dataset of the store with the queries
    #[arg(long, value_name = "NAME", conflicts_with = "query_data")]
    pub query_dataset: Option<String>,
    /// Key of all these files that holds what gstore calls text, prompt, completion, messages, role, content
    /// or id (may be repeated)
    #[arg(long = "field", value_name = "FIELD=KEY", value_delimiter = ',')]
    pub fields: Vec<String>,
}

/// What a ground truth trains on and asks about.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Subsets")]
pub struct SubsetDrawArgs {
    #[command(flatten)]
    pub of: RowsAndQueriesArgs,
    /// Only the rows whose ids stand in a file: JSON lines with an `id` each
    #[arg(long, value_name = "FILE")]
    pub rows: Option<PathBuf>,
    /// Which subsets are trained on [default: random]
    #[arg(long, value_enum)]
    pub design: Option<Design>,
    /// Random subsets; of leave-one-out the rows that are left out, of removal the queries [default: 32; all]
    #[arg(long, value_name = "N", value_parser = at_least::<usize>(1))]
    pub count: Option<usize>,
    /// Share of the rows in a random subset, as 0.5 or 50% [default: 0.5]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub fraction: Option<f64>,
    /// Runs of each subset, with seeds of their own [default: 1]
    #[arg(long, value_name = "N", value_parser = at_least::<usize>(1))]
    pub repeats: Option<usize>,
    /// Seed of the subsets [default: 0]
    #[arg(long, value_name = "N")]
    pub subset_seed: Option<u64>,
    /// Of leave-group-out: key of the records that names the group
    #[arg(long, value_name = "KEY")]
    pub group: Option<String>,
    /// Of removal: shares of the rows that are removed, as 0.1 or 10% [default: 0.05,0.1,0.2]
    #[arg(long, value_name = "SHARE", num_args = 1.., value_delimiter = ',', value_parser = share)]
    pub shares: Vec<f64>,
    /// Of removal: random removals of each share [default: 5]
    #[arg(long, value_name = "N", value_parser = at_least::<usize>(1))]
    pub draws: Option<usize>,
}

/// What holds where a flag is not given. The flags themselves have no defaults, so that one that is given is
/// known from one that is not: where a ground truth is there already it would say nothing.
impl SubsetDrawArgs {
    /// Which subsets.
    pub fn design(&self) -> Design {
        self.design.unwrap_or(Design::Random)
    }

    /// Share of the rows in a random subset.
    pub fn fraction(&self) -> f64 {
        self.fraction.unwrap_or(0.5)
    }

    /// Runs of each subset.
    pub fn repeats(&self) -> usize {
        self.repeats.unwrap_or(1)
    }

    /// Seed of the subsets.
    pub fn subset_seed(&self) -> u64 {
        self.subset_seed.unwrap_or(0)
    }

    /// Shares of the rows that are removed.
    pub fn shares(&self) -> Vec<f64> {
        if self.shares.is_empty() { vec![0.05, 0.1, 0.2] } else { self.shares.clone() }
    }

    /// Random removals of each share.
    pub fn draws(&self) -> usize {
        self.draws.unwrap_or(5)
    }
}

/// Which subsets are trained on.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Design {
    /// Random shares of the rows: for lds
    Random,
    /// All rows but one: for loo
    LeaveOneOut,
    /// All rows but those of a group: for loo
    LeaveGroupOut,
    /// All rows but the best of a method for a query: for brittleness
    Removal,
}

/// Runs from A up to B, without B.
fn runs(text: &str) -> Result<Range<usize>, String> {
    let parsed = text.split_once("..").and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
    let parsed = parsed.filter(|runs| runs.start < runs.end);
    parsed.ok_or_else(|| "expected A..B: the first run, and the one after the last".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::SubsetDrawArgs;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        draw: SubsetDrawArgs,
    }

    #[test]
    fn shares_are_numbers_or_percentages() {
        let parsed = |words: &[&str]| Line::try_parse_from([&["line"], words].concat()).map(|line| line.draw);
        assert_eq!(parsed(&["--fraction", "50%"]).expect("parsed").fraction(), 0.5);
        assert_eq!(parsed(&["--fraction", "0.3"]).expect("parsed").fraction(), 0.3);
        assert_eq!(parsed(&["--shares", "10%,0.3", "5%"]).expect("parsed").shares(), [0.1, 0.3, 0.05]);
        for wrong in ["100%", "1", "0", "half"] {
            assert!(
                parsed(&["--fraction", wrong]).is_err() && parsed(&["--shares", wrong]).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn runs_are_a_range() {
        assert_eq!(super::runs("0..8"), Ok(0..8));
        for wrong in ["8", "3..3", "5..2", "-1..2", "a..b"] {
            assert!(super::runs(wrong).is_err(), "{wrong}");
        }
    }
}
