//! `gstore daunce`: ensembles of perturbed models, one file for each of its commands.

mod agreement;
mod attach;
mod diagnose;
mod losses;
mod members;
mod prepare;
mod query;
mod report;
mod request;
mod rounds;
mod train;

use std::process::ExitCode;

use anyhow::Result;
pub use diagnose::note_findings;
use gstore_query::influence::InfluenceSpec;
use serde_json::json;

use crate::args::{CovarianceArgs, DaunceArgs, DaunceWhat, LossRankingArgs};
use crate::context::Context;
use crate::failure::{UsageError, done};
use crate::question::{question_between, scoring};

const STOPPING: &str = "stopping; press Ctrl-C again to stop at once";

/// Does what the flags ask for.
pub fn run(context: &Context, args: &DaunceArgs) -> Result<ExitCode> {
    match &args.what {
        DaunceWhat::Train(args) => train::run(context, args),
        DaunceWhat::Prepare(args) => done(prepare::run(context, args)),
        DaunceWhat::Attach(args) => done(attach::run(context, args)),
        DaunceWhat::Losses(args) => losses::run(context, args),
        DaunceWhat::Query(args) => done(query::run(context, args)),
        DaunceWhat::Report(args) => done(report::run(context, args)),
        DaunceWhat::Agreement(args) => done(agreement::run(context, args)),
        DaunceWhat::Diagnose(args) => done(diagnose::run(context, args)),
    }
}

fn spec(args: &LossRankingArgs) -> Result<InfluenceSpec> {
    let CovarianceArgs(mut options) = args.scoring.clone();
    options.set("method", json!("daunce")).map_err(|error| UsageError(error.message))?;
    Ok(question_between(&args.pool, &args.target, scoring(&options)?))
}
