//! `gstore attach`: adds finished shards to the store.

use std::collections::HashSet;
use std::process::ExitCode;

use anyhow::Result;
use gstore_core::{TotalProgress, Unit, first_of, many, many_of};
use gstore_store::{
    AttachOptions, AttachReport, AttachedFeature, AttachedShard, FeaturePart, ShardOutcome, Store,
};
use indicatif::HumanBytes;

use crate::args::AttachArgs;
use crate::context::Context;
use crate::sketches;
use crate::streams::{out, print_json};

/// Attaches the shards, and reports the outcome of each and what is still missing.
pub fn run(context: &Context, args: &AttachArgs) -> Result<ExitCode> {
    let store = context.open()?;
    check_planes(context, &store, args)?;
    let mut reporter = context.reporter();
    let mut bytes = TotalProgress::new(&mut reporter, "attach", Unit::Bytes);
    let options = AttachOptions { command: context.command.clone(), dry_run: args.dry_run };
    let report = store.attach(&args.folders, &options, &mut |p| bytes.at(p.bytes_done, p.bytes_total));
    bytes.finish();
    let report = report?;
    if args.json {
        print_json(&report)?;
    } else {
        print(&report)?;
    }
    if !args.sketch {
        return Ok(ExitCode::SUCCESS);
    }
    let cancel = context.cancel_on_interrupt(sketches::STOPPING);
    let keys = keys(&report);
    let wanted = |part: &FeaturePart| keys.contains(part.desc.key().as_str());
    sketches::complete(context, &store, wanted, args.kept.planes, &cancel)
}

/// The keys of the features that shards belong to: a label may be another one's by now.
fn keys(report: &AttachReport) -> HashSet<&str> {
    report.features.iter().map(|feature| feature.key.as_str()).collect()
}

/// Refuses planes that the sketches of the shards' features do not keep, before anything is attached.
fn check_planes(context: &Context, store: &Store, args: &AttachArgs) -> Result<()> {
    let Some(wanted) = args.kept.planes else { return Ok(()) };
    let options = AttachOptions { command: context.command.clone(), dry_run: true };
    let report = store.attach(&args.folders, &options, &mut |_| {})?;
    let (keys, snapshot) = (keys(&report), store.snapshot()?);
    let features = snapshot.features().iter().filter(|part| keys.contains(part.desc.key().as_str()));
    for part in features {
        sketches::check_planes(&snapshot, part, wanted)?;
    }
    Ok(())
}

fn print(report: &AttachReport) -> Result<()> {
    for shard in &report.shards {
        out!("{}", shard_line(shard, report.dry_run));
    }
    for feature in &report.features {
        for line in feature_lines(feature) {
            out!("{line}");
        }
    }
    for note in &report.notes {
        out!("note: {note}");
    }
    match report.snapshot {
        Some(number) => out!("published snapshot {number}"),
        None if report.dry_run => out!("nothing was changed"),
        None => out!("nothing to attach; the store is unchanged"),
    }
    Ok(())
}

fn shard_line(shard: &AttachedShard, dry_run: bool) -> String {
    let files = format!("{}, {}", many(shard.files, "file"), HumanBytes(shard.bytes));
    let outcome = match shard.outcome {
        ShardOutcome::Attached if dry_run => format!("would be attached ({files})"),
        ShardOutcome::Attached => format!("attached ({files})"),
        ShardOutcome::Already => "attached already".to_owned(),
        ShardOutcome::Empty => "has nothing to attach".to_owned(),
    };
    let rows = many(shard.rows, "row");
    format!("{} shard {} in {}: {rows}, {outcome}", shard.dataset, shard.shard, shard.folder)
}

fn feature_lines(feature: &AttachedFeature) -> Vec<String> {
    let state = if feature.complete { "complete" } else { "incomplete" };
    let mut lines = vec![format!(
        "{}: {} added, {} in all, {state}",
        feature.feature,
        many(feature.added, "row"),
        feature.rows
    )];
    if feature.missing > 0 {
        let ranges = feature.missing_rows.iter().map(|[start, end]| format!("{start}..{end}"));
        let missing = many_of(feature.missing, "row is", "rows are");
        lines.push(format!("  {missing} missing: {}", first_of(ranges, 8)));
    }
    if !feature.missing_shards.is_empty() {
        lines.push(format!("  they belong to shards {}", feature.missing_shards.join(", ")));
    }
    lines
}
