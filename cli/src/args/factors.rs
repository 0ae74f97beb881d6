//! Flags of `gstore factors`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use gstore::factors::{Damping, Strategy};
use gstore_store::{ShardIndex, SnapshotName};

use super::words::{Word, one_of};
use super::{EngineArgs, GivenTextArgs, JsonArgs, ListOfStateArgs, OutputArgs, at_least};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore factors fit curvature --store s --dataset pool --model llama\n  \
    gstore factors list --store s\n  \
    gstore score --store s --factors curvature --pool pool --target gsm8k -o scores.parquet\n\n\
    More: docs/second-order.md")]
pub struct FactorsArgs {
    #[command(subcommand)]
    pub what: FactorsWhat,
}

/// What is done with factors.
#[derive(Subcommand, Debug)]
#[allow(clippy::large_enum_variant)] // there is one in a process
pub enum FactorsWhat {
    /// Fit the curvature of a model's loss on a dataset, module by module, and keep it in the store
    Fit(FactorsFitArgs),
    /// Fit Gram matrices of stored vectors, which precondition questions about them
    Gram(FactorsGramArgs),
    /// Show the eigenvalues of factors: spread, effective dimension, shares; as a table and as pictures
    Inspect(FactorsInspectArgs),
    /// List the factors of the store
    #[command(alias = "ls")]
    List(ListOfStateArgs),
    /// Write factors into a folder that Kronfluence reads
    Export(FactorsExportArgs),
    /// Take in factors that Kronfluence fitted, or that were exported
    Import(FactorsImportArgs),
}

/// Which model, at which checkpoint.
#[derive(Args, Debug, Clone)]
pub struct FactorsModelArgs {
    /// Model: a folder in Hugging Face layout, or org/name or org/name@revision on the Hugging Face Hub
    #[arg(long, value_name = "DIR|REPO")]
    pub model: Option<String>,
    /// One checkpoint of it: a folder with a LoRA adapter or a whole model, or a repository of an adapter
    /// [default: the model itself]
    #[arg(long, value_name = "DIR|REPO", requires = "model")]
    pub checkpoint: Option<String>,
}

pub(super) const STRATEGIES: &[Word<Strategy>] = &[
    ("ekfac", "Eigenbases of K-FAC, with the squares of gradients in them", Strategy::Ekfac),
    ("kfac", "Kronecker products of the covariances of inputs and of gradients", Strategy::Kfac),
    ("diagonal|diagfisher", "Squares of gradients, value by value", Strategy::Diagonal),
    ("identity", "No curvature", Strategy::Identity),
];

/// Whose labels the loss of a fit has.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fisher {
    /// Labels drawn from the model's own predictions
    True,
    /// The labels of the data
    Empirical,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore factors fit curvature --store s --dataset pool --model llama --checkpoint run/checkpoint-112\n  \
    gstore factors fit mlps --store s --dataset pool --model llama --modules '*.mlp.*' --limit 10000 --data-partitions 8\n  \
    gstore factors fit early --store s --dataset pool --model llama --checkpoint run/checkpoint-500 --average run/checkpoint-250\n  \
    gstore factors fit mlps --store s --dataset pool --model llama --modules '*.mlp.*' --limit 10000 --partition 3/8 --folder shared\n\n\
    Ctrl-C stops cleanly; run the same command again to compute the missing partitions. In an array job each machine runs --partition I/N\n\
    twice with one --folder, the second time once all covariances are there; then one run with --data-partitions N instead publishes.\n\n\
    Memory: the weights, and 8 bytes for each value of the modules' sums, once for each thread and once more; --dry-run says how much.")]
pub struct FactorsFitArgs {
    /// Name of the factors
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The dataset, whose samples are registered
    #[arg(long, value_name = "NAME")]
    pub dataset: String,
    #[command(flatten)]
    pub model: FactorsModelArgs,
    /// Further checkpoints of the model over which the curvature is averaged, for a segment of training: each
    /// takes passes over the data of its own
    #[arg(long, value_name = "DIR|REPO", value_delimiter = ',', num_args = 1..)]
    pub average: Vec<String>,
    /// How curvature is approximated
    #[arg(long, value_parser = one_of(STRATEGIES), default_value = "ekfac")]
    pub strategy: Strategy,
    /// Whose labels the loss has [default: true]
    #[arg(long, value_enum)]
    pub fisher: Option<Fisher>,
    /// Seed of drawn labels [default: 0]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Only the first N rows
    #[arg(long, value_name = "N", value_parser = at_least::<u64>(1))]
    pub limit: Option<u64>,
    /// Contiguous parts of the rows, each of which is kept when it is finished
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least::<usize>(1))]
    pub data_partitions: usize,
    /// Parts of the modules, with a pass over the data for each: less memory, more time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least::<usize>(1))]
    pub module_partitions: usize,
    /// Cut covariances of more than N rows into equal blocks of at most N, each decomposed and applied alone
    /// [default: 8192, with --extend as those factors]
    #[arg(long, value_name = "N", value_parser = at_least::<u32>(1))]
    pub max_block: Option<u32>,
    /// Compute only part I of N of the rows
    #[arg(long, value_name = "I/N", conflicts_with = "data_partitions", requires = "folder", value_parser = partition)]
    pub partition: Option<ShardIndex>,
    /// Folder for `factors_NAME`, in Kronfluence's layout, which stays [default: next to the store, until
    /// the factors are published]
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Go on from the sums of these factors of the store, with the rows that they lack, and with their
    /// modules, blocks, labels and text options where none are given; factors of another program do not say
    /// which rows they have, and cannot be gone on from
    #[arg(long, value_name = "NAME")]
    pub extend: Option<String>,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub text: GivenTextArgs,
    /// Show rows, modules, disk and memory, and compute nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Replace factors of this name, and begin although the disk seems too small; without --folder, also
    /// begin again where an unfinished fit of other rows or arguments left files, and compute again those that
    /// are damaged
    #[arg(long)]
    pub force: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore factors gram second --store s --dataset pool --kind grad-sgd\n  \
    gstore factors gram second --store s --extend\n  \
    gstore factors gram trackstar --store s --mix second,of-target\n\n\
    Memory: 8 bytes for the square of the coordinates of each module group, at all checkpoints; three times that to mix.")]
pub struct FactorsGramArgs {
    /// Name of the matrices
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Datasets whose vectors are taken; with --extend those of the matrices, unless others are named
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1.., required_unless_present_any = ["extend", "mix"])]
    pub dataset: Vec<String>,
    /// Kind of the vectors [default: that of --features, else grad-adam where all have it, else grad-sgd]
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// The run whose checkpoints are meant, if there are several
    #[arg(long, value_name = "NAME")]
    pub run: Option<String>,
    /// Names or steps of checkpoints [default: all that every dataset has]
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    pub checkpoints: Vec<String>,
    /// Labels or numbers of the features: only these are used, and their checkpoints
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    pub features: Vec<String>,
    /// Take features that are still being built
    #[arg(long)]
    pub partial: bool,
    /// Add the rows whose vectors came since, and those of other datasets
    #[arg(long, conflicts_with = "force")]
    pub extend: bool,
    /// Mix the matrices of training rows with those of queries, which are fitted: TrackStar's preconditioner
    #[arg(long, value_name = "NAME,QUERIES", value_delimiter = ',', conflicts_with_all = NOT_MIXED)]
    pub mix: Vec<String>,
    /// With --mix: part of the queries in the mixture, from 0 to 1; auto balances both at an eigenvalue
    /// [default: auto]
    #[arg(long, value_name = "auto|X", value_parser = part)]
    pub share: Option<MixPart>,
    /// Number of that eigenvalue, from the largest of all module groups [default: 1000, or the largest at
    /// which all of these matrices have one above 0]
    #[arg(long, value_name = "N", value_parser = at_least::<usize>(1))]
    pub components: Option<usize>,
    /// Replace an artifact of this name
    #[arg(long)]
    pub force: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// What a mixture takes from the matrices that it combines.
const NOT_MIXED: [&str; 7] = ["dataset", "kind", "run", "checkpoints", "features", "partial", "extend"];

/// The part of queries in a mixture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MixPart {
    /// That which balances both sides.
    Auto,
    /// A number from 0 to 1.
    Is(f64),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore factors inspect curvature --store s\n  \
    gstore factors inspect curvature --store s --layer 21 --plots inspected\n  \
    gstore factors inspect curvature --store s --against curvature-seed1,curvature-seed2\n\n\
    A line for each module: its largest, smallest, mean and median eigenvalue, how many directions damping leaves (the sum of\n\
    L / (L + damping)), how many of the largest have 90, 95 and 99 % of the sum, and the condition. --plots writes for each layer\n\
    layer_L/lambda_matrix.png, eigenvalue_distribution.png, cumulative_variance.png and eigenvalue_analysis.txt.\n\n\
    Memory: 16 bytes for each weight of the modules, and the factors of one, with --against twice.")]
pub struct FactorsInspectArgs {
    /// Name of the factors
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Only the modules of this layer
    #[arg(long, value_name = "L", value_parser = at_least::<u32>(0))]
    pub layer: Option<u32>,
    /// Only these modules, as globs over their names
    #[arg(long, value_name = "GLOB", value_delimiter = ',', num_args = 1..)]
    pub modules: Vec<String>,
    /// How curvature is approximated [default: as it was fitted]
    #[arg(long, value_parser = one_of(STRATEGIES))]
    pub strategy: Option<Strategy>,
    /// Damping of the effective dimension and the condition: a number, or auto for a tenth of the mean
    #[arg(long, value_name = "auto|X", default_value = "auto", value_parser = damping)]
    pub damping: Damping,
    /// Compare with these factors of the store, such as fits of other seeds: relative differences by module
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    pub against: Vec<String>,
    /// Instead of eigenvalues, what the blocks of stored rows of this dataset keep of its gradients, by
    /// module: needs its feature residual
    #[arg(long, value_name = "NAME", conflicts_with_all = ["strategy", "damping", "against", "plots", "clip"])]
    pub dataset: Option<String>,
    /// Folder for pictures of each layer, which is made; --force replaces those that are there
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
    /// Percentile of the eigenvalues that larger ones count as in the picture of the matrix
    #[arg(long, value_name = "P", default_value_t = 99.5, value_parser = percentile, requires = "plots")]
    pub clip: f64,
    /// The state of the store to read: a number or a tag [default: the current one]
    #[arg(long, value_name = "N|TAG")]
    pub snapshot: Option<SnapshotName>,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore factors export curvature --store s influence_results/run/factors_curvature")]
pub struct FactorsExportArgs {
    /// Name of the factors
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The folder, which is made: Kronfluence calls it `factors_NAME`
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// The state of the store to read: a number or a tag [default: the current one]
    #[arg(long, value_name = "N|TAG")]
    pub snapshot: Option<SnapshotName>,
    /// Replace the folder if it has exported factors and nothing else
    #[arg(long)]
    pub force: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore factors import influence_results/run/factors_ekfac ekfac --store s --model llama\n  \
    gstore factors import influence_results/run/factors_ekfac ekfac --store s --model llama --dataset pool --template plain\n\n\
    A folder written by `gstore factors export` says what its factors belong to. For any other, name the model: factors with modules\n\
    that it lacks are refused. Which data they were fitted on is then not known and not compared, unless --dataset names it: the numbers\n\
    of its samples and tokens must match those of the factors, which `gstore factors fit --extend` can then extend.")]
pub struct FactorsImportArgs {
    /// The folder: Kronfluence calls it `factors_NAME`
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Name of the factors in the store
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub model: FactorsModelArgs,
    /// Replace factors of this name
    #[arg(long)]
    pub force: bool,
    /// Dataset of the store that they were fitted on, where the folder does not say it
    #[arg(long, value_name = "NAME", requires = "model")]
    pub dataset: Option<String>,
    /// They were fitted on the first N rows of it [default: all]
    #[arg(long, value_name = "N", requires = "dataset", value_parser = at_least::<u64>(1))]
    pub limit: Option<u64>,
    #[command(flatten)]
    pub text: GivenTextArgs,
}

pub(super) fn damping(text: &str) -> Result<Damping, String> {
    if text == "auto" || text == "null" {
        return Ok(Damping::OfMean);
    }
    let number = text.parse().map_err(|_| "expected auto or a number that is not negative".to_owned())?;
    Damping::value(number).map_err(|error| error.to_string())
}

/// A partition of the data: in other words than a shard, which has the same form.
fn partition(text: &str) -> Result<ShardIndex, String> {
    text.parse().map_err(|_| {
        "expected I/N with I from 1 to N, such as 3/8 for the third of eight partitions".to_owned()
    })
}

fn part(text: &str) -> Result<MixPart, String> {
    if text == "auto" {
        return Ok(MixPart::Auto);
    }
    let found = text.parse().ok().filter(|part: &f64| (0.0..=1.0).contains(part));
    found.map(MixPart::Is).ok_or_else(|| "expected auto or a number from 0 to 1".to_owned())
}

fn percentile(text: &str) -> Result<f64, String> {
    let found = text.parse().ok().filter(|percent: &f64| (0.0..=100.0).contains(percent));
    found.ok_or_else(|| "expected a number from 0 to 100".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dampings() {
        assert_eq!(damping("auto"), Ok(Damping::OfMean));
        assert_eq!(damping("1e-8"), Ok(Damping::Value(1e-8)));
        assert!(damping("-1").is_err() && damping("nan").is_err() && damping("x").is_err());
        assert!(percentile("99.5").is_ok() && percentile("101").is_err());
        assert_eq!((part("auto"), part("0.5")), (Ok(MixPart::Auto), Ok(MixPart::Is(0.5))));
        assert!(part("1.5").is_err() && part("nan").is_err());
        assert_eq!(partition("2/8").map(ShardIndex::index), Ok(2));
        for wrong in ["5/4", "0/4", "3"] {
            assert!(partition(wrong).unwrap_err().contains("I from 1 to N"), "{wrong}");
        }
    }
}
