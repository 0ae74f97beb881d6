//! The command line: every flag of every command, with the help a newcomer reads.
//!
//! Flags parse into plain values here; the commands build objects from them.

mod ask;
mod attribution;
mod cascade;
mod copies;
mod covariance;
mod daunce;
mod evaluate;
mod generate;
mod gradients;
mod help;
mod import;
mod index;
mod life;
mod matrix;
mod merge;
mod negative;
mod plot;
mod prefilter;
mod run;
mod scoring;
#[cfg(feature = "serve")]
mod serve;
mod text;
mod train;
mod view;

use std::path::PathBuf;

pub use ask::{AskArgs, ModelArgs};
pub use attribution::*;
pub use cascade::CascadeArgs;
pub use copies::{
    BaseStates, DaunceAttachArgs, DaunceDataArgs, DaunceKeepArgs, DaunceModelsArgs, DaunceObjectiveArgs,
    DaunceOfArgs, DauncePrepareArgs, DaunceRateArgs, DaunceTrainArgs, DaunceWeightArgs, Keep, Models,
    Normalizer, Subset, Variant,
};
pub use covariance::*;
pub use daunce::*;
pub use evaluate::*;
pub use generate::*;
pub use gradients::*;
pub use import::{ImportArgs, ImportFrom};
pub use index::IndexArgs;
pub use life::{
    BackupArgs, CompactArgs, DeleteArgs, DropArgs, DropWhat, GcArgs, RestoreArgs, RevertArgs, TagArgs,
};
pub use matrix::MatrixArgs;
pub use merge::MergeArgs;
pub use negative::{command, join_negative};
pub use plot::*;
pub use prefilter::*;
pub use run::RunArgs;
pub use scoring::{CovarianceArgs, PairArgs, ScoringArgs};
#[cfg(feature = "serve")]
pub use serve::{LogForm, RemoteArgs, ServeArgs, TokenArgs, TokenScope, TokenWhat};
pub use text::TextArgs;
pub use train::*;
pub use view::{ViewArgs, ViewWhat};

use clap::{Args, Parser, Subcommand, ValueEnum};
use gstore_data::Layout;
use gstore_ingest::pipeline::IngestRequest;
use gstore_model::Device;
use gstore_store::SnapshotName;

/// The whole command line.
#[derive(Parser, Debug)]
#[command(
    name = "gstore",
    version,
    about = "A datastore for what training examples do to a language model",
    long_about = "gstore runs a model over a training set, stores projected per-sample gradients, embeddings and losses by \
                  checkpoint, and answers in SQL which training examples influenced a target.\n\nStart with `gstore demo`.",
    after_help = "The usual order: `gstore ingest` the training set, `gstore ingest` a few target samples, `gstore select` or `gstore query`.\n\
                  Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the store is damaged, 130 stopped by Ctrl-C.",
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

/// A whole number from `least` on.
fn at_least<T: TryFrom<u64>>(least: u64) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|n: &u64| *n >= least).and_then(|n| T::try_from(n).ok());
        number.ok_or_else(|| format!("a whole number of at least {least} is wanted"))
    }
}

/// A number of threads.
fn threads(text: &str) -> Result<std::num::NonZeroUsize, String> {
    text.parse().map_err(|_| "a whole number of at least 1 is wanted".to_owned())
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
    /// Threads to use [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = threads, help_heading = "Common options")]
    pub threads: Option<std::num::NonZeroUsize>,
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
    /// Run a pipeline: commands in one TOML file, those that are up to date left out
    Run(RunArgs),
    /// Compare models by text metrics or tasks, and scores of training rows with retraining
    Evaluate(EvaluateArgs),
    /// Attribution from the covariance of losses over perturbed models: their losses
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
    /// Write the score of every row of a pool with every target sample, as Parquet
    Matrix(MatrixArgs),
    /// Rank a pool by its influence on a sample that is given here, and show the texts
    Ask(AskArgs),
    /// Draw trainings, scores, sources, overlaps of rankings, or tokens
    Plot(PlotArgs),
    /// List the datasets, runs and features of the store
    Ls(ListArgs),
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

/// `gstore demo`
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// The skill to look for: one of the bundled targets [default: the first]
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Features of the demo: projected as in real use, or the exact gradients
    #[arg(long, value_enum, default_value = "sjlt")]
    pub projection: Projection,
}

/// `gstore add`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  \
    gstore add --store s --dataset pool --data pool.jsonl extra.parquet 'more/*.csv.gz'\n  \
    gstore add --store s --dataset pool --data alpaca.json --skip-bad 20 --duplicates first\n\n\
    A record has `messages`, or `prompt` and `completion`, or `text`; `id`; any other key becomes a column. Alpaca, ShareGPT, OpenAI, preference and FLAN data is recognised. Formats and rules: docs/data.md\n\n\
    Memory: one line, or one batch of rows of the file, and about 100 bytes for each new sample.")]
pub struct AddArgs {
    /// Name of the dataset: lower-case letters, digits and _ [default: each file of --data is a dataset,
    /// called after it]
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// Files, folders or patterns: .jsonl, .parquet, .arrow, .csv or .tsv, also .gz or .zst, saved Hugging
    /// Face datasets; hf://org/name#split for one of the Hub; `-` for JSON lines from standard input
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub data: Vec<PathBuf>,
    /// How to read the samples
    #[command(flatten)]
    pub samples: SampleArgs,
    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,
}

impl IngestArgs {
    /// The dataset's name, where there is one for the whole command.
    pub fn dataset(&self) -> &str {
        self.dataset.as_deref().unwrap_or_default()
    }
}

/// How sample files are read.
#[derive(Args, Debug, Clone)]
pub struct SampleArgs {
    /// Type of a metadata column: bool, int, float or utf8 (may be repeated)
    #[arg(long = "column", value_name = "NAME:TYPE")]
    pub columns: Vec<String>,
    /// Key that holds what gstore calls text, prompt, completion, messages, role, content, id or
    /// subtask (may be repeated)
    #[arg(long = "field", value_name = "FIELD=KEY", value_delimiter = ',')]
    pub fields: Vec<String>,
    /// Layout of the records: openai, sharegpt, alpaca, preference or flan [default: found by their keys]
    #[arg(long, value_name = "LAYOUT")]
    pub layout: Option<Layout>,
    /// Leave out up to N records that cannot be read; with more of them nothing is added
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip_bad: u64,
    /// What to do with a record whose id an earlier one of the same files has
    #[arg(long, value_enum, default_value = "refuse")]
    pub duplicates: Duplicates,
    /// What to do with a line that differs from the stored sample of the same id
    #[arg(long, value_enum, default_value = "refuse")]
    pub if_changed: IfChanged,
    /// Add lines whose ids were deleted or purged from the dataset before; without it they are left out,
    /// whatever they hold now
    #[arg(long)]
    pub restore_deleted: bool,
}

/// What to do with records of one id.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// Stop with an error; nothing is added
    Refuse,
    /// Keep the first one, leave out and count the others
    First,
}

/// What to do with a changed line.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfChanged {
    /// Stop with an error; nothing is added
    Refuse,
    /// Keep the stored sample, skip the line and count it
    Keep,
    /// Delete the stored sample and add the line as a new row under the same id
    Replace,
}

/// `gstore ingest`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  \
    gstore ingest --store s --dataset pool --data pool.jsonl --model llama --checkpoints 'run/checkpoint-*' --features grad-adam,embed-mean,loss\n  \
    gstore ingest --store s --data 'targets/*.jsonl' --model llama --checkpoints 'run/checkpoint-*' --features grad-sgd\n\n\
    The training set takes grad-adam (what an optimizer step on the row would do), the target takes grad-sgd.\n\
    Ctrl-C stops cleanly; the same command goes on where it stopped.\n\n\
    Memory: the weights, plus for each thread the activations of one batch and the gradients of its rows; it does not grow with the number of rows.")]
pub struct IngestArgs {
    /// Name of the dataset: lower-case letters, digits and _ [default: each file of --data is a dataset,
    /// called after it]
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// Data to register first, as in `gstore add`; without it the samples already in the dataset are used
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// How to read the samples
    #[command(flatten)]
    pub samples: SampleArgs,
    /// Base model: a folder in Hugging Face layout, or org/name or org/name@revision on the Hugging Face Hub
    /// [default: that of --run]
    #[arg(long, value_name = "DIR|REPO", required_unless_present = "run")]
    pub model: Option<String>,
    /// Checkpoints: folders of LoRA adapters or of whole models, globs of them, org/name or org/name@revision
    /// of an adapter on the Hub, or name=one of them; without it the base model itself, or the checkpoints
    /// of --run where the store has that run and no --model is given
    #[arg(long, value_name = "GLOB", value_delimiter = ',', num_args = 1..)]
    pub checkpoints: Vec<String>,
    /// What to compute
    #[arg(long, value_name = "KIND", value_delimiter = ',', num_args = 1.., required = true,
        help = format!("What to compute: {}", gstore_core::Kind::names()))]
    pub features: Vec<String>,
    /// Name of the training run [default: the folder that holds the checkpoints; without checkpoints
    /// the name of the model]
    #[arg(long, value_name = "NAME")]
    pub run: Option<String>,
    /// Weights of the checkpoints, in the order given [default: mean learning rate of the epoch,
    /// from trainer_state.json]
    #[arg(long, value_name = "W", value_delimiter = ',', num_args = 1..)]
    pub weights: Vec<f64>,
    /// What is computed of the model, and how
    #[command(flatten)]
    pub gradients: GradientArgs,
    /// Type of the stored vectors (losses are always f32)
    #[arg(long, value_enum, default_value = IngestRequest::DTYPE.name())]
    pub dtype: DType,
    /// How records become tokens
    #[command(flatten)]
    pub text: TextArgs,
    /// Tokens in one batch of whole rows; changes speed and memory, not the results
    #[arg(long, value_name = "N", default_value_t = IngestRequest::BATCH_TOKENS, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_tokens: u32,
    /// What computes: cpu (fastest on a processor), candle, `candle:cuda[:N]` or `candle:metal[:N]`
    #[arg(long, alias = "device", value_name = "NAME", default_value_t = Device::Cpu)]
    pub backend: Device,
    /// Only the first N rows; the feature then counts as building
    #[arg(long, value_name = "N", value_parser = at_least::<u64>(1))]
    pub limit: Option<u64>,
    /// Compute only shard I of N of the registered samples, into --out; `gstore attach` takes the shards in
    #[arg(long, value_name = "I/N", requires = "out")]
    pub shard: Option<gstore_store::ShardIndex>,
    /// Folder of the shard: missing, empty, or begun by the same command, which then goes on there
    #[arg(long, value_name = "DIR", requires = "shard")]
    pub out: Option<PathBuf>,
    /// The state of the store whose rows are split into shards: a number or a tag [default: the current one,
    /// or the one that the shard was begun on]
    #[arg(long, value_name = "N|TAG", requires = "shard")]
    pub snapshot: Option<SnapshotName>,
    /// Then make the sketches of what was written, as `gstore index --sketch` does: faster rankings,
    /// 1.6 bytes a coordinate
    #[arg(long)]
    pub sketch: bool,
    /// Show rows, tokens, time, disk and memory, and leave the store alone
    #[arg(long)]
    pub dry_run: bool,
    /// Begin even if the vectors do not fit on the disk
    #[arg(long)]
    pub force: bool,
}

/// `gstore attach`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore ingest --store s --dataset pool --model llama --features embed-mean --shard 2/8 --out shards/2\n  \
    gstore attach --store s shards/*\n\n\
    The folders are only read, and every byte of them is checked. A shard that was attached before is skipped; one that does not fit\n\
    is refused, and then nothing is changed. More: docs/shards.md")]
pub struct AttachArgs {
    /// Folders of finished shards, in any order
    #[arg(value_name = "DIR", required = true, num_args = 1..)]
    pub folders: Vec<PathBuf>,
    /// Then make the sketches of what was attached, as `gstore index --sketch` does
    #[arg(long, conflicts_with = "dry_run")]
    pub sketch: bool,
    /// Show what would be attached, without reading the vectors, and leave the store alone
    #[arg(long)]
    pub dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Type of stored vectors.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum DType {
    /// Half precision with one scale per module
    F16,
    /// Single precision
    F32,
}

/// `gstore query`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore query --store s \"SELECT id, score FROM influence('pool', 'gsm8k') ORDER BY score DESC LIMIT 10\"\n  \
    gstore query --store s \"SELECT id FROM influence($pool, 'gsm8k', k => $k)\" --param pool=pool --param k=10\n  \
    gstore query --store s --with labels=labels.csv \"SELECT source, avg(ok) FROM pool JOIN labels USING (id) GROUP BY source\"\n  \
    gstore query --store s -f report.sql\n\n\
    Tables, functions and options: docs/sql.md")]
#[cfg_attr(
    feature = "serve",
    command(mut_arg("remote", |remote| remote.conflicts_with_all(["model", "checkpoint_folders", "backend", "with"])))
)]
pub struct QueryArgs {
    /// SQL statements, with `;` between them; `-` reads them from standard input; without any an interactive
    /// shell
    #[arg(value_name = "SQL")]
    pub sql: Option<String>,
    /// File with the SQL statements
    #[arg(long, short, value_name = "FILE", conflicts_with = "sql")]
    pub file: Option<PathBuf>,
    /// A file of your own as a table of this name: .parquet, .csv, .tsv or .jsonl (may be repeated)
    #[arg(long = "with", value_name = "NAME=FILE")]
    pub with: Vec<String>,
    /// Value of a parameter, $NAME or $1 in the statement; the first ? is 1. Numbers, true, false, null and
    /// lists as in JSON, all else is text (may be repeated)
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub parameters: Vec<String>,
    /// The state of the store to read: a number or a tag [default: the current one]
    #[arg(long, value_name = "N|TAG")]
    pub snapshot: Option<SnapshotName>,
    /// When the vectors that are read are compared with their digests
    #[arg(long, value_enum, default_value = "first-touch")]
    pub checks: Checks,
    /// Where and how to write the result
    #[command(flatten)]
    pub output: OutputArgs,
    /// The picture of it
    #[command(flatten)]
    pub draw: DrawArgs,
    /// Where the models are that compute given samples
    #[command(flatten)]
    pub models: ModelArgs,
    /// Where the statement is sent to
    #[cfg(feature = "serve")]
    #[command(flatten)]
    pub server: RemoteArgs,
}

/// When vectors are compared with their digests.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checks {
    /// Each block when it is first read
    FirstTouch,
    /// Never: a damaged block gives wrong numbers
    Off,
}

/// Where and how to write a result.
#[derive(Args, Debug, Clone)]
pub struct OutputArgs {
    /// Format of the result [default: by the file's ending; without a file a table on a terminal, else csv]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// File to write: .csv, .tsv, .json or .jsonl (one object a line), .parquet, .arrow, also with .gz or
    /// .zst; .txt for a table [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

/// Format of a result.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For reading: floats have six digits, long text is cut to fit a terminal
    Table,
    /// Comma separated, with a header
    Csv,
    /// Tab separated, with a header
    Tsv,
    /// One object a line
    Json,
    /// Parquet
    Parquet,
    /// Arrow IPC
    Arrow,
    /// The only column as it is, one value a line
    Lines,
}

impl From<Format> for gstore_sql::output::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Table => Self::Table,
            Format::Csv => Self::Csv,
            Format::Tsv => Self::Tsv,
            Format::Json => Self::Json,
            Format::Parquet => Self::Parquet,
            Format::Arrow => Self::Arrow,
            Format::Lines => Self::Lines,
        }
    }
}

impl Format {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Json => "json",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
            Self::Lines => "lines",
        }
    }

    /// Whether it is for programs only.
    pub fn is_binary(self) -> bool {
        matches!(self, Self::Parquet | Self::Arrow)
    }
}

/// `gstore select`
#[derive(Args, Debug, Clone)]
#[command(
    after_help = "Examples:\n  gstore select --store s --pool pool --target gsm8k --top 5% -o selected.jsonl\n  \
    gstore select --store s --pool pool --target gsm8k --top 5% --cascade 'loss -> embed -> 1 checkpoint -> all' -o selected.jsonl\n  \
    gstore select --remote grpc://127.0.0.1:8815 --pool pool --target gsm8k --top 5% -o selected.jsonl\n\n\
    The method is LESS unless told otherwise: cosine of optimizer-aware gradients, weighted over checkpoints, mean within a subtask, maximum across.\n\
    Rows without a scored token, or with values that are not finite, are never selected; their number is printed.\n\n\
    Memory: one block of rows for each thread, the target's vectors and the selected rows (with --scores-of all, 24 bytes for each row of the pool), with --distinct the vectors of the selected rows, at most 2 GiB, and with --cascade the columns of the sample and 24 bytes for each row that goes on."
)]
pub struct SelectArgs {
    /// Datasets to select from
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1.., required = true)]
    pub pool: Vec<String>,
    /// Target samples: a dataset, or dataset:subtask; several are allowed, with commas between them (a
    /// subtask with a comma can be named in SQL only)
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1.., required = true)]
    pub target: Vec<String>,
    /// How many rows: a number, or a share of the live rows such as 5%
    #[arg(long, value_name = "N|P%")]
    pub top: String,
    /// Make a selection for each target by itself; its name is put into those of the files, before the ending
    /// or in place of {target}
    #[arg(long, value_enum, value_name = "WHAT")]
    pub each: Option<EachSelection>,
    /// Take the rows that oppose the target most instead
    #[arg(long)]
    pub worst: bool,
    /// Only rows for which this SQL condition on the pools' columns is true
    #[arg(long = "where", value_name = "SQL")]
    pub filter: Option<String>,
    /// Rules of the selection
    #[command(flatten)]
    pub rules: RuleArgs,
    /// Add to the score file each checkpoint's part, the nearest target sample, the standard
    /// error and the noise floor
    #[arg(long)]
    pub explain: bool,
    /// File for the selected rows, best first; `-` for standard output. They are the original lines, byte for
    /// byte; under a name in .csv, .tsv, .parquet or .arrow a table of them; under .gz or .zst packed; under a
    /// name with a slash at its end a saved Hugging Face dataset
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// File for id, row, score and subtask: .csv, .tsv, .json, .parquet or .arrow [default:
    /// OUTPUT.scores.csv; none for standard output and devices]
    #[arg(long, value_name = "FILE")]
    pub scores: Option<PathBuf>,
    /// Replace the files if they exist
    #[arg(long)]
    pub force: bool,
    /// The picture of it
    #[command(flatten)]
    pub draw: DrawArgs,
    /// Features that are computed first
    #[command(flatten)]
    pub cascade: CascadeArgs,
    /// Which rows the score file lists
    #[arg(long, value_enum, default_value = "selected")]
    pub scores_of: ScoresOf,
    /// The state of the store to read: a number or a tag [default: the current one]
    #[arg(long, value_name = "N|TAG")]
    pub snapshot: Option<SnapshotName>,
    /// When the vectors that are read are compared with their digests
    #[arg(long, value_enum, default_value = "first-touch")]
    pub checks: Checks,
    /// How to score
    #[command(flatten)]
    pub scoring: ScoringArgs,
    /// Who makes the selection
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
    /// The metadata column that quotas are by
    #[arg(long, value_name = "COLUMN", default_value = "source", requires = "quota")]
    pub quota_by: String,
    /// Pass over rows whose features have a cosine above this with a row taken before
    #[arg(long, value_name = "COSINE")]
    pub distinct: Option<f64>,
    /// Let each subtask, target or sample take rows in turn
    #[arg(long, value_name = "subtask|target|sample")]
    pub round_robin: Option<String>,
}

/// Which rows a score file lists.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoresOf {
    /// The selected rows, in the order of the selection
    Selected,
    /// Every row that has a score, best first
    All,
}

/// `gstore snapshots`
#[derive(Args, Debug)]
pub struct SnapshotsArgs {
    /// Where and how to write the result
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `gstore ls`
#[derive(Args, Debug)]
pub struct ListArgs {
    /// The state of the store to read: a number or a tag [default: the current one]
    #[arg(long, value_name = "N|TAG")]
    pub snapshot: Option<SnapshotName>,
    /// Where and how to write the result
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `gstore info`
#[derive(Args, Debug)]
pub struct InfoArgs {
    /// A dataset, a run, or the label or number of a feature [default: the store]
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// The state of the store to read: a number or a tag [default: the current one]
    #[arg(long, value_name = "N|TAG")]
    pub snapshot: Option<SnapshotName>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `gstore verify`
#[derive(Args, Debug)]
#[command(
    after_help = "Reads every file that the current snapshot names. Exit code 3 if anything is damaged.\n\n\
    --repair rebuilds manifests and indexes from the files' own footers, saves what is sound of a damaged file, and lists the rows that are lost: the\n\
    original `gstore add` and `gstore ingest` commands fill just those. It publishes a new snapshot; no data file is removed.\n\n\
    Memory: one block; up to 75 bytes for each id of the largest dataset."
)]
pub struct VerifyArgs {
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// Also check the files of all earlier snapshots
    #[arg(long)]
    pub all: bool,
    /// Rebuild what can be rebuilt, and list what cannot
    #[arg(long, conflicts_with = "all")]
    pub repair: bool,
    /// With --repair: say what would be done, and leave the store alone
    #[arg(long, requires = "repair")]
    pub dry_run: bool,
    /// With --repair: give up deletes whose record is damaged, so that their rows show again
    #[arg(long, requires = "repair")]
    pub forget_deletes: bool,
}

/// `gstore completions`
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}
