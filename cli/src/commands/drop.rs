//! `gstore drop`: drops a feature, a dataset, a run, an ensemble or an artifact.

use anyhow::Result;
use gstore_core::many;
use indicatif::HumanBytes;

use crate::args::{DropArgs, DropWhat};
use crate::context::{Context, command_line};
use crate::streams::out;

/// Drops it.
pub fn run(context: &Context, args: &DropArgs) -> Result<()> {
    let store = context.open()?;
    let command = command_line();
    // What has the name now is dropped, not what may have it once the lock is free.
    let seen = store.snapshot()?;
    let readers = match &args.what {
        DropWhat::Dataset { name } => gstore_sql::views_that_read(&seen, name),
        _ => Vec::new(),
    };
    let report = match &args.what {
        DropWhat::Feature { name } => store.drop_feature(seen.feature(name)?, &command)?,
        DropWhat::Dataset { name } => store.drop_dataset(seen.dataset(name)?, &command)?,
        DropWhat::Ensemble { name } => store.drop_ensemble(seen.ensemble(name)?, &command)?,
        DropWhat::Artifact { name } => store.drop_artifact(&seen, name, &command)?,
        DropWhat::Run { name } => store.drop_run(seen.run(name)?, &command)?,
    };
    if args.json {
        out!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        let what = match (&report.artifact, &report.kind) {
            (Some(name), Some(kind)) => format!("artifact {name} ({kind}) dropped"),
            (Some(name), None) => format!("artifact {name} dropped"),
            (None, _) => format!(
                "{} and {} removed",
                many(report.samples, "sample"),
                many(report.features.len() as u64, "feature")
            ),
        };
        out!("snapshot {}: {what}, {}", report.snapshot, HumanBytes(report.bytes));
        context.say(&super::delete::way_back(context, report.snapshot, &dropped_name(&args.what)));
        if let DropWhat::Dataset { name } = &args.what {
            super::view::note_readers(context, name, &readers);
        }
        for feature in &report.unnamed {
            out!("the checkpoint of {feature} has no name any more");
        }
    }
    Ok(())
}

/// What is dropped, by its kind and name.
fn dropped_name(what: &DropWhat) -> String {
    match what {
        DropWhat::Feature { name } => format!("feature {name}"),
        DropWhat::Dataset { name } => format!("dataset {name}"),
        DropWhat::Artifact { name } => format!("artifact {name}"),
        DropWhat::Run { name } => format!("run {name}"),
        DropWhat::Ensemble { name } => format!("ensemble {name}"),
    }
}
