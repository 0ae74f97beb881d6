//! Commands, one file each.

pub mod add;
pub mod ask;
pub mod attach;
pub mod backup;
pub mod compact;
pub mod completions;
pub mod daunce;
pub mod delete;
pub mod demo;
pub mod drop;
pub mod evaluate;
pub mod factors;
mod folder;
pub mod gc;
pub mod generate;
pub mod gradients;
pub mod import;
pub mod index;
pub mod info;
pub mod ingest;
pub mod ls;
pub mod matrix;
pub mod merge;
pub mod perplexity;
pub mod plot;
mod plotted;
pub mod prefilter;
pub mod query;
pub mod revert;
mod rows_file;
pub mod run;
pub mod score;
pub mod select;
#[cfg(feature = "serve")]
pub mod serve;
pub mod snapshots;
pub mod tag;
#[cfg(feature = "serve")]
pub mod token;
pub mod train;
pub mod verify;
pub mod view;

use anyhow::Result;
use gstore_store::RunPart;

use crate::args::Command;
use crate::failure::UsageError;

/// Refuses what a command refuses by its options alone, before it reads anything.
pub fn check_options(command: &Command) -> Result<()> {
    match command {
        Command::Generate(args) => generate::check_options(args),
        // Without a model it reads a run that is there, whatever its name.
        Command::Ingest(args) if args.model.is_some() => args.run.as_deref().map_or(Ok(()), check_run_name),
        Command::Train(args) => train::check_options(args),
        _ => Ok(()),
    }
}

/// Refuses a text that cannot be the name of a new run.
fn check_run_name(name: &str) -> Result<()> {
    RunPart::check_name(name).map_err(|error| UsageError(error.to_string()).into())
}
