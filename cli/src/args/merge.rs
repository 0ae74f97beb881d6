//! Flags of `gstore merge`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore merge warmup/checkpoint-224 -o merged\n  \
    gstore merge org/adapter --model org/base -o merged\n\n\
    The folder opens in transformers, and in every command that takes a model. Memory: the weights in f32.")]
pub struct MergeArgs {
    /// LoRA adapter: a folder, org/name or org/name@revision on the Hugging Face Hub
    #[arg(value_name = "ADAPTER")]
    pub adapter: String,
    /// Its base model: a folder, org/name or org/name@revision on the Hub [default: the one that the adapter
    /// names]
    #[arg(long, alias = "model-name-or-path", value_name = "DIR|REPO")]
    pub model: Option<String>,
    /// Folder of the new model
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
    /// Replace the folder if a merged model is in it
    #[arg(long)]
    pub force: bool,
    /// Print what was merged as JSON
    #[arg(long)]
    pub json: bool,
}
