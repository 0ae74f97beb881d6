//! `gstore daunce`: ensembles of perturbed models, one file for each of its commands.

mod attach;
mod members;
mod prepare;
mod request;
mod rounds;
mod train;

use std::process::ExitCode;

use anyhow::Result;

use crate::args::{DaunceArgs, DaunceWhat};
use crate::context::Context;

/// Runs one of its commands.
pub fn run(context: &Context, args: &DaunceArgs) -> Result<ExitCode> {
    match &args.what {
        DaunceWhat::Train(args) => train::run(context, args),
        DaunceWhat::Prepare(args) => prepare::run(context, args),
        DaunceWhat::Attach(args) => attach::run(context, args),
    }
}
