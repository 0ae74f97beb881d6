//! Flags of `gstore ask`, and those that locate models.

use clap::Args;
use gstore_model::Device;

use super::{DrawArgs, JsonArgs, OutputArgs, ScoringArgs, StateArgs, backends};

/// Where the models of stored vectors are now.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Models of given samples")]
pub struct ModelArgs {
    /// Base model that the pool's vectors were computed with [default: where it was then]
    #[arg(long, value_name = "DIR|REPO")]
    pub model: Option<String>,
    /// Where the checkpoints are: folders of adapters or of whole models, globs, or repositories, as in
    /// `gstore ingest`; they are recognised by their weights. A checkpoint that is not among them is
    /// looked for where it was then
    #[arg(long = "checkpoint-folders", value_name = "GLOB", value_delimiter = ',', num_args = 1..)]
    pub checkpoint_folders: Vec<String>,
    /// What computes
    #[arg(long, alias = "device", value_name = "NAME", default_value_t = Device::Cpu,
        help = format!("{}; `cuda` scans stored rows as well", backends()))]
    pub backend: Device,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore ask --store s --pool pool --prompt \"What is 7*8?\" --completion \"56\"\n  \
    gstore ask --store s --pool pool --prompt \"What is 7*8?\" --completion \"56\" --explain pool-17\n\n\
    The model runs over the sample at each checkpoint of the pool's vectors, and the pool is ranked by its influence on the completion's loss: \
    proponents lower it, opponents raise it. Several prompts with their completions are one target; scores are means over them.\n\
    Where the pool's samples are conversations (64 of them are looked at), a prompt with its completion is asked as one; a note says so.\n\
    A pool row with the very text of the sample is marked `in_target`. Where no row is a proponent, or none an opponent, a line says why.\n\n\
    Memory: the weights of one checkpoint, one block of rows for each thread.")]
pub struct AskArgs {
    /// Datasets whose rows are ranked
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1.., required = true)]
    pub pool: Vec<String>,
    /// Prompt of the sample; may be repeated, each with a --completion
    #[arg(long, value_name = "TEXT")]
    pub prompt: Vec<String>,
    /// Completion of the sample: the text whose loss is asked about
    #[arg(long, value_name = "TEXT")]
    pub completion: Vec<String>,
    /// Ask the prompt as a user's message and the completion as the assistant's answer [default where the
    /// pool's samples are conversations]
    #[arg(long, requires = "prompt", conflicts_with = "raw")]
    pub chat: bool,
    /// Ask the prompt and the completion as text without roles, also where the pool's
    /// samples are conversations
    #[arg(long, requires = "prompt")]
    pub raw: bool,
    /// A conversation as a JSON list of {role, content}; may be repeated
    #[arg(long, value_name = "JSON")]
    pub messages: Vec<String>,
    /// Text without a flag, to be told where it belongs
    #[arg(value_name = "TEXT", hide = true)]
    pub loose: Vec<String>,
    /// A dataset as the target, to be told which command ranks for one
    #[arg(long, hide = true, value_name = "NAME")]
    pub target: Option<String>,
    /// Text that is scored as a whole, of two tokens at least; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub text: Vec<String>,
    /// How many proponents and how many opponents
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = super::at_least::<usize>(1))]
    pub top: usize,
    /// Proponents only
    #[arg(long, conflicts_with = "opponents")]
    pub proponents: bool,
    /// Opponents only
    #[arg(long)]
    pub opponents: bool,
    /// Show the row of this id in detail instead
    #[arg(long, value_name = "ID", conflicts_with_all = ["proponents", "opponents", "top"])]
    pub explain: Option<String>,
    /// Whole texts in a table, below their rows, instead of their beginnings; other formats always have them
    #[arg(long)]
    pub full: bool,
    #[command(flatten)]
    pub state: StateArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub json: JsonArgs,
    #[command(flatten)]
    pub draw: DrawArgs,
    #[command(flatten)]
    pub scoring: ScoringArgs,
    #[command(flatten)]
    pub models: ModelArgs,
}
