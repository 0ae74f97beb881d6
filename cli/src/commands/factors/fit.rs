//! `gstore factors fit`.

use anyhow::Result;
use gstore::Folders;
use gstore::factors::{
    Fisher, FitForecast, FitReport, FitRequest, Strategy, fit_factors, forecast_factors, like_factors,
};
use gstore_core::{is_of_cancel, many};
use gstore_ingest::pipeline::IngestRequest;
use gstore_store::Snapshot;
use indicatif::HumanBytes;

use super::{STOPPING, devices, place, unscored_note, with_engine};
use crate::args::{self, FactorsFitArgs};
use crate::context::Context;
use crate::failure::refuse;
use crate::models::folder_error;
use crate::output::check_outside;
use crate::streams::{out, print_json};
use crate::texts;

/// Fits factors, or says what that takes.
pub(super) fn fit(context: &Context, args: &FactorsFitArgs) -> Result<()> {
    let request = request(context, args)?;
    let store = context.open()?;
    let snapshot = store.snapshot()?;
    snapshot.dataset(&args.dataset)?;
    let request = match &args.extend {
        // The identity has no sums to go on from, which its refusal says.
        Some(name) if args.strategy != Strategy::Identity => {
            extending(context, args, request, (&snapshot, name))?
        }
        _ => request,
    };
    texts::tell_cut(context, &args.text.text, (&request.ingest.model, &request.ingest.text))?;
    let cancel = context.cancel_on_interrupt(STOPPING);
    let mut reporter = context.reporter();
    let mut work = context.work(&mut reporter, &cancel);
    if args.dry_run {
        let forecast = forecast_factors(&store, &request, &mut work)?;
        return print_forecast(&forecast, args.json);
    }
    let report = fit_factors(&store, &request, &mut work).inspect_err(|error| {
        if is_of_cancel(error) {
            context.say("finished partitions are kept: run the same command again to continue");
        }
    })?;
    if args.json {
        print_json(&report)?;
    }
    context.say(&fit_summary(&report));
    Ok(())
}

fn fit_summary(report: &FitReport) -> String {
    let what = format!(
        "factors {} ({}): {} fitted on {} of {}{}",
        report.name,
        report.strategy,
        many(report.modules as u64, "module"),
        many(report.rows, "row"),
        report.dataset,
        unscored_note(report.no_scored)
    );
    match (&report.waiting, report.snapshot) {
        (Some(waiting), _) => format!("{what}; not finished: {waiting}"),
        (None, Some(snapshot)) => format!("snapshot {snapshot}: {what}"),
        (None, None) => what,
    }
}

fn print_forecast(forecast: &FitForecast, as_json: bool) -> Result<()> {
    if as_json {
        return print_json(forecast);
    }
    let [data, modules] = forecast.partitions;
    out!("rows         {} in {}", forecast.rows, many(data as u64, "partition"));
    out!("modules      {} in {}", forecast.modules, many(modules as u64, "partition"));
    out!("covariances  {}", HumanBytes(forecast.covariances));
    out!("eigenvectors {}", HumanBytes(forecast.eigenvectors));
    out!("lambda       {}", HumanBytes(forecast.lambda));
    out!("disk         {}", HumanBytes(forecast.disk));
    let threads = many(forecast.threads as u64, "thread");
    out!(
        "memory       {} with {threads}, {} of it weights and activations (about)",
        HumanBytes(forecast.memory),
        HumanBytes(forecast.model)
    );
    Ok(())
}

fn request(context: &Context, args: &FactorsFitArgs) -> Result<FitRequest> {
    let flags = &args.text.text;
    texts::refuse_blocks(flags)?;
    let fisher = fisher(args)?;
    if let Some(folder) = &args.folder {
        check_outside(context, folder)?;
    }
    let mut reporter = context.reporter();
    let mut folders = Folders::new(&mut reporter, false);
    let Some((model, mut checkpoints)) = place(&mut folders, &args.model)? else {
        refuse!("which model? give --model")
    };
    if !args.average.is_empty() {
        let found = folders.checkpoints(&args.average).map_err(|error| folder_error("--average", error))?;
        checkpoints.extend(found);
    }
    let text = texts::options(&mut folders, flags)?;
    let text = texts::within_positions(&model, flags, text)?;
    let ingest = IngestRequest {
        dataset: args.dataset.clone(),
        checkpoints,
        text,
        limit: args.limit,
        compute: devices(&args.engine.devices)?.0.default_compute(),
        ..IngestRequest::new("", model)
    };
    let parts = args.partition.map_or(args.data_partitions, |part| part.count() as usize);
    Ok(FitRequest {
        name: args.name.clone(),
        ingest: with_engine(ingest, &args.engine)?,
        strategy: args.strategy,
        fisher,
        partitions: [parts, args.module_partitions],
        max_block: args.max_block.map(|most| most as usize),
        only: args.partition.map(|part| part.index().saturating_sub(1) as usize),
        folder: args.folder.clone(),
        extend: args.extend.clone(),
        replace: args.force,
    })
}

/// The request with the modules, precision, labels and text options of the factors that it goes on from,
/// where no flag says others. Factors of other programs do not say how texts became tokens.
fn extending(
    context: &Context,
    args: &FactorsFitArgs,
    request: FitRequest,
    (snapshot, name): (&Snapshot, &str),
) -> Result<FitRequest> {
    let FitRequest { ingest, fisher, .. } = &request;
    let like = like_factors(snapshot, name, Some((ingest.model.clone(), ingest.checkpoints.clone())))?;
    let text = match like.states_encoding {
        true => texts::text_of_fit(&args.text, &ingest.text, like.ingest.text),
        false => ingest.text.clone(),
    };
    texts::tell_fit(context, &ingest.text, &text);
    let has_others = args.seed.is_some() || args.fisher.is_some() && like.labels.name() != fisher.name();
    let fisher = if has_others { *fisher } else { like.labels };
    let (modules, compute) = (like.ingest.modules, like.ingest.compute);
    let ingest = IngestRequest { modules, compute, text, ..ingest.clone() };
    Ok(FitRequest { ingest: with_engine(ingest, &args.engine)?, fisher, ..request })
}

/// Whose labels the loss has; an option that says nothing of them is refused.
fn fisher(args: &FactorsFitArgs) -> Result<Fisher> {
    let has_loss = args.strategy != Strategy::Identity;
    let is_empirical = args.fisher == Some(args::Fisher::Empirical);
    if args.fisher.is_some() && !has_loss {
        refuse!("--fisher has no effect with --strategy identity, which uses no labels: leave it out");
    }
    if args.seed.is_some() && (is_empirical || !has_loss) {
        let by = if has_loss { "--fisher empirical" } else { "--strategy identity" };
        refuse!("--seed is for drawn labels, and {by} draws none: leave it out");
    }
    Ok(match is_empirical {
        true => Fisher::Empirical,
        false => Fisher::True { seed: args.seed.unwrap_or(0) },
    })
}
