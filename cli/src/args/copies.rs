//! Flags of `gstore daunce prepare`, `train` and `attach`: perturbed copies of a model.

use std::ops::Range;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gstore_train::ScheduleKind;
use gstore_train::daunce::EnsembleRequest;

use super::{TextArgs, TrainComputeArgs, TrainRowsArgs, at_least};

/// `gstore daunce prepare`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore daunce prepare --model llama --data pool.jsonl --full --output start.states\n  \
    gstore daunce train --model llama --data pool.jsonl --full --models 0..8 --steps 16 --hidden-states start.states --output ens\n\n\
    `gstore daunce train` makes such a file of its own where it needs one; several jobs may have one in common.\n\n\
    Disk: four bytes for each scored token and unit of the model's width.")]
pub struct DauncePrepareArgs {
    /// Model, data and folder
    #[command(flatten)]
    pub of: DaunceOfArgs,
    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,
}

/// `gstore daunce train`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore daunce train --store s --model llama --dataset pool --models 100 --steps 16 --batch-size 16 --output ens\n  \
    gstore daunce train --model llama --data pool.jsonl --models 25..50 --steps 16 --output part2\n  \
    gstore daunce train --store s --model llama --dataset pool --until agreement=0.8 --target gsm8k --max-models 200 --steps 16 --output ens\n\n\
    Copies that are there already are not trained again: the same command goes on after Ctrl-C or a crash, with the same bits. Each copy\n\
    depends on --seed and its number alone, so several machines may share the numbers. More: docs/daunce.md\n\n\
    Memory: the weights once, six numbers of four bytes for each trained weight of each copy at work, and the activations of a piece for each thread.")]
pub struct DaunceTrainArgs {
    /// Model, data and folder
    #[command(flatten)]
    pub of: DaunceOfArgs,
    /// Which copies, and how many rows each is trained on
    #[command(flatten)]
    pub models: DaunceModelsArgs,
    /// The objective
    #[command(flatten)]
    pub objective: DaunceObjectiveArgs,
    /// Rates
    #[command(flatten)]
    pub rates: DaunceRateArgs,
    /// What becomes of the copies
    #[command(flatten)]
    pub keeping: DaunceKeepArgs,
    /// Show copies, rows, steps, time, memory and disk, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,
}

/// `gstore daunce attach`
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
pub struct DaunceOfArgs {
    /// Model to start from: a folder in Hugging Face layout, or org/name or org/name@revision
    /// on the Hugging Face Hub
    #[arg(long, alias = "model-name-or-path", value_name = "DIR|REPO")]
    pub model: String,
    /// Folder for the copies, or file for the hidden states; what the same command began there goes on
    #[arg(long, short, alias = "output-dir", value_name = "PATH")]
    pub output: PathBuf,
    /// Replace what another command of this kind left there
    #[arg(long)]
    pub overwrite_output_dir: bool,
    /// Which rows
    #[command(flatten)]
    pub data: TrainRowsArgs,
    /// How records become tokens
    #[command(flatten)]
    pub text: TextArgs,
    /// Which weights
    #[command(flatten)]
    pub weights: DaunceWeightArgs,
    /// What computes
    #[command(flatten)]
    pub computing: TrainComputeArgs,
    /// Bytes of memory to stay below where that is possible, e.g. 2GB: fewer copies are trained at once, layers are
    /// computed twice, fewer threads run; the same bits
    #[arg(long, alias = "max-memory", value_name = "SIZE", value_parser = super::gradients::size)]
    pub memory_limit: Option<u64>,
}

/// Which weights are trained.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Weights")]
pub struct DaunceWeightArgs {
    /// Each copy trains a new LoRA adapter of this rank [default: 8, where no other way is asked for]
    #[arg(long, alias = "lora-r", value_name = "N", value_parser = at_least::<usize>(1))]
    pub lora_rank: Option<usize>,
    /// The adapter's update is alpha / rank times its factors [default: 32]
    #[arg(long, value_name = "X")]
    pub lora_alpha: Option<f64>,
    /// Ends of the names of adapted modules, or all-linear [default: all-linear]
    #[arg(long, alias = "lora-target-modules", value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    pub lora_targets: Vec<String>,
    /// Each copy goes on with the adapter in this folder, which belongs to the model that all start from
    #[arg(long, value_name = "DIR", conflicts_with_all = ["lora_rank", "lora_alpha", "lora_targets"])]
    pub adapter: Option<PathBuf>,
    /// Each copy trains all weights
    #[arg(long, conflicts_with_all = ["lora_rank", "lora_alpha", "lora_targets", "adapter"])]
    pub full: bool,
}

/// Which copies, and how many rows each is trained on.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Copies")]
pub struct DaunceModelsArgs {
    /// How many copies, or those with the numbers from A up to B, without B
    #[arg(long, value_name = "K|A..B", value_parser = models, required_unless_present = "until", conflicts_with = "until")]
    pub models: Option<Models>,
    /// Train copies until two halves of them rank alike: `agreement=X`, a rank correlation up to 1
    #[arg(long, value_name = "agreement=X", value_parser = until, requires_all = ["max_models", "target", "dataset"])]
    pub until: Option<f64>,
    /// With --until: copies at most
    #[arg(long, value_name = "N", requires = "until", value_parser = at_least::<u64>(2))]
    pub max_models: Option<u64>,
    /// With --until: dataset whose queries rank the rows
    #[arg(long, value_name = "NAME", requires = "until")]
    pub target: Option<String>,
    /// Copies after which losses are computed, --until is looked at and the store is told
    #[arg(long, value_name = "N", default_value_t = EnsembleRequest::ROUND, value_parser = at_least::<u64>(1))]
    pub round: u64,
    /// Copies that are trained at the same time [default: as many as threads and memory allow]; the same bits
    #[arg(long, value_name = "N", value_parser = at_least::<usize>(1))]
    pub at_once: Option<usize>,
    /// Steps of each copy
    #[arg(long, alias = "max-steps", value_name = "N", value_parser = at_least::<u64>(1))]
    pub steps: Option<u64>,
    /// Rows of a step
    #[arg(long, alias = "per-device-train-batch-size", value_name = "N", default_value_t = 16, value_parser = at_least::<usize>(1))]
    pub batch_size: usize,
    /// Rows of each copy, drawn without replacement: a number, or a share below 1 [default: as many as its steps
    /// take once; without --steps all]
    #[arg(long, value_name = "N|SHARE", value_parser = subset)]
    pub subset: Option<Subset>,
    /// Passes over a copy's rows, where --steps does not say how many steps
    #[arg(long, value_name = "X", default_value_t = 1.0, conflicts_with = "steps")]
    pub epochs: f64,
    /// Seed of rows, noise and new factors of all copies
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
}

/// Numbers of the copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Models {
    /// From the first, without the last.
    pub range: Range<u64>,
    /// Whether they are a part of an ensemble.
    pub is_part: bool,
}

/// How many rows a copy is trained on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Subset {
    /// So many.
    Rows(usize),
    /// A share of all.
    Share(f64),
}

/// The objective.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Objective")]
pub struct DaunceObjectiveArgs {
    /// What each copy minimises
    #[arg(long, value_enum, default_value = "if")]
    pub variant: Variant,
    /// Scale of the noise [default: 1]
    #[arg(long, value_name = "X")]
    pub rho: Option<f64>,
    /// Scale of what holds a copy near the start
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub gamma: f64,
    /// By how many tokens the loss of a row is divided
    #[arg(long, value_enum, default_value = "step")]
    pub normalizer: Normalizer,
    /// Where logits of the start come from; the same bits
    #[arg(long, value_enum, default_value = "auto")]
    pub base_states: BaseStates,
    /// File of hidden states of the start that `gstore daunce prepare` wrote
    #[arg(long, value_name = "FILE", conflicts_with = "base_states")]
    pub hidden_states: Option<PathBuf>,
    /// Share of the inputs of LoRA factors that is dropped in training; the start is computed without
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub lora_dropout: f64,
}

/// What a copy minimises.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// The change of the loss with a perturbed linear term
    If,
    /// The squared change of the loss with one
    Efim,
    /// The loss itself: copies differ by their rows alone
    Subset,
}

/// By how many tokens a loss is divided.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalizer {
    /// The mean number of scored tokens of the step's rows, as the reference has it
    Step,
    /// The row's own number of scored tokens, as losses are recorded
    Row,
}

/// Where logits of the start come from.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseStates {
    /// A file where there is one, where all weights are trained or where it takes up to 1 GiB; else passes
    Auto,
    /// A file of hidden states, made if it is missing
    Stored,
    /// A forward pass of the start for each batch
    Forward,
}

/// Optimizer and schedule.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Optimizer")]
pub struct DaunceRateArgs {
    /// adamw or sgd
    #[arg(long, value_name = "NAME", default_value = "adamw")]
    pub optim: String,
    /// The highest rate
    #[arg(long, value_name = "X", default_value_t = 3e-4)]
    pub learning_rate: f64,
    /// Decay of weights, not of norms and biases
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub weight_decay: f64,
    /// Momentum of SGD
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub momentum: f64,
    /// Schedule of the rate
    #[arg(long, value_name = "NAME", default_value = "cosine",
        help = format!("Schedule of the rate: {}", ScheduleKind::NAMES.join(", ")))]
    pub lr_scheduler_type: String,
    /// The warm-up's share of all steps
    #[arg(long, value_name = "X", default_value_t = 0.03, conflicts_with = "warmup_steps")]
    pub warmup_ratio: f64,
    /// Steps of the warm-up
    #[arg(long, value_name = "N")]
    pub warmup_steps: Option<u64>,
    /// The first step has a rate of zero, as in the reference, and so changes nothing
    #[arg(long)]
    pub first_rate_zero: bool,
    /// Norm that a step's gradient is clipped to; 0: it is not
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub max_grad_norm: f64,
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
    pub keep: Keep,
}

/// What stays of a copy.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Its weights
    Adapters,
    /// Its record and its losses
    None,
}

/// `K`, or `A..B`.
fn models(text: &str) -> Result<Models, String> {
    let number =
        |text: &str| text.parse::<u64>().map_err(|_| "K or A..B is wanted, whole numbers".to_owned());
    match text.split_once("..") {
        None => match number(text)? {
            0 | 1 => {
                Err("one model has no covariance: at least 2, and about 100 for a stable ranking".to_owned())
            }
            count => Ok(Models { range: 0..count, is_part: false }),
        },
        Some((first, end)) => {
            let range = number(first)?..number(end)?;
            if range.is_empty() {
                return Err(format!("{text} are no models: from the first, without the last"));
            }
            Ok(Models { range, is_part: true })
        }
    }
}

fn until(text: &str) -> Result<f64, String> {
    let wanted = text.strip_prefix("agreement=").and_then(|value| value.parse().ok());
    let wanted = wanted.filter(|value: &f64| *value > 0.0 && *value <= 1.0);
    wanted.ok_or_else(|| "agreement=X with X above 0 and at most 1 is wanted".to_owned())
}

fn subset(text: &str) -> Result<Subset, String> {
    let wrong = || "a number of rows, or a share above 0 and below 1".to_owned();
    match text.parse::<usize>() {
        Ok(0) => Err(wrong()),
        Ok(rows) => Ok(Subset::Rows(rows)),
        Err(_) => {
            let share: f64 = text.parse().map_err(|_| wrong())?;
            if share > 0.0 && share <= 1.0 { Ok(Subset::Share(share)) } else { Err(wrong()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_a_number_or_a_range() {
        assert_eq!(models("32"), Ok(Models { range: 0..32, is_part: false }));
        assert_eq!(models("25..50"), Ok(Models { range: 25..50, is_part: true }));
        assert!(models("3..4").is_ok());
        for bad in ["", "1", "0", "x", "4..4", "5..4", "1..", "-1"] {
            assert!(models(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn subsets_are_rows_or_a_share() {
        assert_eq!(subset("256"), Ok(Subset::Rows(256)));
        assert_eq!(subset("0.3"), Ok(Subset::Share(0.3)));
        for bad in ["0", "-1", "1.5", "nan", "0.0", "all"] {
            assert!(subset(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_end_is_an_agreement() {
        assert_eq!(until("agreement=0.8"), Ok(0.8));
        for bad in ["0.8", "agreement=0", "agreement=2", "agreement=", "overlap=0.5"] {
            assert!(until(bad).is_err(), "{bad}");
        }
    }
}
