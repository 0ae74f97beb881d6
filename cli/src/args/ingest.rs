//! Arguments of `gstore ingest` and `gstore attach`.

use std::path::PathBuf;

use clap::Args;
use gstore_ingest::pipeline::IngestRequest;
use gstore_store::{DType, SnapshotName};

use super::words::{Word, one_of};
use super::{DevicesArgs, GivenTextArgs, GradientArgs, PlanesArgs, SampleArgs, at_least};

#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  \
    gstore ingest --store s --dataset pool --data pool.jsonl --model llama --checkpoints 'run/checkpoint-*' --features grad-adam,embed-mean,loss\n  \
    gstore ingest --store s --data 'targets/*.jsonl' --model llama --checkpoints 'run/checkpoint-*' --features grad-sgd\n\n\
    The training set takes grad-adam (what an optimizer step on the row would do), the target takes grad-sgd.\n\
    Ctrl-C stops cleanly; run the same command again to continue.\n\n\
    Memory: the weights, plus for each thread the activations of one batch and the gradients of its rows; it does not grow with the number of rows.")]
pub struct IngestArgs {
    /// Name of the dataset: lower-case letters, digits and _ [default: each file or folder of --data is
    /// a dataset, called after it; 'DIR/*.jsonl' makes one of each file]
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// Data to register first, as in `gstore add`; without it the samples already in the dataset are used
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub data: Vec<PathBuf>,
    #[command(flatten)]
    pub samples: SampleArgs,
    /// Base model: a folder in Hugging Face layout, or org/name or org/name@revision on the Hugging Face Hub
    /// [default: that of --run]
    #[arg(long, value_name = "DIR|REPO", required_unless_present = "run")]
    pub model: Option<String>,
    /// Checkpoints: folders of LoRA adapters or of whole models, globs of them, org/name or org/name@revision
    /// of an adapter on the Hub, or name=one of them; without it the base model itself, or the checkpoints
    /// of --run where the store has that run and no --model is given. With --run alone names or steps of
    /// its checkpoints
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
    /// as the training wrote or logged it]
    #[arg(long, value_name = "W", value_delimiter = ',', num_args = 1..)]
    pub weights: Vec<f64>,
    #[command(flatten)]
    pub gradients: GradientArgs,
    /// Type of the stored vectors (losses are always f32)
    #[arg(long, value_parser = one_of(DTYPES), default_value = IngestRequest::DTYPE.name())]
    pub dtype: DType,
    #[command(flatten)]
    pub text: GivenTextArgs,
    /// Tokens in one batch of whole rows; changes speed and memory, not the results
    #[arg(long, value_name = "N", default_value_t = IngestRequest::BATCH_TOKENS, value_parser = at_least::<u32>(1))]
    pub batch_tokens: u32,
    #[command(flatten)]
    pub devices: DevicesArgs,
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
    #[command(flatten)]
    pub kept: PlanesArgs,
    /// Show rows, tokens, time, disk and memory, and leave the store alone
    #[arg(long)]
    pub dry_run: bool,
    /// Begin even if the vectors do not fit on the disk
    #[arg(long)]
    pub force: bool,
    /// Print the report, or with --dry-run the estimates, as JSON
    #[arg(long, conflicts_with = "explain")]
    pub json: bool,
}

impl IngestArgs {
    /// The dataset's name, where there is one for the whole command.
    pub fn dataset(&self) -> &str {
        self.dataset.as_deref().unwrap_or_default()
    }
}

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
    #[command(flatten)]
    pub kept: PlanesArgs,
    /// Show what would be attached, without reading the vectors, and leave the store alone
    #[arg(long)]
    pub dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

const DTYPES: &[Word<DType>] = &[
    ("f16", "Half precision with one scale per module", DType::F16),
    ("f32", "Single precision", DType::F32),
    ("i8", "Bytes with one scale per module: half the size of f16", DType::I8),
    (
        "i1",
        "Signs of rotated modules with one scale per module: a sixteenth of the size of f16, at a loss",
        DType::I1,
    ),
];
