//! Flags of `gstore evaluate`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use gstore_data::TextOptions;
use gstore_evaluate::statistics::Bootstrap;
use gstore_evaluate::tasks::{Choices, Layout};
use gstore_generate::ComputeOptions;
use gstore_model::{ComputePrecision, Device};

use super::gradients::precision;
use super::words::{Word, one_of};
use super::{
    EvaluateAttributionArgs, EvaluateBrittlenessArgs, EvaluateFlipsArgs, EvaluateRetrainArgs,
    EvaluateScoresArgs, JsonArgs, TextArgs, at_least,
};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore evaluate text --data base=base.jsonl tuned=tuned.jsonl -o report.md\n  \
    gstore evaluate tasks --model llama --checkpoints 'run/checkpoint-*' --layout mmlu --data mmlu -o mmlu.json\n  \
    gstore evaluate lds --truth truth --scores bm25=bm25.csv --random -o lds.md\n\n\
    More: docs/evaluate.md")]
pub struct EvaluateArgs {
    #[command(subcommand)]
    pub what: EvaluateWhat,
}

/// What is evaluated.
#[derive(Subcommand, Debug)]
#[allow(clippy::large_enum_variant)] // there is one in a process
pub enum EvaluateWhat {
    /// Compare texts with references: BLEU, ROUGE, exact match, F1
    Text(EvaluateTextArgs),
    /// Let models do tasks, and compare how many answers are right
    Tasks(EvaluateTasksArgs),
    /// Retrain a model on subsets of its data: the ground truth that scores are compared with
    Retrain(EvaluateRetrainArgs),
    /// Linear datamodeling score: how sums of scores order models that were trained on random subsets
    Lds(EvaluateAttributionArgs),
    /// Leave-one-out and leave-group-out: scores against what models lose without a row or a group
    Loo(EvaluateAttributionArgs),
    /// What models lose without the rows that scores rank highest, next to random rows
    Brittleness(EvaluateBrittlenessArgs),
    /// How well scores tell rows with wrong labels from others
    Flips(EvaluateFlipsArgs),
    /// Of each query the rows with the highest and the lowest scores, with their texts, and figures of all
    Scores(EvaluateScoresArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore evaluate text --data generated_answers.json --report comparison\n  \
    gstore evaluate text --data base=base.jsonl tuned=tuned.jsonl --references gsm8k.jsonl -o report.json\n  \
    gstore evaluate text --store s --dataset base=answers_base tuned=answers_tuned --reference-dataset gsm8k\n\n\
    Several systems are compared over the same rows, joined by their ids; each difference comes with its paired bootstrap.\n\n\
    Memory: all texts, 56 bytes for each row and system, and 8 bytes for each resample and system.")]
pub struct EvaluateTextArgs {
    /// Files of predictions, as in `gstore add`; NAME= names the system. One record may hold those of several
    /// systems: `expected_completion` with others that end in _completion
    #[arg(long, value_name = "[NAME=]PATH", num_args = 1.., required_unless_present = "dataset")]
    pub data: Vec<String>,
    /// Datasets of answers in the store
    #[arg(long, value_name = "[NAME=]DATASET", num_args = 1..)]
    pub dataset: Vec<String>,
    /// Files with the references, joined by id [default: those in the records of the predictions]
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with = "reference_dataset")]
    pub references: Vec<PathBuf>,
    /// Dataset of the store with the references, joined by id
    #[arg(long, value_name = "DATASET")]
    pub reference_dataset: Option<String>,
    /// Key of the predictions; several keys make several systems [default: prediction, completion, or the last
    /// message]
    #[arg(long, value_name = "[NAME=]KEY")]
    pub prediction: Vec<String>,
    /// Key of the references [default: reference, references, expected, expected_completion or answers]
    #[arg(long, value_name = "KEY")]
    pub reference: Option<String>,
    #[command(flatten)]
    pub comparison: ComparisonArgs,
    #[command(flatten)]
    pub result: ReportArgs,
    #[command(flatten)]
    pub combine: CombineArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore evaluate tasks --model llama --checkpoints tuned=run/checkpoint-224 --data questions.jsonl --shots dev.jsonl --few-shot 5\n  \
    gstore evaluate tasks --store s --run warmup --layout bbh --data eval/bbh --report bbh-report\n  \
    gstore evaluate tasks --layout mmlu --data eval/mmlu --targets mmlu-target.jsonl\n\n\
    The base and all checkpoints answer the same questions. Those that share a tokenizer must also share the template: where their own templates write different prompts, give one with --template. A model with another tokenizer reads the prompts by its own tokenizer and template, which the report names; --tokenizer and --template apply to all models. If the result is a file, Ctrl-C keeps what is done; run the same command again to continue.\n\n\
    Memory: one model's weights, the questions with their tokens, and what `gstore generate` takes.",
    mut_arg("max_length", |length| length.help(format!(
        "Questions that are longer without examples are refused; with them, the last ones are left out [default: {}]",
        TextOptions::MAX_LENGTH
    ))))]
pub struct EvaluateTasksArgs {
    #[command(flatten)]
    pub models: EvaluateModelArgs,
    /// How questions become tokens: of one that is longer than --max-length examples are left out, the last
    /// first; with --template plain it stands as it is, else as a user's message
    #[command(flatten)]
    pub text: TextArgs,
    #[command(flatten)]
    pub tasks: TaskArgs,
    #[command(flatten)]
    pub comparison: ComparisonArgs,
    #[command(flatten)]
    pub result: ReportArgs,
    #[command(flatten)]
    pub combine: CombineArgs,
    /// What computes
    #[arg(long, alias = "device", value_name = "NAME", default_value_t = Device::Cpu, help = super::backends())]
    pub backend: Device,
    /// Precision of the factors of matrix products [default: f32, with --backend cuda bf16]
    #[arg(long, value_parser = precision())]
    pub compute: Option<ComputePrecision>,
    /// Answers that are generated at a time; changes speed and memory, not the answers
    #[arg(long, value_name = "N", default_value_t = ComputeOptions::BATCH, value_parser = at_least::<usize>(1))]
    pub batch_size: usize,
}

/// The models of an evaluation.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Models")]
pub struct EvaluateModelArgs {
    /// Base model: a folder in Hugging Face layout, or org/name or org/name@revision on the Hugging Face Hub
    /// [default: that of --run]
    #[arg(long, alias = "model-name-or-path", value_name = "DIR|REPO", required_unless_present_any = ["run", "targets"])]
    pub model: Option<String>,
    /// Checkpoints to compare with it: folders of LoRA adapters or of whole models, globs of them,
    /// repositories of the Hub, or name=one of them
    #[arg(long, value_name = "GLOB", value_delimiter = ',', num_args = 1.., requires = "model")]
    pub checkpoints: Vec<String>,
    /// Base model and checkpoints of this run of the store
    #[arg(long, value_name = "NAME", conflicts_with_all = ["model", "checkpoints"])]
    pub run: Option<String>,
    /// Leave out the base model
    #[arg(long)]
    pub no_base: bool,
}

/// The questions of an evaluation.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Tasks")]
pub struct TaskArgs {
    /// Files of questions; for mmlu, bbh and tydiqa the folder of the published files
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub data: Vec<PathBuf>,
    /// How the files are laid out
    #[arg(long, value_parser = one_of(LAYOUTS), default_value = "own")]
    pub layout: Layout,
    /// Name of the benchmark in the report [default: the layout, of own the first file's name]
    #[arg(long, value_name = "NAME")]
    pub benchmark: Option<String>,
    /// Files of examples for questions in our own layout; a question is never among its own examples
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub shots: Vec<PathBuf>,
    /// Examples before each question [default: mmlu 5, bbh 3, tydiqa 1; own 5 with --shots]
    #[arg(long, alias = "ntrain", value_name = "N")]
    pub few_shot: Option<usize>,
    /// How choices of our own layout are put to the model
    #[arg(long, value_parser = one_of(CHOICES), default_value = "text")]
    pub choices: Choices,
    /// Text that ends a generated answer; may be repeated [default: that of the layout]
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Maximum number of tokens of a generated answer [default: that of the layout]
    #[arg(long, value_name = "N", value_parser = at_least::<usize>(1))]
    pub max_new_tokens: Option<usize>,
    /// Regular expression whose first group, in its first match, is the part of a generated answer that counts
    #[arg(long, value_name = "REGEX")]
    pub pattern: Option<String>,
    /// For bbh: examples without chains of thought
    #[arg(long)]
    pub no_cot: bool,
    /// Only the first N questions of each task
    #[arg(long, value_name = "N", value_parser = at_least::<usize>(1))]
    pub limit: Option<usize>,
    /// Run no model: write the target samples that LESS makes of mmlu, bbh or tydiqa, for `gstore ingest`
    #[arg(long, value_name = "FILE", conflicts_with_all = NOT_OF_TARGETS)]
    pub targets: Option<PathBuf>,
}

/// Options that say something of models, questions or tokens, of which target samples have none.
const NOT_OF_TARGETS: [&str; 30] = [
    "model",
    "run",
    "no_base",
    "output",
    "report",
    "with",
    "influential",
    "rows",
    "format",
    "as_json",
    "against",
    "resamples",
    "seed",
    "shots",
    "few_shot",
    "choices",
    "stop",
    "max_new_tokens",
    "pattern",
    "no_cot",
    "limit",
    "benchmark",
    "batch_size",
    "backend",
    "compute",
    "checkpoints",
    "system",
    "tokenizer",
    "max_length",
    "block",
];

/// How systems are compared.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Comparison")]
pub struct ComparisonArgs {
    /// The system that the others are compared with [default: the first]
    #[arg(long, value_name = "NAME")]
    pub against: Option<String>,
    /// Resamples of the paired bootstrap
    #[arg(long, value_name = "N", default_value_t = Bootstrap::RESAMPLES, value_parser = resamples)]
    pub resamples: usize,
    /// Seed of the resamples
    #[arg(long, value_name = "N", default_value_t = Bootstrap::SEED)]
    pub seed: u64,
}

/// A number of resamples that memory has room for.
fn resamples(text: &str) -> Result<usize, String> {
    let number = at_least::<usize>(100)(text)?;
    match number <= Bootstrap::MOST {
        true => Ok(number),
        false => Err(format!("expected a whole number of at most {}", Bootstrap::MOST)),
    }
}

/// Where a report goes.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Result")]
pub struct ReportArgs {
    /// Format of the report [default: by the file's ending; without a file text]
    #[arg(long, value_enum)]
    pub format: Option<ReportFormat>,
    #[command(flatten)]
    pub json: JsonArgs,
    /// File for the report: .json, .csv, .md or .txt, also with .gz or .zst [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// File for every row's values and answers, as CSV
    #[arg(long, value_name = "FILE")]
    pub rows: Option<PathBuf>,
    /// Folder for the report in all formats, with the files that Kronfluence pipelines and DeepEval write
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Replace files and the folder if they exist, and unfinished work for another request next to them
    #[arg(long)]
    pub force: bool,
}

/// What a report of texts or of tasks is combined with.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Result")]
pub struct CombineArgs {
    /// Folder of a report of the other kind: the folder then has a combined report too
    #[arg(long, value_name = "DIR", requires = "report")]
    pub with: Option<PathBuf>,
    /// Influential training rows in text or Markdown, as of `gstore score --report`: the third part of the
    /// combined report
    #[arg(long, value_name = "FILE", requires = "with")]
    pub influential: Option<PathBuf>,
}

/// Format of a report.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportFormat {
    /// Columns for reading
    Text,
    /// One object with everything, the series of charts too
    Json,
    /// One line for each group, metric and system
    Csv,
    /// Tables and findings
    Markdown,
}

const LAYOUTS: &[Word<Layout>] = &[
    ("own", "Records of `question`, with `choices` and `answer`, or with `answers`", Layout::Own),
    ("harness", "Samples that lm-evaluation-harness writes", Layout::Harness),
    ("mmlu", "MMLU: dev/*_dev.csv and test/*_test.csv", Layout::Mmlu),
    ("bbh", "BIG-Bench Hard: bbh/*.json and cot-prompts/*.txt", Layout::Bbh),
    ("tydiqa", "TyDi QA: tydiqa-goldp-v1.1-dev.json and LESS's tydiqa-one-shot.json", Layout::Tydiqa),
];

const CHOICES: &[Word<Choices>] = &[
    ("text", "The likelihood of each choice's text", Choices::Text),
    (
        "letters",
        "Choices are listed after letters, and the likelihood is that of the letter",
        Choices::Letters,
    ),
];
