//! Flags of `gstore score`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use gstore::factors::{Damping, Filter, Measurement, RotatedSide, Strategy};
use gstore_store::SnapshotName;

use super::factors::{STRATEGIES, damping};
use super::prefilter::share;
use super::words::{Word, one_of};
use super::{EngineArgs, FactorsModelArgs, GivenTextArgs, OutputArgs, at_least};

/// What needs no solver, or has no queries for it.
const NOT_SOLVED: [&str; 4] = ["rank", "of_self", "segment", "kronfluence"];

const ROTATED: &[Word<RotatedSide>] = &[
    ("queries", "Queries, into the eigenbasis and back", RotatedSide::Queries),
    ("rows", "Rows, and queries one way", RotatedSide::Rows),
];

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore score --store s --factors curvature --pool pool --target gsm8k -o scores.parquet\n  \
    gstore score --store s --factors curvature --pool pool --target-data prompts.json --top 20\n  \
    gstore score --store s --factors curvature --pool pool --target gsm8k --damping auto,1e-6,1e-3 --rank 64 -o scores.parquet\n  \
    gstore score --store s --factors curvature --pool pool --target gsm8k --filter 'inverse,source:500*1e-4' -o scores.parquet\n  \
    gstore score --store s --factors curvature --pool pool --target gsm8k --solver cg --iterations 20 -o scores.parquet\n  \
    gstore score --store s --factors curvature --pool pool --self --top 100 -o self.csv\n  \
    gstore score --store s --segment 'early=500*1e-4@run/250,run/500' --segment 'late=500*2e-5' --pool pool --target gsm8k\n\n\
    Rows with positive scores lower the loss of the query when they are trained on; multiplied by 1 / rows, a score is the effect\n\
    of one copy. Only samples and factors are read: gradients are computed again, in one pass over the pool, or in several, each for some\n\
    layers, where the queries do not fit in memory for all; with --segment, in one at each checkpoint.\n\n\
    Memory: the weights, and for each query 4 bytes for each weight of the modules, or 4 * rank for each of their inputs and outputs;\n\
    with --segment the weights of two checkpoints, and the bytes of a query for each segment; with --solver 52 more for each weight,\n\
    and 8 for each thread.")]
pub struct ScoreArgs {
    /// Factors of the store, which `gstore factors fit` makes; without them, and without --segment, --model
    /// says whose gradients are compared, and no curvature is used
    #[arg(long, value_name = "NAME")]
    pub factors: Option<String>,
    /// A segment of training, from the first to the last: factors, STEPS at a mean learning RATE, and
    /// checkpoints over which rows are averaged [default: those of the factors]; scores are summed over
    /// segments
    #[arg(long, value_name = "NAME=STEPS*RATE[@DIR|REPO,...]", value_parser = segment,
          conflicts_with_all = ["factors", "filter", "damping", "of_self", "checkpoint", "kronfluence"])]
    pub segment: Vec<ScoreSegmentArg>,
    /// Dataset whose rows are scored
    #[arg(long, value_name = "NAME")]
    pub pool: String,
    /// Dataset whose samples are the queries
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Files whose samples are the queries, as `gstore add` reads them
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with = "target")]
    pub target_data: Vec<PathBuf>,
    /// Key of these files that holds what gstore calls text, prompt, completion, messages, role, content or
    /// id (may be repeated)
    // clap asks for nothing that another argument excludes: without the conflicts it would pass beside
    // --target, which excludes --target-data.
    #[arg(long = "field", value_name = "FIELD=KEY", value_delimiter = ',', requires = "target_data", conflicts_with_all = ["target", "of_self"])]
    pub fields: Vec<String>,
    /// Score each row for itself: what is memorised, mislabelled or odd comes first
    #[arg(long = "self", conflicts_with_all = ["target", "target_data", "queries", "sum_queries"])]
    pub of_self: bool,
    /// Only the first N samples of the target
    #[arg(long, value_name = "N", value_parser = at_least::<usize>(1))]
    pub queries: Option<usize>,
    /// Only the first N rows of the pool
    #[arg(long, value_name = "N", value_parser = at_least::<u64>(1))]
    pub limit: Option<u64>,
    /// How the curvature is taken [default: as it was fitted]
    #[arg(long, value_parser = one_of(STRATEGIES))]
    pub strategy: Option<Strategy>,
    /// Function of the eigenvalues: the damped inverse, none, or what STEPS of training at a learning RATE
    /// make of them; several take one pass
    #[arg(long, value_name = "inverse|identity|source:STEPS*RATE", value_delimiter = ',', num_args = 1..,
          default_value = "inverse", value_parser = filter)]
    pub filter: Vec<Filter>,
    /// Added to eigenvalues before they are inverted: numbers, or auto for a tenth of each module's mean;
    /// several take one pass [default: auto]
    #[arg(long, value_name = "auto|X", value_delimiter = ',', num_args = 1.., value_parser = damping)]
    pub damping: Vec<Damping>,
    /// What is rotated for each product: queries into the eigenbasis and back, or rows into it; scores differ by
    /// rounding alone [default: what takes fewer multiplications; queries on a GPU or in bf16]
    #[arg(long, value_parser = one_of(ROTATED), conflicts_with = "of_self")]
    pub rotate: Option<RotatedSide>,
    /// Keep queries as matrices of this rank: less memory for many queries
    #[arg(long, value_name = "R", value_parser = at_least::<usize>(1))]
    pub rank: Option<usize>,
    /// Solve for each query with the curvature itself, from the factors' answer on: cg for conjugate
    /// gradients with Gauss-Newton products over the rows that were fitted on
    #[arg(long, value_enum, conflicts_with_all = NOT_SOLVED)]
    pub solver: Option<ScoreSolver>,
    /// Most iterations of the solver, each a pass over its rows [default: 50]
    #[arg(long, value_name = "N", requires = "solver", conflicts_with_all = NOT_SOLVED, value_parser = at_least::<usize>(1))]
    pub iterations: Option<usize>,
    /// Residual at which a query is solved for, as a part of the length of its gradient [default: 1e-3]
    #[arg(long, value_name = "T", requires = "solver", conflicts_with_all = NOT_SOLVED, value_parser = share)]
    pub tolerance: Option<f64>,
    /// Dataset of the rows of the solver's passes, where the factors do not say on which they were fitted
    #[arg(long, value_name = "NAME", requires = "solver", conflicts_with_all = NOT_SOLVED)]
    pub solver_data: Option<String>,
    /// Rows of the solver's passes, drawn from those that were fitted on [default: all]
    #[arg(long, value_name = "N", requires = "solver", conflicts_with_all = NOT_SOLVED, value_parser = at_least::<u64>(1))]
    pub solver_rows: Option<u64>,
    /// End with success though some queries could not be solved for: they have no scores in any case
    #[arg(long, requires = "solver", conflicts_with_all = NOT_SOLVED)]
    pub keep_going: bool,
    /// What is measured of a query, or with --self of each row
    #[arg(long, value_parser = one_of(MEASUREMENTS), default_value = "loss")]
    pub measurement: Measurement,
    /// A score for each module
    #[arg(long, conflicts_with = "per_token")]
    pub per_module: bool,
    /// A score for each token of a row
    #[arg(long)]
    pub per_token: bool,
    /// Sum the gradients of all queries: one score a row
    #[arg(long)]
    pub sum_queries: bool,
    /// Sum the scores of all rows: one score a query; not with --per-module, --per-token and --top
    #[arg(long)]
    pub sum_pool: bool,
    /// Only the N rows with the highest scores of each query; not with --per-module and --per-token
    #[arg(long, value_name = "N", value_parser = at_least::<usize>(1))]
    pub top: Option<usize>,
    /// Use factors of another checkpoint, of other data, or of texts that became other tokens
    #[arg(long)]
    pub stale: bool,
    /// Folder for the scores as Kronfluence writes them, and for the ids of rows and queries: it calls it
    /// `scores_NAME`; --force replaces scores in one that has nothing else, and those of queries or of --self that
    /// were not asked for stay
    #[arg(long, value_name = "DIR")]
    pub kronfluence: Option<PathBuf>,
    /// File for a report in Markdown, .md or .txt: of each query the rows with the highest and the lowest scores, and
    /// figures of all
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// The state of the store to read: a number or a tag [default: the current one]
    #[arg(long, value_name = "N|TAG")]
    pub snapshot: Option<SnapshotName>,
    /// The model [default: where that of the factors was]
    #[command(flatten)]
    pub model: FactorsModelArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// How records become tokens, where the factors do not say
    #[command(flatten)]
    pub text: GivenTextArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Show rows, queries, passes and memory, and compute nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

const MEASUREMENTS: &[Word<Measurement>] = &[
    ("loss", "Its cross-entropy, summed over scored tokens", Measurement::Loss),
    ("margin", "Minus the margin of each token over all others, summed", Measurement::Margin),
];

/// How queries are solved for.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreSolver {
    /// Conjugate gradients, preconditioned by the factors
    Cg,
}

/// A segment of training as a flag has it.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreSegmentArg {
    /// Name of its factors.
    pub factors: String,
    /// What its steps make of eigenvalues.
    pub filter: Filter,
    /// Folders or repositories of its checkpoints; empty: that of the factors.
    pub checkpoints: Vec<String>,
}

fn segment(text: &str) -> Result<ScoreSegmentArg, String> {
    let (what, folders) = text.split_once('@').map_or((text, None), |(what, folders)| (what, Some(folders)));
    let checkpoints: Vec<String> =
        folders.into_iter().flat_map(|all| all.split(',')).map(str::to_owned).collect();
    let wanted = || "expected NAME=STEPS*RATE, optionally followed by @ and checkpoints".to_owned();
    let (factors, steps) = what.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wanted)?;
    if checkpoints.iter().any(String::is_empty) {
        return Err(wanted());
    }
    let filter = Filter::of_steps(steps).ok_or_else(wanted)?.map_err(|error| error.to_string())?;
    Ok(ScoreSegmentArg { factors: factors.to_owned(), filter, checkpoints })
}

/// A filter; that of inverses without its damping.
fn filter(text: &str) -> Result<Filter, String> {
    Filter::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        assert_eq!(filter("source:500*1e-4"), Ok(Filter::Source { steps: 500, rate: 1e-4 }));
        assert_eq!(filter("identity"), Ok(Filter::Identity));
        assert_eq!(share("1e-3"), Ok(1e-3));
        assert!(["0", "1", "nan", "x"].iter().all(|text| share(text).is_err()));
        assert!(["source:0*1", "source:1*-1", "source:1", "x"].iter().all(|text| filter(text).is_err()));
    }

    #[test]
    fn segments() {
        let filter = Filter::Source { steps: 500, rate: 1e-4 };
        let of = |checkpoints: &[&str]| ScoreSegmentArg {
            factors: "late".to_owned(),
            filter,
            checkpoints: checkpoints.iter().map(|folder| (*folder).to_owned()).collect(),
        };
        assert_eq!(segment("late=500*1e-4"), Ok(of(&[])));
        assert_eq!(segment("late=500*1e-4@run/a,org/b@main"), Ok(of(&["run/a", "org/b@main"])));
        let wrong = ["late", "=1*1", "late=1", "late=0*1", "late=1*1@", "late=1*1@a,,b", "late=1*nan"];
        assert!(wrong.iter().all(|text| segment(text).is_err()));
    }
}
