//! `gstore snapshots`: the history of the store.

use std::process::ExitCode;

use anyhow::Result;

use crate::args::SnapshotsArgs;
use crate::context::Context;
use crate::statements::Engine;

/// Prints the snapshots, newest first.
pub fn run(context: &Context, args: &SnapshotsArgs) -> Result<ExitCode> {
    let store = context.open()?;
    let cancel = context.cancel_on_interrupt("stopping")?;
    Engine::new(context, store.snapshot()?)?.run(
        context,
        "SELECT number, created, tags, changes, command, current FROM gstore.snapshots ORDER BY number DESC",
        &args.output.to,
        &cancel,
    )?;
    Ok(ExitCode::SUCCESS)
}
