//! The training that all runs of a ground truth share, and the recipe that identifies the ground truth.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Result;
use gstore::Folders;
use gstore_core::{Cancel, sha256_hex};
use gstore_data::{SampleSource, TextOptions};
use gstore_evaluate::attribution::{TruthFolder, TruthTexts};
use gstore_model::ComputePrecision;
use gstore_model::weights::{Adapter, ModelFolder, checkpoint_id};
use gstore_store::EncodingSpec;
use gstore_train::{BatchOptions, SavingOptions, StepOptions, TrainError, TrainMethod, TrainRequest};
use serde_json::{Value, json};

use crate::args::EvaluateRetrainArgs;
use crate::commands::train;
use crate::context::Context;
use crate::failure::refuse;
use crate::models::folder_error;
use crate::options::steps;
use crate::texts;

/// The precision of losses, whatever the models are trained in: a lower one hides how the models differ.
pub const PRECISION_OF_LOSSES: ComputePrecision = ComputePrecision::F32;

/// Refuses runs that the ground truth does not have.
pub fn check_runs(args: &EvaluateRetrainArgs, there: usize) -> Result<()> {
    match &args.runs {
        Some(Range { start, end }) if *start >= there => {
            refuse!("--runs {start}..{end}: there are only {there} runs, counted from 0")
        }
        _ => Ok(()),
    }
}

/// Refuses a training that could not begin, judged by the first run asked for, before anything is recorded.
pub fn check_training(
    args: &EvaluateRetrainArgs,
    truth: &TruthFolder,
    asked: RunSetup,
    cancel: &Cancel,
) -> Result<()> {
    let first = args.runs.as_ref().map_or(0, |runs| runs.start);
    let Some((_, ids)) = truth.run(first) else { return Ok(()) };
    let mut request = asked.request;
    request.subset.ids = Some(ids.into_iter().collect());
    Ok(gstore_train::check(&request, cancel)?)
}

/// Setup of all runs.
#[derive(Clone)]
pub struct RunSetup {
    /// The training of a run, except its rows.
    pub request: TrainRequest,
    /// How queries become tokens.
    pub queries: TextOptions,
    /// The recipe as a ground truth records it.
    pub recipe: Value,
    /// How rows become tokens.
    pub text: TextOptions,
}

impl RunSetup {
    /// The same for a ground truth that now has its folder.
    pub fn of_folder(mut self, truth: &TruthFolder) -> RunSetup {
        self.request.data = data(truth);
        self.request.output = truth.model_folder(0);
        self
    }
}

fn data(truth: &TruthFolder) -> SampleSource {
    SampleSource::Files { paths: vec![truth.pool_file()], fields: Vec::new() }
}

/// The model that runs are trained from, and the text options of the flags.
pub struct RunModel {
    folder: PathBuf,
    text: TextOptions,
}

/// Finds the model and its tokenizer, on the Hub too; none where no run is trained.
pub fn model(context: &Context, args: &EvaluateRetrainArgs) -> Result<Option<RunModel>> {
    let Some(model) = args.model.as_ref().filter(|_| !args.draw_only) else { return Ok(None) };
    let mut reporter = context.reporter();
    let mut folders = Folders::new(&mut reporter, false);
    let folder = folders.model(model).map_err(|error| folder_error("--model", error))?;
    Ok(Some(RunModel { folder, text: texts::options(&mut folders, &args.text)? }))
}

/// The setup of runs of a model.
pub fn asked(
    context: &Context,
    args: &EvaluateRetrainArgs,
    truth: &TruthFolder,
    model: &RunModel,
    cancel: &Cancel,
) -> Result<RunSetup> {
    let RunModel { folder, text: options } = model;
    let text = texts::within_positions(folder, &args.text, options.clone())?;
    let encoder = text.encoder(folder).map_err(TrainError::from)?;
    let TruthTexts { pool, queries } = truth.texts(&encoder, &text, cancel)?;
    let request = request(context, args, truth, folder.clone(), pool)?;
    let recipe = recipe(&request, options, &encoder.spec())?;
    Ok(RunSetup { request, queries, recipe, text })
}

/// The training that all runs share.
fn request(
    context: &Context,
    args: &EvaluateRetrainArgs,
    truth: &TruthFolder,
    model: PathBuf,
    text: TextOptions,
) -> Result<TrainRequest> {
    let dropout = train::dropout(&args.weights);
    Ok(TrainRequest {
        batching: train::batching(&args.batches, text),
        steps: StepOptions { dropout, ..steps(&args.optimizer, args.batches.loss_mean)? },
        // A run is short, and its only checkpoint is the last.
        saving: SavingOptions { every: Some(u64::MAX), ..SavingOptions::default() },
        compute: train::computing(context, &args.computing)?,
        ..TrainRequest::new(model, truth.model_folder(0), train::method(&args.weights), data(truth))
    })
}

/// What determines the bits of a model except its rows, and with the text options those of its losses: the
/// same for all runs of a ground truth.
fn recipe(request: &TrainRequest, text: &TextOptions, encoding: &EncodingSpec) -> Result<Value> {
    let BatchOptions { epochs, max_steps, .. } = &request.batching;
    let mut recipe = request.identity(0);
    let model = match &request.method {
        TrainMethod::FromScratch => sha256_hex(&fs_err::read(request.model.join("config.json"))?),
        TrainMethod::Adapter(folder) => {
            // The digest identifies the adapter, wherever it is stored.
            recipe["method"] = json!("adapter");
            id_of(&request.model, Some(&Adapter::open(folder)?))?
        }
        TrainMethod::Lora(_) | TrainMethod::Full => id_of(&request.model, None)?,
    };
    // Steps follow from the number of rows.
    recipe["steps"] = json!(max_steps);
    recipe["epochs"] = json!(max_steps.is_none().then_some(epochs));
    recipe["warm-up share"] = json!(request.steps.warmup_ratio);
    recipe["model"] = json!(model);
    recipe["tokenizer"] = json!(encoding.tokenizer);
    recipe["template"] = json!(format!("{:?}", text.template));
    // What a template takes from the tokenizer's folder; for `chat` that is all of it.
    recipe["template digest"] = json!(encoding.template_digest);
    recipe["system message"] = json!(text.system);
    recipe["maximum length"] = json!(text.max_length);
    recipe["block"] = json!(text.block);
    // Without this entry losses are in the precision of the training, as in all earlier versions.
    if request.compute.precision != PRECISION_OF_LOSSES {
        recipe["precision of losses"] = json!(PRECISION_OF_LOSSES.name());
    }
    Ok(recipe)
}

fn id_of(model: &Path, adapter: Option<&Adapter>) -> Result<String> {
    Ok(checkpoint_id(&ModelFolder::open(model)?, adapter)?.to_string())
}
