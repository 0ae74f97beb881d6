//! `gstore evaluate`: compares systems by text metrics, models by tasks, and scores of rows with retraining;
//! reports scores of rows with their texts.

mod asked;
mod attribution;
mod draw;
mod folder;
mod inspect;
mod kept;
mod pictures;
mod replacing;
mod result;
mod retrain;
mod scores;
mod stored;
mod tasks;
mod text;

use std::process::ExitCode;

use anyhow::Result;
use gstore_evaluate::attribution::{Needed, lds, leave_out};
use gstore_evaluate::statistics::Bootstrap;

use crate::args::{ComparisonArgs, EvaluateArgs, EvaluateWhat};
use crate::context::Context;
use crate::failure::{UsageError, done};

pub use self::result::check_markdown;

/// Does what the flags say.
pub fn run(context: &Context, args: &EvaluateArgs) -> Result<ExitCode> {
    match &args.what {
        EvaluateWhat::Text(args) => done(text::run(context, args)),
        EvaluateWhat::Tasks(args) => done(tasks::run(context, args)),
        EvaluateWhat::Retrain(args) => retrain::run(context, args),
        EvaluateWhat::Lds(args) => done(attribution::run(context, args, Needed::Random, lds)),
        EvaluateWhat::Loo(args) => done(attribution::run(context, args, Needed::LeftOut, leave_out)),
        EvaluateWhat::Brittleness(args) => done(attribution::brittleness(context, args)),
        EvaluateWhat::Flips(args) => done(attribution::flips(context, args)),
        EvaluateWhat::Scores(args) => done(inspect::run(context, args)),
    }
}

fn bootstrap(args: &ComparisonArgs) -> Bootstrap {
    Bootstrap { resamples: args.resamples, seed: args.seed }
}

/// The number of the system that others are compared with.
fn base(args: &ComparisonArgs, systems: &[&str]) -> Result<usize> {
    let Some(name) = &args.against else { return Ok(0) };
    let found = systems.iter().position(|system| system == name);
    Ok(found.ok_or_else(|| {
        UsageError(format!("--against {name}: there is no such system; available: {}", systems.join(", ")))
    })?)
}
