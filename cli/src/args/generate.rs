//! Flags of `gstore generate`, under the names that transformers has for them.

use std::path::PathBuf;

use clap::Args;
use gstore_data::TextOptions;
use gstore_generate::{ComputeOptions, StoppingCriteria};
use gstore_model::ComputePrecision;
use gstore_store::IfChanged;

use super::gradients::precision;
use super::output::formats;
use super::samples::IF_CHANGED;
use super::words::one_of;
use super::{DevicesArgs, Format, GivenTextArgs, at_least};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore generate --model llama --prompt \"What is 7*8?\" --chat\n  \
    gstore generate --model llama --adapter warmup/checkpoint-224 --data gsm8k.jsonl --temperature 0.8 --top-p 0.95 -o answers.jsonl\n  \
    gstore generate --store s --run warmup --dataset gsm8k --where \"subtask = 'test'\" --as answers\n  \
    gstore generate --model llama --data texts.jsonl --perplexity -o perplexity.csv\n\n\
    Without --temperature, --top-k or --top-p the most likely token is taken each time. An answer depends only on its prompt, the options and the seed,\n\
    not on the number of threads or on the other prompts. Ctrl-C keeps finished answers; run the same command again to continue.\n\
    Flags may be written with underscores, as in transformers. More: docs/generate.md\n\n\
    Memory: the weights, the prompts, and for each prompt of --batch-size the keys and values of its tokens and two rows of logits.",
    mut_arg("max_length", |length| length.help(format!(
        "Prompts that are longer are refused; with --perplexity, texts are cut off after this many tokens [default: {}]",
        TextOptions::MAX_LENGTH
    ))))]
pub struct GenerateArgs {
    #[command(flatten)]
    pub weights: GenerateWeightArgs,
    #[command(flatten)]
    pub text: GivenTextArgs,
    #[command(flatten)]
    pub prompts: PromptArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub answers: AnswerArgs,
    /// Do not answer: write the loss, the perplexity and the entropy of each text, as a table
    #[arg(long, help_heading = "Perplexity", conflicts_with_all = NOT_OF_PERPLEXITY)]
    pub perplexity: bool,
    /// With --perplexity: one row for each token, with its log-probability
    // What --perplexity excludes is named again: clap does not ask for an argument that another one excludes.
    #[arg(long, help_heading = "Perplexity", requires = "perplexity", conflicts_with_all = NOT_OF_PERPLEXITY)]
    pub per_token: bool,
    /// With --perplexity of a --dataset: also store the feature `loss` of its rows, and with --per-token the
    /// loss of each scored token, `loss@CHECKPOINT:token:sum`. Text options that are not given are then taken
    /// from existing features, as in `gstore ingest`
    #[arg(long, help_heading = "Perplexity", requires_all = ["perplexity", "dataset"], conflicts_with_all = ["filter", "block"],
        conflicts_with_all = NOT_OF_DATASET, conflicts_with_all = NOT_OF_PERPLEXITY)]
    pub as_features: bool,
    #[command(flatten)]
    pub devices: DevicesArgs,
    /// Precision of the factors of matrix products [default: f32, with --backend cuda bf16]
    #[arg(long, value_parser = precision())]
    pub compute: Option<ComputePrecision>,
    /// Prompts that are answered at a time, on all devices together; changes speed and memory, not the
    /// answers
    #[arg(long, value_name = "N", default_value_t = ComputeOptions::BATCH, value_parser = at_least::<usize>(1))]
    pub batch_size: usize,
    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,
}

/// Options that say how answers are made and where they go, of which given texts have none.
const NOT_OF_PERPLEXITY: [&str; 11] = [
    "as",
    "max_new_tokens",
    "temperature",
    "top_k",
    "top_p",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "seed",
    "stop",
    "ignore_eos",
    "batch_size",
];

/// Other prompts than samples of a dataset.
const NOT_OF_DATASET: [&str; 3] = ["data", "prompt", "text"];

/// The model.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Model")]
pub struct GenerateWeightArgs {
    /// Model: a folder in Hugging Face layout, or org/name or org/name@revision on the Hugging Face Hub
    /// [default: that of --run]
    #[arg(long, alias = "model-name-or-path", value_name = "DIR|REPO", required_unless_present = "run")]
    pub model: Option<String>,
    /// LoRA adapter for it: a folder, org/name or org/name@revision on the Hub; or a folder of a whole
    /// fine-tune of it
    #[arg(long, value_name = "DIR|REPO", requires = "model")]
    pub adapter: Option<String>,
    /// Model and adapter of this run of the store
    #[arg(long, value_name = "NAME", conflicts_with_all = ["model", "adapter"])]
    pub run: Option<String>,
    /// Which checkpoint of the run, by its name or step [default: the last]
    #[arg(long, value_name = "NAME", requires = "run", conflicts_with_all = ["model", "adapter"])]
    pub checkpoint: Option<String>,
}

/// What is answered, or scored.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Prompts")]
pub struct PromptArgs {
    /// Prompt; may be repeated. With --template tulu or plain it is text without roles, with any other
    /// template a user's message
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["data", "dataset", "text"])]
    pub prompt: Vec<String>,
    /// Give each --prompt as a user's message with any template, and its answer as a conversation
    #[arg(long, requires = "prompt", conflicts_with_all = ["data", "dataset", "text"])]
    pub chat: bool,
    /// Files, folders or patterns, as in `gstore add`; a prompt needs no completion, and an existing one is
    /// not shown to the model
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with_all = ["dataset", "text"])]
    pub data: Vec<PathBuf>,
    /// A dataset of the store
    #[arg(long, value_name = "NAME", conflicts_with = "text")]
    pub dataset: Option<String>,
    /// With --perplexity: text that is scored as a whole; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub text: Vec<String>,
    /// Key that holds what gstore calls text, prompt, completion, messages, role, content or id (may be
    /// repeated)
    #[arg(long = "field", value_name = "FIELD=KEY", value_delimiter = ',', requires = "data", conflicts_with_all = ["dataset", "prompt", "text"])]
    pub fields: Vec<String>,
    /// Only the rows of the --dataset for which an SQL condition is true
    // clap asks for nothing that another argument excludes: without the conflicts it would pass beside
    // --data, which excludes --dataset.
    #[arg(long = "where", value_name = "SQL", requires = "dataset", conflicts_with_all = NOT_OF_DATASET)]
    pub filter: Option<String>,
}

/// How tokens are chosen, and when an answer ends.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Draw tokens, their logits divided by this; 0: take the most likely [default: 1 with --top-k or
    /// --top-p, else 0]
    #[arg(long, value_name = "X")]
    pub temperature: Option<f64>,
    /// Draw from the N most likely tokens
    #[arg(long, value_name = "N")]
    pub top_k: Option<usize>,
    /// Draw from the most likely tokens that make up this share
    #[arg(long, value_name = "P")]
    pub top_p: Option<f64>,
    /// Above 1: make tokens of the prompt and the answer less likely
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub repetition_penalty: f64,
    /// Let no sequence of N tokens come twice, those of the prompt counted; 0: any may
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub no_repeat_ngram_size: usize,
    /// Seed of the draws; refused where the most likely token is taken [default: 42]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Maximum number of tokens of an answer
    #[arg(long, value_name = "N", default_value_t = StoppingCriteria::MAX_NEW_TOKENS, value_parser = at_least::<usize>(1))]
    pub max_new_tokens: usize,
    /// Text that ends an answer and is not included in it; may be repeated
    #[arg(long, alias = "stop-strings", value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Continue past a token that ends answers
    #[arg(long)]
    pub ignore_eos: bool,
}

/// Where answers go.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Result")]
pub struct AnswerArgs {
    /// File for the answers: one JSON object a line, which `gstore add` takes; also with .gz or .zst. With
    /// --perplexity a table: .csv, .tsv, .jsonl, .parquet or .arrow [default: standard output; on a terminal
    /// answers are printed as text there]
    #[arg(long, short, alias = "out", value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// With --perplexity: format of the table [default: by the file's ending; without a file a table on a
    /// terminal, else csv]
    #[arg(long, value_parser = formats(), requires = "perplexity", conflicts_with_all = NOT_OF_PERPLEXITY)]
    pub format: Option<Format>,
    /// Replace the file if it exists, and unfinished answers to another request next to it
    #[arg(long)]
    pub force: bool,
    /// Register the answers as samples of this dataset of the store
    #[arg(long = "as", id = "as", value_name = "NAME")]
    pub dataset_as: Option<String>,
    /// With --as: type of a metadata column, as in `gstore add`: bool, int, float or utf8 (may be repeated)
    /// [default: that of --dataset, else by the values]
    #[arg(long = "column", value_name = "NAME:TYPE", requires = "as", conflicts_with = "perplexity")]
    pub columns: Vec<String>,
    /// What to do with an answer that differs from the dataset's sample of the same id
    #[arg(long, value_parser = one_of(IF_CHANGED), default_value = "refuse", requires = "as", conflicts_with = "perplexity")]
    pub if_changed: IfChanged,
}
