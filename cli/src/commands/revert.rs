//! `gstore revert`: goes back to an older snapshot, as a new one.

use anyhow::Result;
use gstore_store::RevertOptions;

use crate::args::RevertArgs;
use crate::context::Context;
use crate::streams::{out, print_json};

/// Goes back, or says what that would change.
pub fn run(context: &Context, args: &RevertArgs) -> Result<()> {
    let store = context.open()?;
    let (target, _lease) = context.snapshot(&store, Some(&args.to))?;
    let options = RevertOptions { command: context.command.clone(), dry_run: args.dry_run };
    let report = store.revert(&target, &options)?;
    if args.json {
        return print_json(&report);
    }
    for change in &report.changes {
        out!("{change}");
    }
    match report.snapshot {
        Some(snapshot) => {
            // What was current when the command began may have been replaced before the revert.
            let before = snapshot.saturating_sub(1);
            let undo = format!("; `gstore revert --to {before}{}` undoes this", context.at_store());
            let undo = if report.can_be_undone { undo } else { String::new() };
            out!("snapshot {snapshot} has the content of snapshot {}{undo}", report.to);
        }
        None if report.changes.is_empty() => out!("nothing differs from snapshot {}", report.to),
        None => out!("nothing was changed: this was a dry run"),
    }
    Ok(())
}
