//! The command line: every flag of every command, with the help a newcomer reads.
//!
//! Flags parse into plain values here; the commands build objects from them.

mod ask;
mod attribution;
mod cascade;
mod changes;
mod copies;
mod covariance;
mod daunce;
mod devices;
mod elsewhere;
mod engine;
mod evaluate;
mod factors;
mod generate;
mod gradients;
mod help;
mod import;
mod index;
mod ingest;
mod life;
mod matrix;
mod merge;
mod missing;
mod negative;
mod numbers;
mod output;
mod overview;
mod plot;
mod prefilter;
mod query;
mod retrain;
mod roles;
mod run;
mod samples;
mod score;
mod scoring;
mod select;
#[cfg(feature = "serve")]
mod serve;
mod show;
mod size;
mod text;
mod train;
mod view;
mod words;

use std::num::{IntErrorKind, NonZeroUsize};
use std::path::PathBuf;

pub use ask::{AskArgs, ModelArgs};
pub use attribution::*;
pub use cascade::CascadeArgs;
pub use copies::{
    DaunceAttachArgs, DaunceModelsArgs, DaunceObjectiveArgs, DaunceOfArgs, DauncePrepareArgs, DaunceRateArgs,
    DaunceTrainArgs, KeepWeights,
};
pub use covariance::*;
pub use daunce::*;
pub use devices::{DeviceName, DevicesArgs};
#[cfg(test)]
pub use elsewhere::check_commands;
pub use elsewhere::in_place_of;
pub use engine::EngineArgs;
pub use evaluate::*;
pub use factors::*;
pub use generate::*;
pub use gradients::GradientArgs;
pub use import::{ImportArgs, ImportFrom};
pub use index::{IndexArgs, PlanesArgs};
pub use ingest::{AttachArgs, IngestArgs};
pub use life::{
    BackupArgs, CompactArgs, DeleteArgs, DropArgs, DropWhat, GcArgs, RestoreArgs, RevertArgs, TagArgs,
};
pub use matrix::MatrixArgs;
pub use merge::MergeArgs;
pub use missing::explained_missing;
pub use negative::{command, join_negative};
pub use numbers::with_expected_number;
pub use output::{Format, JsonArgs, ListOfStateArgs, ListOutputArgs, OutputArgs};
pub use overview::{misplaced_hint, without_command, without_far_tip};
pub use plot::*;
pub use prefilter::*;
pub use query::{QueryArgs, StateArgs};
pub use retrain::{Design, EvaluateRetrainArgs, RowsAndQueriesArgs};
pub use roles::{ValueRole, has_first_part, role, without_name};
pub use run::RunArgs;
pub use samples::{AddArgs, SampleArgs};
pub use score::{ScoreArgs, ScoreSegmentArg, ScoreSolver};
pub use scoring::{CovarianceArgs, PairArgs, ScoringArgs};
pub use select::{EachSelection, RuleArgs, ScoresOf, SelectArgs};
#[cfg(feature = "serve")]
pub use serve::{RemoteArgs, ServeArgs, TokenArgs, TokenWhat};
pub use show::{InfoArgs, SnapshotsArgs, VerifyArgs};
pub use text::{GivenTextArgs, TextArgs, is_template_file};
pub use train::*;
pub use view::{ViewArgs, ViewWhat};

use clap::{Args, Parser, Subcommand};
use gstore_ingest::projection::ProjectionKind;
use gstore_model::Device;
use gstore_query::influence::resolve_top;

/// The whole command line.
#[derive(Parser, Debug)]
#[command(
    name = "gstore",
    version,
    about = "A datastore for what training examples do to a language model",
    long_about = "gstore runs a model over a training set, stores projected per-sample gradients, embeddings and losses by \
                  checkpoint, and answers in SQL which training examples influenced a target.\n\nStart with `gstore demo`.",
    after_help = "The usual order: `gstore ingest` the training set, `gstore ingest` a few target samples, `gstore select` or `gstore query`.\n\
                  Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the store is damaged, \
                  4 refused because it would save nothing, 130 stopped by Ctrl-C or SIGTERM.",
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

fn backends() -> String {
    format!("Compute backend: {}", Device::NAMES)
}

/// A whole number from `least` on.
fn at_least<T: TryFrom<u64>>(least: u64) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let number = match text.parse::<u64>() {
            Ok(n) if n >= least => T::try_from(n).ok(),
            Err(error) if *error.kind() == IntErrorKind::PosOverflow => None,
            _ => return Err(format!("expected a whole number of at least {least}")),
        };
        number.ok_or_else(|| format!("expected {}", numbers::SMALLER))
    }
}

/// A number of rows or a share of them, as it is written: of how many rows, only the store can say.
fn top(text: &str) -> Result<String, String> {
    resolve_top(text, u64::MAX).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// A share, as a number or in percent.
fn fraction(text: &str) -> Option<f64> {
    match text.strip_suffix('%') {
        // The number nearest to the one that is written, as 0.999 of 99.9%: a division may end next to it.
        Some(percent) => format!("{}e-2", percent.trim()).parse().ok(),
        None => text.parse().ok(),
    }
}

/// A share above 0 and at most 1.
fn part_or_all(text: &str) -> Result<f64, String> {
    let found = fraction(text).filter(|share| *share > 0.0 && *share <= 1.0);
    found.ok_or_else(|| "expected a share above 0 and at most 1, such as 0.05 or 5%".to_owned())
}

/// Threads of a command at most. Some work starts all of them at once, and a slip of the finger must not ask
/// the system for a hundred thousand.
const MOST_THREADS: usize = 1024;

pub(crate) fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|n: &NonZeroUsize| n.get() <= MOST_THREADS);
    number.ok_or_else(|| format!("expected a whole number from 1 to {MOST_THREADS}"))
}

/// Options that every command takes.
#[derive(Args, Debug, Clone)]
pub struct Common {
    /// Folder of the store
    #[arg(long, global = true, env = "GSTORE_STORE", value_name = "DIR", help_heading = "Common options")]
    pub store: Option<PathBuf>,
    /// TOML file with options: names are those of the flags, one table for each command [default:
    /// GSTORE_CONFIG, else gstore.toml in the working folder]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Common options")]
    pub config: Option<PathBuf>,
    /// Threads to use, 1024 at most [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = threads, help_heading = "Common options")]
    pub threads: Option<NonZeroUsize>,
    /// Say nothing but results and errors
    #[arg(long, short, global = true, help_heading = "Common options")]
    pub quiet: bool,
}

/// What to do.
#[derive(Subcommand, Debug)]
#[allow(clippy::large_enum_variant)] // there is one in a process
pub enum Command {
    /// Run the whole job on a bundled model and data set: the place to start
    Demo(DemoArgs),
    /// Register samples as a dataset, or append to one: JSON lines, Parquet, Arrow, CSV
    Add(AddArgs),
    /// Run a model over a dataset and store gradients, embeddings and losses by checkpoint
    Ingest(IngestArgs),
    /// Train LoRA factors or a whole model, with checkpoints that PEFT, transformers and torch open
    Train(TrainArgs),
    /// Add a LoRA adapter into the weights of its base, as a model of its own
    Merge(MergeArgs),
    /// Let a model answer prompts, into a file or as a dataset; or score given texts
    Generate(GenerateArgs),
    /// Run a pipeline: the commands of a TOML file, without those that are up to date
    Run(RunArgs),
    /// Compare models by text metrics or tasks, and scores of training rows with retraining
    Evaluate(EvaluateArgs),
    /// Attribution by the covariance of losses over perturbed models: train them, compute their losses, rank
    Daunce(DaunceArgs),
    /// Take in what was computed elsewhere: losses of the models of an ensemble
    Import(ImportArgs),
    /// Take in the shards that `gstore ingest --shard` computed, all of them in one commit
    Attach(AttachArgs),
    /// Run SQL statements, or an interactive shell
    Query(QueryArgs),
    /// Write the rows of a pool that influence a target most, as the original lines
    Select(SelectArgs),
    /// Learn from cheap features which rows deserve gradients, and what that saves
    Prefilter(PrefilterArgs),
    /// Fit the curvature of a model's loss, or of stored vectors; list, export and import what was fitted
    Factors(FactorsArgs),
    /// Score a pool for many queries by gradients that are computed again, with curvature
    Score(ScoreArgs),
    /// Write the score of every row of a pool with every target sample, as Parquet
    Matrix(MatrixArgs),
    /// Rank a pool by its influence on a sample that is given here, and show the texts
    Ask(AskArgs),
    /// Draw trainings, scores, sources, overlaps of rankings, or tokens
    Plot(PlotArgs),
    /// List the datasets, runs and features of the store
    #[command(
        after_help = "Examples:\n  gstore ls --store s\n  gstore ls --store s --snapshot before-cleanup --format json"
    )]
    Ls(ListOfStateArgs),
    /// Describe the store, a dataset, a run or a feature
    Info(InfoArgs),
    /// List the snapshots, newest first
    Snapshots(SnapshotsArgs),
    /// Name a snapshot, so that it is kept and can be asked for by name
    Tag(TagArgs),
    /// Save SQL statements as views of the store, list them, or drop them
    View(ViewArgs),
    /// Delete rows of a dataset, by id or by an SQL condition
    Delete(DeleteArgs),
    /// Drop a feature, a dataset, a run, an ensemble or an artifact
    Drop(DropArgs),
    /// Go back to an older snapshot, as a new one
    Revert(RevertArgs),
    /// Make sketches for faster rankings, or list the indexes there are
    Index(IndexArgs),
    /// Merge small files and leave out deleted rows
    Compact(CompactArgs),
    /// Remove old snapshots and the files that nothing needs
    Gc(GcArgs),
    /// Copy a snapshot into another folder, checked on the way
    Backup(BackupArgs),
    /// Make a store from a backup
    Restore(RestoreArgs),
    /// Read every file and check every digest; with --repair, rebuild what can be rebuilt
    Verify(VerifyArgs),
    /// Answer clients over the network: Arrow Flight SQL and Arrow Flight
    #[cfg(feature = "serve")]
    Serve(ServeArgs),
    /// Make, list and revoke the tokens of a server
    #[cfg(feature = "serve")]
    Token(TokenArgs),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  gstore demo\n  gstore demo --store s --projection none")]
pub struct DemoArgs {
    /// The skill to look for: one of the bundled targets [default: the first]
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Features of the demo: projected as in real use, or the exact gradients
    #[arg(long, value_parser = words::one_of(gradients::WITHOUT_FACTORS), default_value = "sjlt")]
    pub projection: ProjectionKind,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  gstore completions bash > ~/.local/share/bash-completion/completions/gstore\n  gstore completions fish > ~/.config/fish/completions/gstore.fish"
)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}
