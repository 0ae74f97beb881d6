//! Flags of `gstore evaluate lds`, `loo`, `brittleness` and `flips`.

use std::path::PathBuf;

use clap::Args;
use gstore_evaluate::attribution::MissingScores;

use super::words::{Word, one_of};
use super::{ComparisonArgs, ReportArgs, RowsAndQueriesArgs};

/// Scores of methods.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Scores")]
pub struct ScoresArgs {
    /// Files of scores, one method each: CSV, JSON lines or Parquet of `id`, `query` (or `target`) and
    /// `score`, or with a column for each query; NAME.npy with NAME.rows.txt and NAME.queries.txt;
    /// Kronfluence's folder `scores_NAME` with rows.txt and queries.txt in it
    #[arg(long, value_name = "[NAME=]PATH", num_args = 1..)]
    pub scores: Vec<String>,
    /// Statements over the store that give the same columns, one method each
    #[arg(long, value_name = "NAME=STATEMENT", num_args = 1..)]
    pub sql: Vec<String>,
    /// Methods whose low scores are the good ones
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub negate: Vec<String>,
    /// What a row without a score means [default: error]
    #[arg(long, value_parser = one_of(MISSING))]
    pub missing: Option<MissingScores>,
}

impl ScoresArgs {
    /// Whether no method is named.
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty() && self.sql.is_empty()
    }
}

/// Scores that are compared, also with those of a method that knows nothing.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Scores")]
pub struct ComparedScoresArgs {
    #[command(flatten)]
    pub methods: ScoresArgs,
    /// Add a method that knows nothing, whose scores are uniform numbers of this seed; without --against the
    /// others are compared with it
    #[arg(long, value_name = "SEED", num_args = 0..=1, default_missing_value = "0")]
    pub random: Option<u64>,
}

/// `gstore evaluate lds`, `loo` and `brittleness`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore evaluate lds --truth truth --scores bm25=bm25.csv --random --report lds\n  \
    gstore evaluate lds --store s --truth truth --sql \"less=SELECT id, target, score FROM influence('pool', 'queries', each => 'sample', k => 100000)\" -o lds.md\n  \
    gstore evaluate lds --store s --ensemble retrained --scores bm25=bm25.csv\n  \
    gstore evaluate loo --truth ones --scores mine.npy\n  \
    gstore evaluate lds --truth truth --scores ekfac=influence_results/llama/scores_ekfac\n  \
    gstore evaluate lds --subsets subsets.jsonl --outputs outputs.csv --scores mine=scores.parquet\n\n\
    All methods are compared over the same queries and retrained models; each difference comes with its paired bootstrap.\n\n\
    Memory: 8 bytes for each row, query and method, and 8 bytes for each resample and method; \
    16 for each row, query and module while a folder of Kronfluence's is read, and a page of each column while a file of Parquet is.")]
pub struct EvaluateAttributionArgs {
    #[command(flatten)]
    pub truth: TruthArgs,
    #[command(flatten)]
    pub scores: ComparedScoresArgs,
    #[command(flatten)]
    pub comparison: ComparisonArgs,
    #[command(flatten)]
    pub result: ReportArgs,
}

/// Results of retraining.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Ground truth")]
pub struct TruthArgs {
    /// Folder that `gstore evaluate retrain` filled
    #[arg(long, value_name = "DIR", required_unless_present_any = ["subsets", "outputs", "ensemble"])]
    pub truth: Option<PathBuf>,
    /// In place of a folder: an ensemble of the store that `gstore evaluate retrain --ensemble` filled
    // clap asks for nothing that another argument excludes: with --outputs alone, `requires` would let it
    // pass.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["truth", "subsets", "outputs"])]
    pub ensemble: Option<String>,
    /// In place of a folder: records of `subset` with `rows` or `without`, lists of ids, or with one `id`
    /// each
    #[arg(long, value_name = "FILE", requires = "outputs", conflicts_with = "truth")]
    pub subsets: Option<PathBuf>,
    /// With --subsets: records of `subset`, `query`, and `loss`, `margin` or `output`
    #[arg(long, value_name = "FILE", requires = "subsets", conflicts_with = "truth")]
    pub outputs: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore evaluate retrain --truth removed --design removal --scores less=less.csv --count 10 --data pool.jsonl --query-data queries.jsonl --model llama\n  \
    gstore evaluate brittleness --truth removed --report brittleness\n\n\
    The removed rows are those that the scores given to `gstore evaluate retrain` rank first.")]
pub struct EvaluateBrittlenessArgs {
    #[command(flatten)]
    pub truth: TruthArgs,
    #[command(flatten)]
    pub comparison: ComparisonArgs,
    #[command(flatten)]
    pub result: ReportArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore evaluate flips --labels flipped.csv --scores self=self.csv loss=loss.csv\n  \
    gstore evaluate flips --store s --labels flipped.csv --lowest --sql \"less=SELECT id, score FROM influence('pool', 'clean')\"\n\n\
    A method has one score for each row.")]
pub struct EvaluateFlipsArgs {
    /// Records of `id` and `flipped` (true or false)
    #[arg(long, value_name = "FILE")]
    pub labels: PathBuf,
    /// Look for wrong labels at the lowest scores: rows that work against what is wanted
    #[arg(long)]
    pub lowest: bool,
    #[command(flatten)]
    pub scores: ComparedScoresArgs,
    #[command(flatten)]
    pub comparison: ComparisonArgs,
    #[command(flatten)]
    pub result: ReportArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore evaluate scores --store s --dataset pool --query-dataset gsm8k --scores influence_results/llama/scores_ekfac -o report.md\n  \
    gstore evaluate scores --data pool.jsonl --query-data prompts.json --scores bm25=bm25.csv mine.npy -o report.md\n\n\
    The report is the one that `gstore score --report` writes, for scores computed before; several methods follow one another. \
    Rows and queries are joined by id.\n\n\
    Memory: the texts of all rows and queries, and 8 bytes for each row, query and method; \
    16 for each row, query and module while a folder of Kronfluence's is read, and a page of each column while a file of Parquet is.")]
pub struct EvaluateScoresArgs {
    /// File for the report, in Markdown: .md or .txt [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub of: RowsAndQueriesArgs,
    #[command(flatten)]
    pub scores: ScoresArgs,
}

const MISSING: &[Word<MissingScores>] = &[
    ("error", "An error", MissingScores::Refuse),
    ("zero", "A score of 0: for methods that list only their best rows", MissingScores::Zero),
];
