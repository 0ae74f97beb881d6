//! Values that several options give together, and combinations that are refused. Commands begin with them,
//! and pipelines check all stages by them before the first one runs.

mod ingest;
mod training;

use anyhow::Result;
use gstore::SamplingOptions;
use gstore_store::RunPart;

use crate::args::{Command, SamplingArgs};
use crate::failure::{UsageError, refuse};

pub use ingest::{kinds, of_kinds};
pub use training::{saving, steps};

/// Refuses what a command refuses by its options alone, before it reads anything. `has_run` says whether a
/// run is there whose name a new one cannot have: it keeps it.
pub fn check_options(command: &Command, has_run: impl FnOnce(&str) -> Result<bool>) -> Result<()> {
    let run = match command {
        Command::Generate(args) => return sampling(&args.sampling).map(drop),
        Command::Ingest(args) => {
            ingest::check(&args.gradients, &kinds(&args.features)?)?;
            // Without a model it reads a run that is there, whatever its name.
            args.model.as_ref().and(args.run.as_deref())
        }
        Command::Train(args) => {
            steps(&args.optimizer, args.batches.loss_mean)?;
            saving(&args.saving)?;
            args.saving.run.as_deref()
        }
        _ => None,
    };
    let Some(run) = run else { return Ok(()) };
    let checked = check_run_name(run);
    if checked.is_err() && has_run(run)? { Ok(()) } else { checked }
}

/// Refuses a text that cannot be the name of a new run.
pub fn check_run_name(name: &str) -> Result<()> {
    RunPart::check_name(name).map_err(|error| UsageError(error.to_string()).into())
}

/// How tokens are chosen.
pub fn sampling(args: &SamplingArgs) -> Result<SamplingOptions> {
    let draws = args.top_k.is_some() || args.top_p.is_some();
    let sampling = SamplingOptions {
        temperature: args.temperature.unwrap_or(if draws { 1.0 } else { 0.0 }),
        top_k: args.top_k,
        top_p: args.top_p,
        repetition_penalty: args.repetition_penalty,
        no_repeat_ngram: args.no_repeat_ngram_size,
        seed: args.seed.unwrap_or(SamplingOptions::SEED),
    };
    sampling.check()?;
    if args.seed.is_some() && !sampling.draws() {
        refuse!(
            "--seed has no effect without --temperature, --top-k or --top-p: the most likely token is always taken"
        );
    }
    Ok(sampling)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn a_run_that_is_there_keeps_its_name() {
        let ingest = ["gstore", "ingest", "--dataset", "d", "--model", "m", "--features", "loss", "--run"];
        let train = ["gstore", "train", "--data", "d", "--model", "m", "--output", "o", "--run"];
        for words in [&ingest[..], &train] {
            let is_taken = |name: &str, is_there: bool| {
                let cli = Cli::try_parse_from([words, &[name]].concat()).expect("a command line");
                check_options(&cli.command, |_| Ok(is_there)).is_ok()
            };
            assert_eq!(
                [is_taken("a/b", false), is_taken("a/b", true), is_taken("a", false)],
                [false, true, true]
            );
        }
    }
}
