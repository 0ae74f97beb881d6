//! The forecast of a training, of perturbed copies or of their losses as lines, or as JSON.

use std::path::Path;

use anyhow::Result;
use gstore::daunce::LossesForecast;
use gstore_core::many;
use gstore_store::vfs::free_space;
use gstore_train::Forecast;
use gstore_train::daunce::EnsembleForecast;
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use crate::args::{DaunceTrainArgs, KeepWeights};
use crate::progress::time;
use crate::streams::{out, print_json};

/// Prints what a training will take; `output` is the folder of its checkpoints.
pub fn print(forecast: &Forecast, output: &Path, as_json: bool) -> Result<()> {
    let Forecast { samples, sequences, tokens, scored, steps_of_epoch, steps, taken, parameters, .. } =
        forecast;
    let Forecast { checkpoints, disk, memory, threads, recomputes, seconds, .. } = forecast;
    if as_json {
        let report = json!({
            "samples": samples, "sequences": sequences, "tokens": tokens, "scored_tokens": scored,
            "steps_of_epoch": steps_of_epoch, "total_steps": steps, "steps": taken, "parameters": parameters,
            "checkpoints": checkpoints, "disk": disk, "memory": memory, "threads": threads,
            "recomputes": recomputes, "seconds": seconds,
        });
        return print_json(&report);
    }
    out!("samples      {}", HumanCount(*samples as u64));
    if let Some(sequences) = sequences {
        out!("sequences    {}", HumanCount(*sequences as u64));
    }
    out!("tokens       {} an epoch, {} of them scored", HumanCount(*tokens), HumanCount(*scored));
    let done = if *taken > 0 { format!(", {} taken", HumanCount(*taken)) } else { String::new() };
    out!("steps        {} ({} an epoch{done})", HumanCount(*steps), HumanCount(*steps_of_epoch));
    out!("parameters   {}", HumanCount(*parameters));
    match seconds {
        Some(seconds) => out!("time         {} (about)", time(*seconds)),
        None => out!("time         not measured: too little memory"),
    }
    let twice = if *recomputes { ", layers computed twice" } else { "" };
    out!("memory       {} with {threads} threads{twice} (about)", HumanBytes(*memory));
    out!("disk         {} for {}{}", HumanBytes(*disk), many(*checkpoints, "checkpoint"), free(output));
    Ok(())
}

/// Prints what an ensemble will take whose losses are computed of `of_losses` rows.
pub fn print_copies(forecast: &EnsembleForecast, args: &DaunceTrainArgs, of_losses: u64) -> Result<()> {
    let EnsembleForecast { models, there, rows, rows_of_model, steps, at_once, .. } = forecast;
    let EnsembleForecast { weights, states, memory, seconds, .. } = forecast;
    let missing = models.saturating_sub(*there);
    let kept = match args.keeping.keep {
        KeepWeights::Adapters => missing,
        // Those of a round wait for their losses.
        KeepWeights::None => missing.min(args.models.round),
    };
    let disk = kept * weights + states + 4 * missing * of_losses;
    if args.json {
        let report = json!({
            "models": models, "there": there, "rows": rows, "rows_of_model": rows_of_model, "steps": steps,
            "at_once": at_once, "loss_rows": of_losses, "disk": disk, "memory": memory, "seconds": seconds,
        });
        return print_json(&report);
    }
    let most = if args.models.until.is_some() { " at most" } else { "" };
    out!("copies       {models}{most}, {there} of them there already; {at_once} at once");
    out!("rows         {} of {} a copy", HumanCount(*rows_of_model as u64), HumanCount(*rows as u64));
    out!("steps        {} a copy", HumanCount(*steps));
    if of_losses > 0 {
        out!("losses       {} of each copy", many(of_losses, "row"));
    }
    match seconds {
        Some(seconds) => out!("time         {} without losses (about)", time(*seconds)),
        None => out!("time         not measured: too little memory"),
    }
    out!("memory       {} (about)", HumanBytes(*memory));
    out!("disk         {} (about){}", HumanBytes(disk), free(&args.of.output));
    Ok(())
}

/// Prints what losses by forward passes will take, in the store of the folder `store`.
pub fn print_losses(forecast: &LossesForecast, store: &Path, as_json: bool) -> Result<()> {
    let LossesForecast { members, to_compute, present, without_weights, rows, .. } = forecast;
    let LossesForecast { passes, tokens, disk, memory, seconds, .. } = forecast;
    if as_json {
        return print_json(forecast);
    }
    let without = match without_weights {
        0 => String::new(),
        n => format!(", {n} without weights here"),
    };
    out!("members      {members}: {to_compute} to compute, {present} there already{without}");
    out!("rows         {}", HumanCount(*rows));
    out!("passes       {}, those of theta_0 among them", many(*passes, "text"));
    out!("tokens       {} (about)", HumanCount(*tokens));
    out!("time         {} (about)", time(*seconds));
    out!("memory       {} (about)", HumanBytes(*memory));
    out!("disk         {}{}", HumanBytes(*disk), free(store));
    Ok(())
}

/// How much is free where `output` will be.
fn free(output: &Path) -> String {
    let folder = output.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    free_space(folder).map_or_else(String::new, |free| format!(", {} free", HumanBytes(free)))
}
