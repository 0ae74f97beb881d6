//! `gstore drop`: drops a feature, a dataset, a run, an ensemble or an artifact.

use anyhow::Result;
use gstore_core::many;
use indicatif::HumanBytes;

use crate::args::{DropArgs, DropWhat};
use crate::context::Context;
use crate::streams::{out, print_json};

pub fn run(context: &Context, args: &DropArgs) -> Result<()> {
    let store = context.open()?;
    let command = &context.command;
    // What has the name now is dropped, not what may have it once the lock is free.
    let seen = store.snapshot()?;
    let mut readers = Vec::new();
    let (kind, name, report) = match &args.what {
        DropWhat::Feature { name } => ("feature", name, store.drop_feature(seen.feature(name)?, command)?),
        DropWhat::Dataset { name } => {
            readers = gstore_sql::views_that_read(&seen, name);
            ("dataset", name, store.drop_dataset(seen.dataset(name)?, command)?)
        }
        DropWhat::Ensemble { name } => {
            ("ensemble", name, store.drop_ensemble(seen.ensemble(name)?, command)?)
        }
        DropWhat::Artifact { name } => ("artifact", name, store.drop_artifact(&seen, name, command)?),
        DropWhat::Run { name } => ("run", name, store.drop_run(seen.run(name)?, command)?),
    };
    if args.json {
        print_json(&report)?;
    } else {
        let what = match (&report.artifact, &report.kind) {
            (Some(name), Some(kind)) => format!("artifact {name} ({kind}) dropped"),
            (Some(name), None) => format!("artifact {name} dropped"),
            // A run has checkpoints alone, which take no room of their own.
            (None, _) if kind == "run" => format!("run {name} dropped"),
            (None, _) => format!(
                "{} and {} removed",
                many(report.samples, "sample"),
                many(report.features.len() as u64, "feature")
            ),
        };
        let freed = if kind == "run" { String::new() } else { format!(", {}", HumanBytes(report.bytes)) };
        out!("snapshot {}: {what}{freed}", report.snapshot);
        context.say(&super::delete::way_back(context, report.snapshot, &format!("{kind} {name}")));
        super::view::note_readers(context, name, &readers);
        for feature in &report.unnamed {
            out!("the checkpoint of {feature} no longer has a name");
        }
    }
    Ok(())
}
