//! Flags of `gstore matrix`.

use std::path::PathBuf;

use clap::Args;

use super::size::size;
use super::{PairArgs, StateArgs};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore matrix --store s --pool pool --target gsm8k -o scores.parquet\n  \
    gstore matrix --store s --pool pool --target gsm8k,mmlu -o scores --dry-run\n  \
    gstore matrix --store s --pool pool --target pool --kind embed-mean -o all\n\n\
    Each score is what influence() gives for that one target sample. Rows without a score are left out, as there; excluded() lists them.\n\
    A line is a row of the pool: `row`, `id`, and `scores`, a list of fixed size with a number for each target sample; docs/matrix.md says how to read it.\n\
    A name that ends in .parquet is one file; one without an ending, or with a slash at its end, is a folder, whose parts may be of any number of target samples.\n\
    If the disk has too little room, nothing is begun. One file takes twice its size while it is written, and has at most 32,768 target samples.\n\
    Nothing is visible under the name until all of it is complete. Ctrl-C, a full disk or a crash lose at most one part: run the same command again to continue;\n\
    if the store or a flag has changed, it says so instead, and --force begins again.\n\n\
    Memory: --memory for the vectors of the target samples, and 48 MiB for each thread.")]
pub struct MatrixArgs {
    /// Datasets whose rows are scored
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1.., required = true)]
    pub pool: Vec<String>,
    /// Target samples: a dataset, 'skill_*' for all with such a name, or dataset:subtask; several are
    /// allowed, with commas between them (a subtask with a comma can be named in SQL only)
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1.., required = true)]
    pub target: Vec<String>,
    /// A file ending in .parquet, or a folder
    #[arg(long, short, value_name = "FILE|DIR")]
    pub output: PathBuf,
    /// Replace a file, a folder with another matrix only, and unfinished work for another question
    #[arg(long)]
    pub force: bool,
    /// Bytes for the vectors of target samples, e.g. 4GB; where they do not fit, there are
    /// several passes over the pool
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "1GiB")]
    pub memory: u64,
    /// Show rows, time, disk and memory, or why the output is refused, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub state: StateArgs,
    #[command(flatten)]
    pub pairs: PairArgs,
}
