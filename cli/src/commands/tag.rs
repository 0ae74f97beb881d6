//! `gstore tag`: names a snapshot, removes a name, or lists them.

use anyhow::Result;
use gstore_store::{ChangeError, TagOptions};
use serde_json::json;

use crate::args::TagArgs;
use crate::context::Context;
use crate::failure::refuse;
use crate::statements::list;
use crate::streams::{out, print_json};

/// Does what the flags say.
pub fn run(context: &Context, args: &TagArgs) -> Result<()> {
    let store = context.open()?;
    let Some(name) = args.name.as_ref().filter(|_| !args.lists()) else {
        let tags = "SELECT tag, snapshot, created FROM gstore.tags ORDER BY tag";
        return list(context, store.snapshot()?, tags, &args.output.to);
    };
    let (snapshot, said) = if args.delete {
        let tag = store.snapshot()?.tag(name)?;
        (store.untag(&tag, &context.command)?.number(), "removed".to_owned())
    } else {
        let target = store.tag_target(args.snapshot.as_ref())?;
        let options = TagOptions { command: context.command.clone(), move_there: args.output.to.force };
        let set = store.tag(name, &target, options);
        if let Err(ChangeError::TagVerb { name }) = &set {
            refuse!(
                "\"{name}\" cannot be a tag: `gstore tag list` lists the tags, `gstore tag NAME` sets one, and \
                 `gstore tag NAME --delete` removes one"
            )
        }
        set?;
        (target.number(), format!("tagged snapshot {}", target.number()))
    };
    match args.output.json.as_json {
        true => print_json(&json!({ "name": name.to_string(), "snapshot": snapshot }))?,
        false => out!("{name}: {said}"),
    }
    Ok(())
}
