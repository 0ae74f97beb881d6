//! `gstore daunce attach`: copies that were trained in other folders, registered in a store.

use anyhow::{Result, bail};
use gstore_core::many_of;
use gstore_store::Snapshot;
use gstore_train::daunce::{MemberOutcome, read_members, read_start};
use serde_json::json;

use super::members;
use crate::args::DaunceAttachArgs;
use crate::context::Context;
use crate::failure::refuse;
use crate::streams::print_json;

/// Reads the records of all folders, then registers what they have.
pub fn run(context: &Context, args: &DaunceAttachArgs) -> Result<()> {
    context.store_path()?;
    let mut found = Vec::new();
    for folder in &args.folders {
        let (start, copies) = (read_start(folder)?, read_members(folder)?);
        let mut complete = copies.iter().filter_map(MemberOutcome::complete);
        if let Some(copy) = complete.find(|copy| copy.asked["model"] != start.checkpoint) {
            bail!(
                "ensemble.json in {} names a different starting point than copy {}: run the `gstore daunce \
                 train` that trained it again, which writes the right one",
                folder.display(),
                copy.model
            );
        }
        found.push((folder, start, copies));
    }
    let Some((first, start, _)) = found.first() else { refuse!("no folder is given") };
    if let Some((other, ..)) = found.iter().find(|(_, other, _)| other.checkpoint != start.checkpoint) {
        bail!(
            "{} and {} hold copies of different models, so their losses cannot be compared",
            first.display(),
            other.display()
        );
    }
    // Folders that cannot be read leave no new store.
    let store = context.open_or_create()?;
    let members = |snapshot: &Snapshot| snapshot.ensemble(&args.ensemble).map_or(0, |e| e.members.len());
    let before = members(store.snapshot()?.as_ref());
    let mut refused = Vec::new();
    let mut registered = 0;
    for (_, start, copies) in &found {
        registered += members::register(context, &store, &args.ensemble, start, copies)?;
        refused.extend(copies.iter().filter_map(MemberOutcome::refused).map(|copy| copy.model));
    }
    for model in &refused {
        context.say(&format!("copy {model} was refused when it was trained, and is left out"));
    }
    let all = members(store.snapshot()?.as_ref());
    let (added, copies) = (all.saturating_sub(before), many_of(registered, "copy", "copies"));
    context.say(&format!(
        "{added} of {copies} added to ensemble {} of the store, which has {all}",
        args.ensemble
    ));
    if args.json {
        let report = json!({
            "ensemble": args.ensemble, "registered": registered, "added": added, "refused": refused,
        });
        print_json(&report)?;
    }
    Ok(())
}
