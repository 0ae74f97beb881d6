//! `gstore daunce losses`: losses of a dataset under each model of an ensemble.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use gstore::Folders;
use gstore::daunce::{GivenModels, LossesRequest, forecast_losses, losses};
use gstore_core::many;
use gstore_ingest::pipeline::IngestRequest;
use gstore_store::Store;

use super::note_findings;
use crate::args::DaunceLossesArgs;
use crate::commands::gradients::devices;
use crate::context::Context;
use crate::failure::{STOPPED, refuse};
use crate::models::folder_error;
use crate::streams::print_json;
use crate::{forecast, texts};

/// Computes what is missing.
pub fn run(context: &Context, args: &DaunceLossesArgs) -> Result<ExitCode> {
    texts::refuse_blocks(&args.text)?;
    let store = context.open()?;
    let request = request(context, &store, args)?;
    let cancel =
        context.cancel_on_interrupt("stopping after the current batch; press Ctrl-C again to stop at once");
    let mut reporter = context.reporter();
    let mut work = context.work(&mut reporter, &cancel);
    if args.dry_run {
        let found = forecast_losses(&store, &request, &mut work)?;
        forecast::print_losses(&found, store.path(), args.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = losses(&store, &request, &mut work)?;
    if args.json {
        print_json(&report)?;
    }
    context.say(&report.summary());
    if report.stopped {
        context.say("stopped; sealed results are kept: run the same command again to continue");
        return Ok(ExitCode::from(STOPPED));
    }
    // Of a part, others may be computing the rest.
    if args.members.is_none() {
        note_findings(context, &store, &args.ensemble, std::slice::from_ref(&args.dataset), &cancel)?;
    }
    if !report.diverged.is_empty() {
        let (bad, all) = (report.diverged.len(), many(report.members as u64, "member"));
        bail!("{bad} of {all} have no losses: {}", report.diverged.join("; "));
    }
    Ok(ExitCode::SUCCESS)
}

/// The plain values of the flags, as the job wants them.
fn request(context: &Context, store: &Store, args: &DaunceLossesArgs) -> Result<LossesRequest> {
    let mut reporter = context.reporter();
    let mut folders = Folders::new(&mut reporter, false);
    let model = match &args.model {
        Some(model) => folders.model(model).map_err(|error| folder_error("--model", error))?,
        None => model_of(store, &args.ensemble)?,
    };
    let given = match args.adapters.as_slice() {
        [] => None,
        patterns => Some(GivenModels {
            base: args.adapter.as_ref().map(PathBuf::from),
            members: folders.checkpoints(patterns).map_err(|error| folder_error("--adapters", error))?,
        }),
    };
    let text = texts::options(&mut folders, &args.text)?;
    let text = texts::within_positions(&model, &args.text, text)?;
    store.snapshot()?.dataset(&args.dataset)?;
    texts::tell_cut(context, &args.text, (&model, &text))?;
    let (device, beside) = devices(&args.devices)?;
    let ingest = IngestRequest {
        device,
        beside,
        compute: args.compute,
        batch_tokens: args.batch_tokens as usize,
        text,
        origins: folders.origins(),
        ..IngestRequest::new(args.dataset.clone(), model)
    };
    let members = args.members.map(|(from, to)| from..to);
    Ok(LossesRequest { ensemble: args.ensemble.clone(), ingest, members, given })
}

/// The folder of the base model that an ensemble was made from.
fn model_of(store: &Store, ensemble: &str) -> Result<PathBuf> {
    let snapshot = store.snapshot()?;
    let part = snapshot.ensemble(ensemble)?;
    match &part.base.name {
        Some(name) => Ok(PathBuf::from(name)),
        None => refuse!("ensemble {ensemble} does not say where its base model is: give --model"),
    }
}
