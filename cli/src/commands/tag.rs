//! `gstore tag`: names a snapshot, removes a name, or lists them.

use std::process::ExitCode;

use anyhow::Result;

use super::query::Engine;
use crate::args::TagArgs;
use crate::context::{Context, command_line};
use crate::output::out;

/// Does what the flags say.
pub fn run(context: &Context, args: &TagArgs) -> Result<ExitCode> {
    let store = context.open()?;
    let Some(name) = &args.name else {
        let cancel = context.cancel_on_interrupt("stopping")?;
        Engine::new(context, store.snapshot()?)?.run(
            "SELECT tag, snapshot, created FROM gstore.tags ORDER BY tag",
            &args.output,
            &cancel,
        )?;
        return Ok(ExitCode::SUCCESS);
    };
    let command = command_line();
    if args.delete {
        store.untag(name, &command)?;
        out!("{name}: removed");
    } else {
        let tag = store.tag(name, args.snapshot.as_ref(), args.force, &command)?;
        out!("{}: snapshot {}", tag.name, tag.snapshot);
    }
    Ok(ExitCode::SUCCESS)
}
