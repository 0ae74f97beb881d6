//! `gstore train`: trains LoRA factors or a whole model, and registers the run in the store.

mod rows;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use gstore::Folders;
use gstore_core::many;
use gstore_data::TextOptions;
use gstore_model::SavedActivations;
use gstore_store::vfs::resolve;
use gstore_store::{RunCheckpoint, Store};
use gstore_train::{
    BatchOptions, ComputeOptions, DataSource, DataSubset, DropoutRates, EvaluationOptions, LoraChoice,
    StepOptions, TrainError, TrainMethod, TrainOutcome, TrainRequest,
};
use serde_json::{Value, json};

use super::gradients;
use super::ingest::folder_of;
use crate::args::{
    TrainArgs, TrainBatchArgs, TrainComputeArgs, TrainDataArgs, TrainMethodArgs, TrainWeightArgs,
};
use crate::context::Context;
use crate::drawing;
use crate::failure::{STOPPED, refuse};
use crate::models::folder_error;
use crate::options::{check_run_name, saving, steps};
use crate::output::check_outside;
use crate::streams::print_json;
use crate::training::TrainingProgress;
use crate::{forecast, texts};

pub(super) use rows::{check_file_options, ids_of, source, subset};

/// Seed of a random share where none is given, as help says.
const DATA_SEED: u64 = 42;

/// Passes over the data where none are given, as help says.
const EPOCHS: f64 = 3.0;

/// Trains, and registers what was trained.
pub fn run(context: &Context, args: &TrainArgs) -> Result<ExitCode> {
    if args.saving.run.is_some() && context.named_store().is_none() {
        refuse!("--run registers checkpoints in a store: give --store as well");
    }
    check_outside(context, &args.output)?;
    check_file_options(&args.data.samples, &args.data.eval_data)?;
    check_read(args)?;
    drawing::check_curves(context, args.saving.plot.as_deref(), &args.output)?;
    let of_store = args.data.samples.dataset.is_some() || args.data.eval_dataset.is_some();
    let store = context.open_for_training(of_store)?;
    let run = args.saving.run.clone().unwrap_or_else(|| name_of(&args.output));
    if context.named_store().is_some() {
        check_run(context, store.as_ref(), &run, args)?;
    }
    let mut reporter = context.reporter();
    let mut folders = Folders::new(&mut reporter, false);
    let model = folders.model(&args.model).map_err(|error| folder_error("--model", error))?;
    let text = texts::options(&mut folders, &args.text)?;
    let text = texts::within_positions(&model, &args.text, text)?;
    let base = folders.origins().get(&model).cloned();
    // Only now, so that one Ctrl-C ends a download.
    let cancel =
        context.cancel_on_interrupt("stopping after the current step; press Ctrl-C again to stop at once");
    let request = TrainRequest {
        method: method(&args.weights),
        data: source(&args.data.samples, store.as_ref())?,
        subset: DataSubset {
            share: args.data.percentage,
            seed: args.data.data_seed.unwrap_or(DATA_SEED),
            ..subset(context, &args.data.samples, store.as_ref(), &cancel)?
        },
        batching: batching(&args.batches, text),
        steps: StepOptions {
            dropout: dropout(&args.weights),
            ..steps(&args.optimizer, args.batches.loss_mean)?
        },
        evaluation: evaluation(&args.data, store.as_ref())?,
        saving: saving(&args.saving)?,
        compute: ComputeOptions {
            keep: if args.gradient_checkpointing { SavedActivations::Inputs } else { SavedActivations::All },
            max_memory: args.max_memory,
            ..computing(context, &args.computing)?
        },
        model,
        output: args.output.clone(),
    };
    texts::tell_cut(context, &args.text, (&request.model, &request.batching.text))?;
    tell_steps(context, &args.batches);
    let mut live = TrainingProgress::new(context.quiet);
    if args.dry_run {
        let told = gstore_train::forecast(&request, &mut live, &cancel);
        live.finish();
        forecast::print(&told?, &args.output, args.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    context.check_place(store.as_ref())?;
    let outcome = gstore_train::run(&request, &mut live, &cancel);
    live.finish();
    // A picture that cannot be drawn keeps no run from being registered, and a loss that is no number is the
    // one whose curve is wanted most.
    let drawn = match &outcome {
        Ok(_) | Err(TrainError::NotFinite { .. }) => {
            let finished = outcome.as_ref().is_ok_and(|outcome| outcome.finished);
            drawing::training(context, &args.output, args.saving.plot.as_deref(), finished)
        }
        Err(_) => Ok(()),
    };
    let outcome = outcome?;
    let run = match context.named_store().is_some() && outcome.finished {
        true => {
            register(context, store, (&run, base), &request, &outcome)?;
            Some(run)
        }
        false => None,
    };
    tell(context, args, &outcome, run.as_deref())?;
    drawn?;
    Ok(if outcome.finished { ExitCode::SUCCESS } else { ExitCode::from(STOPPED) })
}

/// Registers the checkpoints of a training as a run of a base model in a store, which is made if there is none.
fn register(
    context: &Context,
    store: Option<Store>,
    (run, base): (&str, Option<String>),
    request: &TrainRequest,
    outcome: &TrainOutcome,
) -> Result<()> {
    let store = store.map_or_else(|| context.open_or_create(), Ok)?;
    let base = base.unwrap_or_else(|| name_of(&request.model));
    let tokenizer = request.batching.text.tokenizer.as_deref();
    let base = (base.as_str(), request.model.as_path(), tokenizer);
    Ok(gstore_train::register(&store, run, base, &outcome.checkpoints, &context.command)?)
}

pub(super) fn dropout(weights: &TrainWeightArgs) -> DropoutRates {
    DropoutRates { lora: weights.lora_dropout, hidden: weights.dropout, attention: weights.attention_dropout }
}

/// Says that epochs which were asked for count for nothing.
pub(super) fn tell_steps(context: &Context, args: &TrainBatchArgs) {
    if let (Some(steps), Some(epochs)) = (args.max_steps, args.num_train_epochs) {
        context.say(&format!("note: --max-steps {steps} overrides --num-train-epochs {epochs}"));
    }
}

pub(super) fn method(args: &TrainWeightArgs) -> TrainMethod {
    if args.from_scratch { TrainMethod::FromScratch } else { method_of(&args.method) }
}

pub(super) fn method_of(args: &TrainMethodArgs) -> TrainMethod {
    match args {
        TrainMethodArgs { full: true, .. } => TrainMethod::Full,
        TrainMethodArgs { adapter: Some(folder), .. } => TrainMethod::Adapter(folder.clone()),
        TrainMethodArgs { lora_rank, lora_alpha, lora_targets, .. } => TrainMethod::Lora(LoraChoice {
            rank: lora_rank.unwrap_or(8),
            alpha: lora_alpha.unwrap_or(32.0),
            targets: lora_targets.clone(),
        }),
    }
}

fn evaluation(args: &TrainDataArgs, store: Option<&Store>) -> Result<Option<EvaluationOptions>> {
    let data = match (&args.eval_dataset, store) {
        (Some(name), Some(store)) => DataSource::of_dataset(store.snapshot()?, name)?,
        _ if !args.eval_data.is_empty() => {
            DataSource::Files { paths: args.eval_data.clone(), fields: args.samples.fields.clone() }
        }
        _ if args.eval_every.is_some() => {
            refuse!("--eval-every requires --eval-data or --eval-dataset")
        }
        _ => return Ok(None),
    };
    Ok(Some(EvaluationOptions { data, every: args.eval_every }))
}

/// What computes, with everything else as it is by default.
pub(super) fn computing(context: &Context, args: &TrainComputeArgs) -> Result<ComputeOptions> {
    let (device, beside) = gradients::devices(&args.devices)?;
    Ok(ComputeOptions {
        device,
        beside,
        precision: args.compute.unwrap_or(device.default_compute()),
        threads: context.threads,
        piece_tokens: args.batch_tokens,
        ..ComputeOptions::default()
    })
}

pub(super) fn batching(args: &TrainBatchArgs, text: TextOptions) -> BatchOptions {
    BatchOptions {
        text,
        micro: args.per_device_train_batch_size,
        accumulate: args.gradient_accumulation_steps,
        epochs: args.num_train_epochs.unwrap_or(EPOCHS),
        max_steps: args.max_steps,
        seed: args.seed,
        shuffle: !args.no_shuffle,
        packing: args.packing,
    }
}

/// Refuses to overwrite a checkpoint in which a file of samples or of rows is.
fn check_read(args: &TrainArgs) -> Result<()> {
    if !args.saving.overwrite_output_dir {
        return Ok(());
    }
    let TrainDataArgs { samples, eval_data, .. } = &args.data;
    let output = resolve(&args.output);
    let is_removed = |path: &&PathBuf| {
        let place = resolve(path);
        let folder = place.strip_prefix(&output).ok().and_then(|inside| inside.iter().next());
        folder.is_some_and(|name| name.to_string_lossy().starts_with("checkpoint-"))
    };
    match samples.data.iter().chain(eval_data).chain(&samples.rows).find(is_removed) {
        None => Ok(()),
        Some(path) => refuse!(
            "{} is in a checkpoint that this training is to overwrite: move it, or give another output folder",
            path.display()
        ),
    }
}

/// Refuses, before hours of work, what cannot name a run, and a run of the store that is another training, or
/// would name checkpoints that this one does not keep.
fn check_run(context: &Context, store: Option<&Store>, run: &str, args: &TrainArgs) -> Result<()> {
    let (snapshot, saving) = (store.map(Store::snapshot).transpose()?, &args.saving);
    let Some(part) = snapshot.as_ref().and_then(|snapshot| snapshot.run(run).ok()) else {
        return check_run_name(run);
    };
    if saving.drops_run {
        return Ok(());
    }
    let output = resolve(&args.output);
    let is_own = |checkpoint: &RunCheckpoint| {
        let folder = folder_of(checkpoint, "adapter").or_else(|| folder_of(checkpoint, "weights"));
        folder.is_some_and(|folder| resolve(&folder).starts_with(&output))
    };
    if saving.overwrite_output_dir || !part.checkpoints.iter().all(is_own) {
        refuse!(
            "run {run} of the store is another training: give this one another name with --run, or `gstore drop run {run}{}`",
            context.at_store()
        );
    }
    if let Some(most) = saving.save_total_limit.filter(|most| *most < part.checkpoints.len()) {
        refuse!(
            "run {run} of the store names {} of this training, and --save-total-limit {most} would remove some of them",
            many(part.checkpoints.len() as u64, "checkpoint")
        );
    }
    Ok(())
}

pub(super) fn name_of(folder: &Path) -> String {
    let folder = folder.canonicalize().or_else(|_| std::path::absolute(folder));
    let name = folder.ok().and_then(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()));
    name.unwrap_or_else(|| "run".to_owned())
}

fn tell(context: &Context, args: &TrainArgs, outcome: &TrainOutcome, run: Option<&str>) -> Result<()> {
    let TrainOutcome { finished, steps, before, total, samples, parameters, last, evaluations, checkpoints } =
        outcome;
    let folder = args.output.display();
    let already = match *finished && before == steps {
        true => format!("already trained, {}: ", many(*steps, "step")),
        false => String::new(),
    };
    match (finished, run) {
        (false, _) => context.say("stopped; finished work is kept: run the same command again to continue"),
        (true, None) => context.say(&format!("{already}{} in {folder}", many(checkpoints.len() as u64, "checkpoint"))),
        (true, Some(run)) => context.say(&format!(
            "{already}{} in {folder}, run {run} of the store: gstore ingest --run {run} --dataset NAME --features KIND{}",
            many(checkpoints.len() as u64, "checkpoint"),
            context.at_store()
        )),
    }
    if args.json {
        let folders: Vec<Value> =
            checkpoints.iter().map(|c| json!({ "step": c.step, "folder": c.folder })).collect();
        let report = json!({
            "finished": finished, "steps": steps, "steps_before": before, "total_steps": total,
            "samples": samples, "parameters": parameters, "loss": last.map(|line| line.loss),
            "eval_loss": evaluations.last().map(|line| line.loss), "checkpoints": folders, "run": run,
        });
        print_json(&report)?;
    }
    Ok(())
}
