//! The model that a command line names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use gstore::Folders;
use gstore_generate::ModelSource;
use gstore_ingest::pipeline::{CheckpointArg, CheckpointWeights, checkpoint_folder};
use gstore_model::weights::ModelFolder;

use crate::args::GenerateArgs;
use crate::commands::ingest::{check_run, model_of_run, with_run};
use crate::context::Context;
use crate::failure::{UsageError, refuse};
use crate::models::folders_of;
use crate::texts;

pub struct ChosenModel {
    pub weights: ModelSource,
    pub base: PathBuf,
    pub checkpoint: CheckpointArg,
    /// The run that its features belong to.
    pub run: String,
    pub origins: BTreeMap<PathBuf, String>,
}

/// The folders of the model, its adapter and its tokenizer.
pub fn chosen(context: &Context, args: &GenerateArgs) -> Result<ChosenModel> {
    let (text, args) = (&args.text.text, &args.weights);
    let mut reporter = context.reporter();
    let mut folders = Folders::new(&mut reporter, false);
    let (base, checkpoint) = match (&args.model, &args.run) {
        (Some(model), _) => {
            let given: Vec<String> = args.adapter.iter().cloned().collect();
            let (base, mut found) = folders_of(&mut folders, model, ("--adapter", &given))?;
            match (found.pop(), found.is_empty()) {
                (Some(only), true) => {
                    if let CheckpointWeights::Model(_) = only.weights {
                        checkpoint_folder(&ModelFolder::open(&base)?, &only)?;
                    }
                    (base, only)
                }
                _ => refuse!("--adapter names several folders; give one"),
            }
        }
        (None, Some(run)) => {
            let named: Vec<String> = args.checkpoint.iter().cloned().collect();
            let (base, mut checkpoints) = model_of_run(context, run, &named)?;
            let last = checkpoints.pop();
            let checkpoint = last.ok_or_else(|| UsageError(format!("run {run} has no checkpoint")))?;
            check_run(context, run, (&base, std::slice::from_ref(&checkpoint)))?;
            (base, checkpoint)
        }
        (None, None) => refuse!("which model? give --model, or --run of a run of the store"),
    };
    let model = checkpoint.model(&base).to_owned();
    let text = texts::options(&mut folders, text)?;
    let mut text = with_run(context, text, (args.model.as_ref(), args.run.as_ref()), &base)?;
    if text.tokenizer.is_none() && !model.join("tokenizer.json").exists() {
        text.tokenizer = Some(base.clone());
    }
    let weights = ModelSource { adapter: checkpoint.adapter().map(Path::to_owned), text, model };
    let named = std::slice::from_ref(&checkpoint);
    let run = args.run.clone().unwrap_or_else(|| folders.run_name(&base, named));
    Ok(ChosenModel { weights, run, origins: folders.origins(), base, checkpoint })
}
