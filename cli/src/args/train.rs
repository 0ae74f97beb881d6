//! Flags of `gstore train`, under the names that the Hugging Face Trainer has for them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gstore_data::Duplicates;
use gstore_model::ComputePrecision;
use gstore_train::{ComputeOptions, LossMean, ScheduleKind};

use super::gradients::precision;
use super::samples::DUPLICATES;
use super::words::{Word, one_of};
use super::{DevicesArgs, TextArgs, at_least};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore train --model llama --data pool.jsonl --percentage 0.05 --lora-rank 128 --lora-alpha 512 --learning-rate 2e-5 --output warmup\n  \
    gstore train --model llama --data selected.jsonl --full --lr-scheduler-type cosine --warmup-ratio 0.03 --output tuned\n  \
    gstore train --store s --model llama --dataset pool --where \"source = 'math'\" --lora-rank 8 --run warmup --output warmup\n\n\
    Flags may be written with underscores, as in transformers. Ctrl-C stops and keeps what was done; run the same command again to continue,\n\
    also after a crash, with the same bits. Checkpoints open in PEFT, transformers and torch: docs/train.md\n\n\
    Memory: 28 bytes for each trained weight (32 for LoRA factors), 8 for each one that is not trained, the texts,\n\
    and the activations of one piece for each thread.")]
pub struct TrainArgs {
    /// Model to start from: a folder in Hugging Face layout, or org/name or org/name@revision
    /// on the Hugging Face Hub
    #[arg(long, alias = "model-name-or-path", value_name = "DIR|REPO")]
    pub model: String,
    /// Folder for the checkpoints; a training that the same command began there goes on
    #[arg(long, short, alias = "output-dir", value_name = "DIR")]
    pub output: PathBuf,
    #[command(flatten)]
    pub data: TrainDataArgs,
    #[command(flatten)]
    pub text: TextArgs,
    #[command(flatten)]
    pub weights: TrainWeightArgs,
    #[command(flatten)]
    pub batches: TrainBatchArgs,
    #[command(flatten)]
    pub optimizer: TrainOptimizerArgs,
    #[command(flatten)]
    pub saving: TrainSavingArgs,
    #[command(flatten)]
    pub computing: TrainComputeArgs,
    /// Compute layers twice rather than keep what they computed: less memory, the same bits
    #[arg(long)]
    pub gradient_checkpointing: bool,
    /// Bytes of memory to stay below where that is possible, e.g. 2GB: layers are then computed twice, and
    /// fewer threads run; the same bits
    #[arg(long, value_name = "SIZE", value_parser = super::size::size)]
    pub max_memory: Option<u64>,
    /// Show samples, steps, tokens, time, memory and disk, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,
}

/// What computes a training.
#[derive(Args, Debug, Clone)]
pub struct TrainComputeArgs {
    #[command(flatten)]
    pub devices: DevicesArgs,
    /// Precision of the factors of matrix products; weights, gradients and moments are f32 [default: f32,
    /// with --backend cuda bf16]
    #[arg(long, value_parser = precision())]
    pub compute: Option<ComputePrecision>,
    /// Tokens that a thread computes at a time, about; the last bits of the result depend on it
    #[arg(long, value_name = "N", default_value_t = ComputeOptions::PIECE_TOKENS, value_parser = at_least::<usize>(1))]
    pub batch_tokens: usize,
}

/// Which samples are trained on.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Data")]
pub struct TrainRowsArgs {
    /// Files, folders or patterns, as in `gstore add`
    #[arg(long, alias = "train-files", value_name = "PATH", num_args = 1.., required_unless_present = "dataset")]
    pub data: Vec<PathBuf>,
    /// A dataset of the store, in place of files
    #[arg(long, value_name = "NAME", conflicts_with = "data")]
    pub dataset: Option<String>,
    /// Key of the files that holds what gstore calls text, prompt, completion, messages, role, content
    /// or id (may be repeated)
    #[arg(long = "field", value_name = "FIELD=KEY", value_delimiter = ',')]
    pub fields: Vec<String>,
    /// What to do with a record of a file whose id an earlier one has
    #[arg(long, value_parser = one_of(DUPLICATES), default_value = "refuse")]
    pub duplicates: Duplicates,
    /// Only the samples whose ids stand in a file: JSON lines with an `id` each, as
    /// `gstore select` writes them
    #[arg(long, value_name = "FILE")]
    pub rows: Option<PathBuf>,
    /// Only the rows of the --dataset for which an SQL condition is true
    // clap asks for nothing that another argument excludes: with --data, which excludes --dataset, `requires`
    // alone would let it pass.
    #[arg(long = "where", value_name = "SQL", requires = "dataset", conflicts_with = "data")]
    pub filter: Option<String>,
}

/// What is trained on, and what the loss is watched on.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Data")]
pub struct TrainDataArgs {
    #[command(flatten)]
    pub samples: TrainRowsArgs,
    /// A random share of the samples, above 0 and at most 1, as 0.05 or 5%
    #[arg(long, value_name = "SHARE", value_parser = super::part_or_all)]
    pub percentage: Option<f64>,
    /// Seed of the random share [default: 42]
    #[arg(long, alias = "sample-data-seed", value_name = "N", requires = "percentage")]
    pub data_seed: Option<u64>,
    /// Files of samples that are not trained on: their loss is computed during the training
    #[arg(long, alias = "validation-files", value_name = "PATH", num_args = 1.., conflicts_with = "eval_dataset")]
    pub eval_data: Vec<PathBuf>,
    /// A dataset of the store for that
    #[arg(long, value_name = "NAME")]
    pub eval_dataset: Option<String>,
    /// Steps between two such losses [default: an epoch]
    #[arg(long, alias = "eval-steps", value_name = "N", value_parser = at_least::<u64>(1))]
    pub eval_every: Option<u64>,
}

/// Which weights are trained, of a model or of each copy.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Weights")]
pub struct TrainMethodArgs {
    /// Train a new LoRA adapter of this rank [default: 8, unless another way is chosen]
    #[arg(long, alias = "lora-r", value_name = "N", value_parser = at_least::<usize>(1))]
    pub lora_rank: Option<usize>,
    /// The adapter's update is alpha / rank times its factors: a number above 0 [default: 32]
    #[arg(long, value_name = "X")]
    pub lora_alpha: Option<f64>,
    /// Ends of the names of adapted modules, or all-linear [default: the maps of attention]
    #[arg(long, alias = "lora-target-modules", value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    pub lora_targets: Vec<String>,
    /// Go on training the adapter in this folder, with a new optimizer
    #[arg(long, value_name = "DIR", conflicts_with_all = ["lora_rank", "lora_alpha", "lora_targets"])]
    pub adapter: Option<PathBuf>,
    /// Train all weights
    #[arg(long, conflicts_with_all = ["lora_rank", "lora_alpha", "lora_targets", "adapter"])]
    pub full: bool,
}

/// Which weights are trained, and what is dropped meanwhile.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Weights")]
pub struct TrainWeightArgs {
    #[command(flatten)]
    pub method: TrainMethodArgs,
    /// Share of the inputs of LoRA factors that is dropped in training
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub lora_dropout: f64,
    /// Share of what embedding, attention and MLP add to the hidden states that is dropped in training;
    /// only for GPT-2, GPT-NeoX and Phi-3
    #[arg(long, alias = "hidden-dropout", value_name = "SHARE", default_value_t = 0.0)]
    pub dropout: f64,
    /// Share of attention's weights that is dropped in training
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub attention_dropout: f64,
    /// Train all weights, from random ones: of the model only its configuration and tokenizer are used
    #[arg(long, conflicts_with_all = ["lora_rank", "lora_alpha", "lora_targets", "adapter", "full"])]
    pub from_scratch: bool,
}

/// Batches and epochs.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Batches")]
pub struct TrainBatchArgs {
    /// Samples of a micro-batch; with --packing sequences
    #[arg(long, alias = "batch-size", value_name = "N", default_value_t = 8, value_parser = at_least::<usize>(1))]
    pub per_device_train_batch_size: usize,
    /// Micro-batches of a step
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least::<usize>(1))]
    pub gradient_accumulation_steps: usize,
    /// Passes over the data [default: 3]
    #[arg(long, alias = "epochs", value_name = "X")]
    pub num_train_epochs: Option<f64>,
    /// Steps, in place of epochs
    #[arg(long, value_name = "N", value_parser = at_least::<u64>(1))]
    pub max_steps: Option<u64>,
    /// Seed of the order of the samples, and of new weights
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// Put short samples together into sequences of about --max-length tokens, which are what a micro-batch
    /// counts; attention does not cross from one sample to the next
    #[arg(long)]
    pub packing: bool,
    /// Train in the order of the data
    #[arg(long)]
    pub no_shuffle: bool,
    /// How the losses of a step's tokens become one: their mean, or the mean of the micro-batches'
    /// means, where micro-batches that an epoch leaves over begin the next one's first step
    /// (transformers before 4.46)
    #[arg(long, value_parser = one_of(LOSS_MEANS), default_value = "tokens")]
    pub loss_mean: LossMean,
}

const LOSS_MEANS: &[Word<LossMean>] = &[
    ("tokens", "Mean over the scored tokens of the step", LossMean::Tokens),
    ("micro-batches", "Mean of each micro-batch, then of these", LossMean::MicroBatches),
];

/// Optimizer and schedule.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Optimizer")]
pub struct TrainOptimizerArgs {
    /// adamw or sgd
    #[arg(long, value_name = "NAME", default_value = "adamw")]
    pub optim: String,
    /// The highest rate
    #[arg(long, value_name = "X", default_value_t = 5e-5)]
    pub learning_rate: f64,
    /// Weight decay, not of norms and biases
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub weight_decay: f64,
    /// Decay of AdamW's first moment [default: 0.9]
    #[arg(long, value_name = "X")]
    pub adam_beta1: Option<f64>,
    /// Decay of AdamW's second moment [default: 0.999]
    #[arg(long, value_name = "X")]
    pub adam_beta2: Option<f64>,
    /// Added to the root of AdamW's second moment: a number above 0 [default: 1e-8]
    #[arg(long, value_name = "X")]
    pub adam_epsilon: Option<f64>,
    /// Momentum of SGD
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub momentum: f64,
    /// Schedule of the rate
    #[arg(long, value_name = "NAME", default_value = "linear",
        help = format!("Schedule of the rate: {}", ScheduleKind::NAMES.join(", ")))]
    pub lr_scheduler_type: String,
    /// Options of the schedule, such as '{"min_lr_rate": 0.1}'
    #[arg(long, value_name = "JSON")]
    pub lr_scheduler_kwargs: Option<String>,
    /// Cycles of a cosine with restarts
    #[arg(long, value_name = "N", value_parser = at_least::<u32>(1))]
    pub lr_cycles: Option<u32>,
    /// The warm-up's share of all steps
    #[arg(long, value_name = "X", default_value_t = 0.0, conflicts_with = "warmup_steps")]
    pub warmup_ratio: f64,
    /// Steps of the warm-up
    #[arg(long, value_name = "N")]
    pub warmup_steps: Option<u64>,
    /// Norm to which a step's gradient is clipped; 0: no clipping
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub max_grad_norm: f64,
}

/// Checkpoints and log.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Checkpoints")]
pub struct TrainSavingArgs {
    /// When checkpoints are written; the last step always has one [default: epoch,
    /// or steps with --save-steps]
    #[arg(long, value_enum)]
    pub save_strategy: Option<SaveStrategy>,
    /// Write a checkpoint every N steps
    #[arg(long, value_name = "N", value_parser = at_least::<u64>(1))]
    pub save_steps: Option<u64>,
    /// Keep only the newest N checkpoints
    #[arg(long, value_name = "N", value_parser = at_least::<usize>(1))]
    pub save_total_limit: Option<usize>,
    /// Steps between two entries of the log
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least::<u64>(1))]
    pub logging_steps: u64,
    /// Remove another training of gstore from the output folder, or this one if it is finished;
    /// one that was stopped goes on
    #[arg(long)]
    pub overwrite_output_dir: bool,
    /// The store's run of this name is dropped before the training
    #[arg(long, hide = true, requires = "dry_run")]
    pub drops_run: bool,
    /// Go on from this checkpoint, of gstore or of the Hugging Face Trainer, with its optimizer
    #[arg(long, value_name = "DIR", conflicts_with_all = ["adapter", "lora_rank", "lora_alpha", "lora_targets", "from_scratch"])]
    pub resume_from_checkpoint: Option<PathBuf>,
    /// Also draw the curves of the training here: .svg, .png, .html, or .txt; replaced if it exists.
    /// OUTPUT/loss.svg is always drawn
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// With --store: register the checkpoints as this run of the store, where `gstore ingest --run NAME`
    /// finds them [default: the output folder's name]
    #[arg(long, value_name = "NAME")]
    pub run: Option<String>,
}

/// When checkpoints are written.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveStrategy {
    /// After each epoch
    Epoch,
    /// After every --save-steps steps
    Steps,
    /// After the last step only
    No,
}

/// `--learning_rate` for `--learning-rate`: scripts of the Trainer have underscores.
pub fn with_underscores(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| {
        let names = arg.get_long().into_iter().chain(arg.get_all_aliases().unwrap_or_default());
        let names: Vec<String> = names.filter(|n| n.contains('-')).map(|n| n.replace('-', "_")).collect();
        names.into_iter().fold(arg, clap::Arg::alias)
    })
}

#[cfg(test)]
mod tests {
    /// The words of a line of a shell.
    fn words(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (part, text) in line.split(['\'', '"']).enumerate() {
            match part % 2 {
                0 => words.extend(text.split_whitespace().map(str::to_owned)),
                _ => words.push(text.to_owned()),
            }
        }
        words
    }

    #[test]
    fn the_commands_of_the_warm_up_exist() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/warmup.md");
        let text = fs_err::read_to_string(page).unwrap().replace("\\\n", " ");
        let commands = text.lines().filter_map(|line| line.strip_prefix("$ gstore "));
        let mut found = 0;
        for command in commands {
            let argv = words(&format!("gstore --store s {command}"));
            let parsed = crate::args::command().try_get_matches_from(&argv);
            assert!(parsed.is_ok(), "{command}: {}", parsed.err().unwrap());
            found += 1;
        }
        assert!(found > 10, "{found} commands");
    }
}
