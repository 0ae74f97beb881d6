//! `gstore evaluate retrain`: models of subsets of a pool, and their outputs for queries.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use gstore_core::{Cancel, Silent, many};
use gstore_data::{SampleSource, TextOptions};
use gstore_evaluate::attribution::{PendingRun, QueryLoss, Recipe, TruthFolder};
use gstore_generate::{ModelSource, PerplexityRequest, perplexity};
use gstore_train::{SilentObserver, TrainMethod, TrainRequest};

use super::asked::{PRECISION_OF_LOSSES, RunSetup, asked, check_training, model};
use super::{draw, replacing, stored};
use crate::args::EvaluateRetrainArgs;
use crate::commands::train;
use crate::context::Context;
use crate::failure::{self, STOPPED, refuse};
use crate::{output, texts};

/// Draws the subsets, and trains the missing runs.
pub fn run(context: &Context, args: &EvaluateRetrainArgs) -> Result<ExitCode> {
    output::check_outside(context, &args.truth)?;
    // clap does not enforce a requirement that --query-data conflicts with.
    if let (Some(name), None) = (&args.ensemble, &args.draw.of.query_dataset) {
        refuse!(
            "--ensemble {name} keeps losses of samples of the store: give the queries as --query-dataset, and not as files"
        );
    }
    // Before a download. Ctrl-C ends it at once: nothing is written yet.
    let drawing = draw::drawn(context, args, &Cancel::new())?;
    let model = model(context, args)?;
    // Only now, so that one Ctrl-C ends a download.
    let cancel =
        context.cancel_on_interrupt("stopping after the current step; press Ctrl-C again to stop at once");
    if args.force {
        replacing::replace(context, args, (drawing.as_ref(), model.as_ref()), &cancel)?;
    }
    let (truth, known) = draw::folder(context, args, (drawing, model.as_ref()), &cancel)?;
    let all = 0..truth.runs();
    let runs = args.runs.clone().unwrap_or_else(|| all.clone());
    // For other tasks' runs only whether outputs exist: each of many jobs would otherwise read them all.
    let missing = truth.remaining(all.clone());
    let remaining = truth.undone(runs.clone(), &cancel)?;
    for run in runs.start..runs.end.min(all.end) {
        let is_done = remaining.iter().all(|undone| undone.run != run);
        settle(&truth.model_folder(run), is_done)?;
    }
    let mut damaged = 0;
    for PendingRun { run, damage } in &remaining {
        if let Some(damage) = damage {
            damaged += 1;
            context
                .say(&format!("note: run {run} is repeated, because its outputs cannot be used: {damage}"));
        }
    }
    let (done, count) = (all.end - missing.len() - damaged, all.end);
    context.say(&format!("{done} of {} done, {} to do here", many(count as u64, "run"), remaining.len()));
    let Some(model) = &model else {
        return failure::done(stored::keep(context, args, &truth, &cancel));
    };
    // Even if nothing is left to do: another training is refused rather than taken for the earlier one.
    let asked = known.map_or_else(|| asked(context, args, &truth, model, &cancel), Ok)?;
    if !truth.has_recipe() {
        check_training(args, &truth, asked.clone(), &cancel)?;
    }
    let RunSetup { request, queries, recipe, text } = asked;
    let agreed = truth.agree_on_recipe(&recipe)?;
    texts::tell_cut(context, &args.text, (&request.model, &text))?;
    train::tell_steps(context, &args.batches);
    // Before hours of work whose results the store would refuse.
    stored::check(context, args, &truth, &cancel)?;
    for PendingRun { run, .. } in remaining {
        if !retrain(context, args, &truth, (&request, &queries, &agreed), run, &cancel)? {
            context.say("stopped; finished runs are kept: run the same command again to continue");
            return Ok(ExitCode::from(STOPPED));
        }
    }
    failure::done(stored::keep(context, args, &truth, &cancel))
}

/// Trains one run and keeps its losses; false if it was stopped.
fn retrain(
    context: &Context,
    args: &EvaluateRetrainArgs,
    truth: &TruthFolder,
    (request, queries, agreed): (&TrainRequest, &TextOptions, &Recipe),
    run: usize,
    cancel: &Cancel,
) -> Result<bool> {
    let Some((repeat, ids)) = truth.run(run) else { return Ok(true) };
    let output = truth.model_folder(run);
    let mut request = request.clone();
    request.subset.ids = Some(ids.into_iter().collect());
    request.batching.seed = request.batching.seed.wrapping_add(repeat as u64);
    request.output.clone_from(&output);
    let outcome = gstore_train::run(&request, &mut SilentObserver, cancel)?;
    let Some(checkpoint) = outcome.checkpoints.last().filter(|_| outcome.finished) else {
        return Ok(false);
    };
    let losses = losses(context, truth, (&request, queries), &checkpoint.folder, cancel)?;
    let leaving = leaving(&output);
    if !args.keep_models {
        fs_err::rename(&output, &leaving)?;
    }
    truth.record(run, &losses, agreed)?;
    if !args.keep_models {
        fs_err::remove_dir_all(&leaving)?;
    }
    let mean = losses.iter().map(|of| of.loss).sum::<f64>() / losses.len().max(1) as f64;
    let samples = many(outcome.samples as u64, "row");
    context.say(&format!("run {run}: {samples}, mean loss of the queries {mean:.4}"));
    Ok(true)
}

/// Where a model is moved before its losses are recorded: a later command can tell what a kill left there
/// from a model that was to be kept.
fn leaving(model: &Path) -> PathBuf {
    model.with_extension("done")
}

/// Removes the model that an earlier command moved there, or puts it back if its losses were not recorded:
/// they are computed again without another training.
fn settle(model: &Path, is_done: bool) -> Result<()> {
    let left = leaving(model);
    if !left.exists() {
        return Ok(());
    }
    match is_done || model.exists() {
        true => fs_err::remove_dir_all(&left)?,
        false => fs_err::rename(&left, model)?,
    }
    Ok(())
}

/// The mean loss of each query under the model of a checkpoint.
fn losses(
    context: &Context,
    truth: &TruthFolder,
    (request, queries): (&TrainRequest, &TextOptions),
    checkpoint: &Path,
    cancel: &Cancel,
) -> Result<Vec<QueryLoss>> {
    let mut text = queries.clone();
    text.tokenizer.get_or_insert_with(|| request.model.clone());
    let is_adapter = matches!(request.method, TrainMethod::Lora(_) | TrainMethod::Adapter(_));
    let weights = match is_adapter {
        true => ModelSource { model: request.model.clone(), adapter: Some(checkpoint.to_owned()), text },
        false => ModelSource { model: checkpoint.to_owned(), adapter: None, text },
    };
    let request = PerplexityRequest {
        weights,
        texts: SampleSource::Files { paths: vec![truth.queries_file()], fields: Vec::new() },
        compute: gstore_generate::ComputeOptions {
            device: request.compute.device,
            beside: request.compute.beside.clone(),
            precision: PRECISION_OF_LOSSES,
            threads: context.threads,
            batch: gstore_generate::ComputeOptions::BATCH,
        },
    };
    let mut losses = Vec::new();
    let mut without = None;
    perplexity(&request, &mut Silent, cancel, &mut |score| {
        let scored = score.scored();
        match scored.mean() {
            Some(loss) => losses.push(QueryLoss { id: score.id, loss, tokens: scored.tokens }),
            None => without = without.take().or(Some(score.id)),
        }
        Ok(())
    })?;
    if let Some(id) = without {
        bail!("query {id:?} has no scored token, so no model has a loss for it");
    }
    Ok(losses)
}
