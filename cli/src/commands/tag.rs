//! `gstore tag`: names a snapshot, removes a name, or lists them.

use std::process::ExitCode;

use anyhow::Result;
use gstore_store::TagOptions;

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
            context,
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
        let options = TagOptions { command, at: args.snapshot.clone(), move_there: args.force };
        let snapshot = store.tag(name, options)?;
        let tag = snapshot.tags().into_iter().find(|t| t.name == **name);
        out!("{name}: snapshot {}", tag.map_or(0, |t| t.snapshot));
    }
    Ok(ExitCode::SUCCESS)
}
