//! Arguments of `gstore select`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[cfg(feature = "serve")]
use super::RemoteArgs;
use super::{CascadeArgs, DrawArgs, ScoringArgs, StateArgs};

#[derive(Args, Debug, Clone)]
#[command(
    after_help = "Examples:\n  gstore select --store s --pool pool --target gsm8k --top 5% -o selected.jsonl\n  \
    gstore select --store s --pool pool --target gsm8k --top 5% --cascade 'loss -> embed -> 1 checkpoint -> all' -o selected.jsonl\n  \
    gstore select --store s --pool pool --target gsm8k --top 5% --cascade 'loss -> 1 checkpoint -> all' --estimate\n  \
    gstore select --store s --pool pool --target gsm8k --top 5% --with-scores -o selected.parquet\n  \
    gstore select --remote grpc://127.0.0.1:8815 --pool pool --target gsm8k --top 5% -o selected.jsonl\n\n\
    The method is LESS unless told otherwise: cosine of optimizer-aware gradients, weighted over checkpoints, mean within a subtask, maximum across.\n\
    Rows without a scored token, or with values that are not finite, are never selected; their number is printed.\n\n\
    Memory: one block of rows for each thread, the target's vectors and the selected rows (with --scores-of all, 24 bytes for each row of the pool), and with --distinct the vectors of the selected rows, at most 2 GiB, and with --cascade the columns of the sample, and for each remaining row about 100 bytes and 32 for each checkpoint."
)]
pub struct SelectArgs {
    /// Datasets to select from
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1.., required = true)]
    pub pool: Vec<String>,
    /// Target samples: a dataset, 'skill_*' for all with such a name, or dataset:subtask; several are
    /// allowed, with commas between them (a subtask with a comma can be named in SQL only)
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1.., required = true)]
    pub target: Vec<String>,
    /// How many rows: a number, or a share of the live rows such as 5%, multiplied in float64 and rounded
    /// down (29% of 100 is 28, as in LESS); less than one row is refused
    #[arg(long, value_name = "N|P%", value_parser = super::top)]
    pub top: String,
    /// The dataset that a percentage of --top refers to, such as the one that a prefilter kept rows of; not
    /// with --cascade [default: the pools]
    // No conflict with --cascade: beside one clap would take the flags that require that, and do nothing.
    #[arg(long, value_name = "NAME")]
    pub of: Option<String>,
    /// Make a separate selection for each target; the target's name goes into those of the files, before the
    /// ending or in place of {target}
    #[arg(long, value_enum, value_name = "WHAT")]
    pub each: Option<EachSelection>,
    /// Take the rows that oppose the target most instead
    #[arg(long)]
    pub worst: bool,
    /// Only rows for which this SQL condition on the pools' columns is true. It chooses what is scored: for a
    /// condition on scores use `gstore query` over influence()
    #[arg(long = "where", id = "where", value_name = "SQL")]
    pub filter: Option<String>,
    #[command(flatten)]
    pub rules: RuleArgs,
    /// Add to the score file each checkpoint's part, the nearest target sample, the standard
    /// error and the noise floor
    #[arg(long)]
    pub explain: bool,
    /// File for the selected rows, best first, with --worst the lowest score first; `-` for standard output.
    /// They are the original lines, byte for byte, or the converted records of a layout such as sharegpt; under
    /// a name in .csv, .tsv, .parquet or .arrow a table of them; under .gz or .zst packed; under a name with a
    /// slash at its end a saved Hugging Face dataset. An ending that says no format is refused.
    /// With --estimate nothing is selected, and no file is needed
    #[arg(long, short, value_name = "FILE", required_unless_present = "estimate")]
    pub output: Option<PathBuf>,
    /// Add rank and score of each selected row to its record, as the keys gstore_rank (from 1) and
    /// gstore_score; a record that has one of these is refused
    #[arg(long)]
    pub with_scores: bool,
    /// File for id, row, score and subtask: .csv, .tsv, .json, .parquet or .arrow [default:
    /// OUTPUT.scores.csv; none for standard output and devices]
    #[arg(long, value_name = "FILE")]
    pub scores: Option<PathBuf>,
    /// Replace the files if they exist
    #[arg(long)]
    pub force: bool,
    /// Print how many rows were selected, and what was not, as JSON, or the --estimate; with --each target an
    /// object a line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub draw: DrawArgs,
    #[command(flatten)]
    pub cascade: CascadeArgs,
    /// Which rows the score file lists
    #[arg(long, value_enum, default_value = "selected")]
    pub scores_of: ScoresOf,
    #[command(flatten)]
    pub state: StateArgs,
    #[command(flatten)]
    pub scoring: ScoringArgs,
    #[cfg(feature = "serve")]
    #[command(flatten)]
    pub server: RemoteArgs,
}

/// What has a selection of its own.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum EachSelection {
    /// Each target
    Target,
}

/// Rules of a selection.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Rules of the selection")]
pub struct RuleArgs {
    /// Most rows for a value of --quota-by, as rows or a share of --top:
    /// 'math=100,code=10%,*=50'; * is each other value
    #[arg(long, value_name = "VALUE=N,..")]
    pub quota: Option<String>,
    /// The metadata column that quotas are by, and whose shares --plot draws [default: source]
    #[arg(long, value_name = "COLUMN")]
    pub quota_by: Option<String>,
    /// Pass over rows whose features have a cosine above this with a row taken before
    #[arg(long, value_name = "COSINE")]
    pub distinct: Option<f64>,
    /// Let each subtask, target or sample take rows in turn
    #[arg(long, value_name = "subtask|target|sample")]
    pub round_robin: Option<String>,
}

impl RuleArgs {
    /// The metadata column of quotas and of pictures.
    pub fn quota_by(&self) -> &str {
        self.quota_by.as_deref().unwrap_or("source")
    }
}

/// Which rows a score file lists.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoresOf {
    /// The selected rows, in the order of the selection
    Selected,
    /// Every row that has a score, best first; with --worst the lowest score first
    All,
}
