//! The forecast of a training as lines, or as JSON.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use gstore_store::vfs::free_space;
use gstore_train::Forecast;
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use serde_json::json;

use crate::output::out;

/// Prints what a training will take; `output` is the folder of its checkpoints.
pub fn print(forecast: &Forecast, output: &Path, as_json: bool) -> Result<()> {
    let Forecast { samples, sequences, tokens, scored, steps_of_epoch, steps, parameters, .. } = forecast;
    let Forecast { checkpoints, disk, memory, threads, recomputes, seconds, .. } = forecast;
    if as_json {
        let report = json!({
            "samples": samples,
            "sequences": sequences,
            "tokens": tokens,
            "scored_tokens": scored,
            "steps_of_epoch": steps_of_epoch,
            "total_steps": steps,
            "parameters": parameters,
            "checkpoints": checkpoints,
            "disk": disk,
            "memory": memory,
            "threads": threads,
            "recomputes": recomputes,
            "seconds": seconds,
        });
        out!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    out!("samples      {}", HumanCount(*samples as u64));
    if let Some(sequences) = sequences {
        out!("sequences    {}", HumanCount(*sequences as u64));
    }
    out!("tokens       {} an epoch, {} of them scored", HumanCount(*tokens), HumanCount(*scored));
    out!("steps        {} ({} an epoch)", HumanCount(*steps), HumanCount(*steps_of_epoch));
    out!("parameters   {}", HumanCount(*parameters));
    out!("time         {} (about)", HumanDuration(Duration::from_secs_f64(seconds.clamp(0.0, 1e9))));
    let twice = if *recomputes { ", layers computed twice" } else { "" };
    out!("memory       {} with {threads} threads{twice} (about)", HumanBytes(*memory));
    let folder = output.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let free = free_space(folder).map_or_else(String::new, |free| format!(", {} free", HumanBytes(free)));
    out!("disk         {} for {checkpoints} checkpoints{free}", HumanBytes(*disk));
    Ok(())
}
