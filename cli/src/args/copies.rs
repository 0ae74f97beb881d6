//! Flags of `gstore daunce prepare`, `train` and `attach`: perturbed copies of a model.

mod count;
mod objective;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{TextArgs, TrainComputeArgs, TrainMethodArgs, TrainRowsArgs};

pub use count::DaunceModelsArgs;
pub use objective::{DaunceObjectiveArgs, DaunceRateArgs};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore daunce prepare --model llama --data pool.jsonl --full --output start.states\n  \
    gstore daunce train --model llama --data pool.jsonl --full --models 0..8 --steps 16 --hidden-states start.states --output ens\n\n\
    `gstore daunce train` makes this file itself when it needs one; several jobs can share one.\n\n\
    Disk: four bytes for each scored token and unit of the model's width.")]
#[command(mut_arg("output", |output| {
    output.help("File for the hidden states; what the same command began there goes on")
}))]
pub struct DauncePrepareArgs {
    #[command(flatten)]
    pub of: DaunceOfArgs,
    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore daunce train --store s --model llama --dataset pool --models 100 --steps 16 --batch-size 16 --output ens\n  \
    gstore daunce train --model llama --data pool.jsonl --models 25..50 --steps 16 --output part2\n  \
    gstore daunce train --store s --model llama --dataset pool --until agreement=0.8 --target gsm8k --max-models 200 --steps 16 --output ens\n\n\
    Complete copies are not trained again: after Ctrl-C or a crash, run the same command to continue, with the same bits. Each copy\n\
    depends only on --seed and its number, so several machines can share the numbers. More: docs/daunce.md\n\n\
    Memory: the weights once, 24 bytes for each trained weight of each copy that is being trained, and the activations of a piece for each thread.")]
#[command(mut_arg("output", |output| {
    output.help("Folder for the copies; what the same command began there goes on")
}))]
pub struct DaunceTrainArgs {
    #[command(flatten)]
    pub of: DaunceOfArgs,
    #[command(flatten)]
    pub models: DaunceModelsArgs,
    #[command(flatten)]
    pub objective: DaunceObjectiveArgs,
    #[command(flatten)]
    pub rates: DaunceRateArgs,
    #[command(flatten)]
    pub keeping: DaunceKeepArgs,
    /// Show copies, rows, steps, time, memory and disk, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,
}

impl DaunceTrainArgs {
    /// Whether rows or losses are those of datasets of the store, which then has to be there.
    pub fn reads_store(&self) -> bool {
        self.of.data.dataset.is_some() || !self.keeping.losses.is_empty()
    }
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore daunce attach --store s --ensemble ens part1 part2 part3\n\n\
    The folders are only read, and have to stay where they are until the losses of their models are computed. Copies that are\n\
    registered already are skipped; one that differs from what is registered under its number is refused.")]
pub struct DaunceAttachArgs {
    /// Folders of `gstore daunce train`
    #[arg(value_name = "DIR", required = true, num_args = 1..)]
    pub folders: Vec<PathBuf>,
    /// The ensemble that they belong to; made if it is missing
    #[arg(long, value_name = "NAME")]
    pub ensemble: String,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Model, data, folder, and what computes: what hidden states and copies have in common.
#[derive(Args, Debug, Clone)]
#[command(mut_arg("lora_targets", |targets| {
    targets.help("Ends of the names of adapted modules, or all-linear [default: all-linear]")
}))]
pub struct DaunceOfArgs {
    /// Model to start from: a folder in Hugging Face layout, or org/name or org/name@revision
    /// on the Hugging Face Hub
    #[arg(long, alias = "model-name-or-path", value_name = "DIR|REPO")]
    pub model: String,
    /// Where it goes, which each command says
    #[arg(long, short, alias = "output-dir", value_name = "PATH")]
    pub output: PathBuf,
    /// Replace what another command of this kind left there, and the copies of this one if all are there; one
    /// that was stopped goes on
    #[arg(long)]
    pub overwrite_output_dir: bool,
    #[command(flatten)]
    pub data: TrainRowsArgs,
    #[command(flatten)]
    pub text: TextArgs,
    #[command(flatten)]
    pub weights: TrainMethodArgs,
    #[command(flatten)]
    pub computing: TrainComputeArgs,
    /// Bytes of memory to stay below where that is possible, e.g. 2GB: fewer copies are trained at once,
    /// layers are computed twice, fewer threads run; the same bits
    #[arg(long, alias = "max-memory", value_name = "SIZE", value_parser = super::size::size)]
    pub memory_limit: Option<u64>,
}

/// What becomes of the copies.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Store")]
pub struct DaunceKeepArgs {
    /// With --store: register the copies as members of this ensemble [default: the output folder's name]
    #[arg(long, value_name = "NAME")]
    pub ensemble: Option<String>,
    /// With --store: compute the losses of these datasets under each copy after each round
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    pub losses: Vec<String>,
    /// Whether the weights of the copies stay once their losses are there
    #[arg(long, value_enum, default_value = "adapters")]
    pub keep: KeepWeights,
}

/// What stays of a copy.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepWeights {
    /// Its weights
    Adapters,
    /// Its record and its losses
    None,
}
