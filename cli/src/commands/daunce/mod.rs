//! `gstore daunce`: ensembles of perturbed models, one file for each of its commands.

mod losses;

use std::process::ExitCode;

use anyhow::Result;

use crate::args::{DaunceArgs, DaunceWhat};
use crate::context::Context;

/// Runs one of its commands.
pub fn run(context: &Context, args: &DaunceArgs) -> Result<ExitCode> {
    match &args.what {
        DaunceWhat::Losses(args) => losses::run(context, args),
    }
}
