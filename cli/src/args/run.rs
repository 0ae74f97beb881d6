//! Flags of `gstore run`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore run less.toml --dry-run\n  \
    gstore run less.toml\n  \
    gstore run less.toml --set model=llama --only 'select-gsm8k-1' --force 'select-gsm8k-1'\n\n\
    Stages are commands of gstore, in TOML: docs/pipeline.md. They run in the file's folder, each after those whose results it\n\
    reads. A stage whose options, inputs and results are unchanged is skipped. Ctrl-C stops the running stage cleanly; run the same command again to continue, also\n\
    after a crash. What ran is kept in NAME.state next to NAME.toml: a journal, the stages' logs, and a report as HTML and Markdown.")]
pub struct RunArgs {
    /// The pipeline: a file NAME.toml
    #[arg(value_name = "FILE")]
    pub pipeline: PathBuf,
    /// Show which stages would run and why, with time, disk and memory where they are known, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Only this stage, or those that its `each` expands to (may be repeated)
    #[arg(long, value_name = "STAGE")]
    pub only: Vec<String>,
    /// Only this stage and those that need it
    #[arg(long, value_name = "STAGE", conflicts_with = "only")]
    pub from: Option<String>,
    /// Run this stage even if it is up to date (may be repeated)
    #[arg(long, value_name = "STAGE")]
    pub force: Vec<String>,
    /// Give a variable of the file another value (may be repeated)
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// After a failure, run the stages that do not need the failed one
    #[arg(long)]
    pub keep_going: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,
}
