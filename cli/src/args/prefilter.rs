//! Flags of `gstore prefilter`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use gstore_store::SnapshotName;

use super::{ListOfStateArgs, ScoringArgs, at_least};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore prefilter fit cheap --store s --pool pool --labels-of pool_sample --target gsm8k --inputs tokens,loss,embed-mean\n  \
    gstore prefilter apply cheap --store s --pool pool -o kept.jsonl\n  \
    gstore prefilter list --store s\n  \
    gstore query --store s \"SELECT id, score FROM predicted('pool', 'cheap') WHERE kept ORDER BY score DESC LIMIT 100\"\n\n\
    More: docs/prefilter.md")]
pub struct PrefilterArgs {
    #[command(subcommand)]
    pub what: PrefilterWhat,
}

/// What is done with a prefilter.
#[derive(Subcommand, Debug)]
#[allow(clippy::large_enum_variant)] // there is one in a process
pub enum PrefilterWhat {
    /// Learn from rows with gradients which others deserve them, report what that saves, and keep it
    Fit(PrefilterFitArgs),
    /// Predict every row of a dataset, and write those that are kept
    Apply(PrefilterApplyArgs),
    /// Judge a prefilter on rows with gradients that it has not learned from
    Evaluate(PrefilterEvaluateArgs),
    /// List the prefilters of the store
    #[command(alias = "ls")]
    List(ListOfStateArgs),
}

/// Labels: the scores of rows whose gradients are there.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Labels")]
pub struct LabelArgs {
    /// The dataset that is filtered
    #[arg(long, value_name = "NAME")]
    pub pool: String,
    /// What rows are scored for: a dataset, 'skill_*' for all with such a name, or dataset:subtask; each has
    /// predictions of its own
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1.., required = true)]
    pub target: Vec<String>,
    /// The dataset whose gradients are scored; its rows are those of the pool with the same ids
    /// [default: the pool, where only rows with gradients are labelled]
    #[arg(long, value_name = "NAME")]
    pub labels_of: Option<String>,
    /// Maximum number of labelled rows; the seed draws them from those with gradients
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = at_least::<u64>(1))]
    pub labels: u64,
    /// Seed of draws, folds, networks and resamples
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// The state of the store to read: a number or a tag [default: the current one]
    #[arg(long, value_name = "N|TAG")]
    pub snapshot: Option<SnapshotName>,
    #[command(flatten)]
    pub scoring: ScoringArgs,
}

/// Where a report goes.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Result")]
pub struct PrefilterReportArgs {
    /// Shares of kept rows that the report covers, such as 10%,20%
    #[arg(long, value_name = "P%", value_delimiter = ',', num_args = 1.., value_parser = share,
        default_values = ["10%", "20%", "30%", "40%", "50%", "60%", "70%", "80%"])]
    pub budgets: Vec<f64>,
    /// Resamples of the intervals
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = at_least::<usize>(100))]
    pub resamples: usize,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// File for the report: .json, else text [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// File for a picture of the recall by budget: .svg, .png, .html or .txt
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore prefilter fit cheap --store s --pool pool --labels-of pool_sample --target gsm8k,mmlu:law --inputs tokens,scored_tokens,loss,embed-mean\n  \
    gstore prefilter fit head --store s --pool pool --target gsm8k --inputs embed-mean --learner classifier --budget 40%\n\n\
    Every number in the report is measured on rows that were not used for learning. A prefilter that saves nothing is refused with its report.\n\n\
    Memory: the columns of the labelled rows, 8 bytes each and a few times.")]
pub struct PrefilterFitArgs {
    /// Name of the prefilter
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub labels: LabelArgs,
    /// The rows with gradients were drawn at random from all rows of the pool, so the bound of the recall may
    /// count those of the top as found [default: where gstore drew them]
    #[arg(long, help_heading = "Labels")]
    pub random_labels: bool,
    /// What is known of each row: tokens, scored_tokens, prompt_tokens, perplexity (of loss@base:
    /// perplexity@base), labels or kinds of features, metadata columns; feature:NAME and column:NAME where
    /// both have the name
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1.., required = true)]
    pub inputs: Vec<String>,
    /// What predicts
    #[arg(long, value_enum, default_value = "ridge")]
    pub learner: PrefilterLearner,
    /// Penalties of the ridge; of several, the best in the cross-validation is taken [default: 1,10,100,1000,10000]
    #[arg(long, value_name = "A", value_delimiter = ',', num_args = 1..)]
    pub alpha: Vec<f64>,
    /// Weight of the log losses of the logistic regression [default: 0.1]
    #[arg(long, value_name = "C")]
    pub c: Option<f64>,
    /// The share of rows that is the true top
    #[arg(long, value_name = "P%", value_parser = share, default_value = "5%")]
    pub top: f64,
    /// Keep so many rows that, with 95 % confidence, this share of the true top is among them
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "95%")]
    pub recall: f64,
    /// Keep this share of rows for each target instead; a row is kept if any target keeps it
    #[arg(long, value_name = "P%", value_parser = share, conflicts_with = "recall")]
    pub budget: Option<f64>,
    /// Folds of the cross-validation
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least::<usize>(2))]
    pub folds: usize,
    /// Measured seconds of one row's cheap features [default: both count in forward passes]
    #[arg(long, value_name = "S", requires = "gradient_seconds", value_parser = seconds)]
    pub feature_seconds: Option<f64>,
    /// Measured seconds of one row's gradients at all checkpoints
    #[arg(long, value_name = "S", requires = "feature_seconds", value_parser = seconds)]
    pub gradient_seconds: Option<f64>,
    /// Report, and keep nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Replace a prefilter of this name, and files
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub report: PrefilterReportArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore prefilter apply cheap --store s --pool pool -o kept.jsonl\n  \
    gstore prefilter apply cheap --store s --pool pool --predictions predictions.parquet\n\n\
    Kept rows are written in the order of the pool; then `gstore ingest` computes their gradients. A row without\n\
    a prediction, because a feature is missing or not finite, is kept; so is a labelled row of the true top, in the pool that the prefilter was fitted for.\n\nMemory: the features of 4,096 rows; for a table or a saved dataset 40 bytes for each kept row too.")]
pub struct PrefilterApplyArgs {
    /// Name of the prefilter
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The dataset
    #[arg(long, value_name = "NAME")]
    pub pool: String,
    /// File for the rows that are kept; `-` for standard output. They are the original lines; under a name in
    /// .csv, .tsv, .parquet or .arrow a table of them; under .gz or .zst packed; under a name with a slash at
    /// its end a saved Hugging Face dataset. An ending that says no format is refused
    #[arg(long, short, value_name = "FILE", required_unless_present = "predictions")]
    pub output: Option<PathBuf>,
    /// File for id, row, score, target and kept of every row: .csv, .tsv, .json, .parquet or .arrow
    #[arg(long, value_name = "FILE")]
    pub predictions: Option<PathBuf>,
    /// The state of the store to read: a number or a tag [default: the current one]
    #[arg(long, value_name = "N|TAG")]
    pub snapshot: Option<SnapshotName>,
    /// Replace the files if they exist
    #[arg(long)]
    pub force: bool,
    /// Print how many rows are kept as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore prefilter evaluate cheap --store s --pool pool --labels-of pool_kept --target gsm8k\n\n\
    Rows that it has learned from are left out.")]
pub struct PrefilterEvaluateArgs {
    /// Name of the prefilter
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub labels: LabelArgs,
    /// Replace files
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub report: PrefilterReportArgs,
}

/// What predicts.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrefilterLearner {
    /// Ridge regression of the scores
    Ridge,
    /// Logistic regression of "in the true top"
    Logistic,
    /// Gradient-boosted trees on the ranks of the scores
    Trees,
    /// A network over the terciles of the scores
    Classifier,
    /// A network over the standardised scores
    Regressor,
}

/// A share, as a number between 0 and 1 or in percent.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let found = super::fraction(text).filter(|share| *share > 0.0 && *share < 1.0);
    found.ok_or_else(|| "expected a share above 0 and below 1, such as 0.05 or 5%".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    let found = text.parse().ok().filter(|seconds: &f64| *seconds > 0.0 && seconds.is_finite());
    found.ok_or_else(|| "expected a positive number of seconds".to_owned())
}

#[cfg(test)]
mod tests {
    use super::share;
    use crate::args::part_or_all;

    #[test]
    fn a_share_is_the_number_that_is_written() {
        for (text, value) in
            [("99.9%", 0.999), ("0.999", 0.999), ("5 %", 0.05), ("36.5%", 0.365), ("5%", 0.05)]
        {
            assert_eq!(share(text), Ok(value), "{text}");
        }
        for wrong in ["100%", "0%", "1", "-5%", "%", "nan", "inf%", "five%"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
        assert_eq!((part_or_all("100%"), part_or_all("1"), part_or_all("5%")), (Ok(1.0), Ok(1.0), Ok(0.05)));
        for wrong in ["0", "101%", "1.5", "nan", ""] {
            assert!(part_or_all(wrong).is_err(), "{wrong}");
        }
    }
}
