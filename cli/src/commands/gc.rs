//! `gstore gc`: removes old snapshots and the files that nothing needs.

use std::process::ExitCode;

use anyhow::Result;
use gstore_store::GcOptions;

use crate::args::GcArgs;
use crate::context::{Context, command_line};
use crate::output::out;

/// Collects.
pub fn run(context: &Context, args: &GcArgs) -> Result<ExitCode> {
    let store = context.open()?;
    let report = store.collect(GcOptions {
        command: command_line(),
        keep: args.keep,
        keep_within: Some(args.keep_within),
        dry_run: args.dry_run,
        drop_jobs: args.drop_jobs,
    })?;
    if args.json {
        out!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        out!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}
