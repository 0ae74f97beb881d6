//! `gstore compact`: merges small files and leaves out deleted rows, or says what that would save.

use std::process::ExitCode;

use anyhow::Result;
use gstore_core::{TotalProgress, Unit, many, many_of};
use gstore_store::{CompactOptions, CompactReport};
use indicatif::HumanBytes;

use crate::args::CompactArgs;
use crate::context::Context;
use crate::failure::{DAMAGED, STOPPED};
use crate::sketches::{STOPPING, restore, tell_all_lost};
use crate::streams::{out, print_json};

pub fn run(context: &Context, args: &CompactArgs) -> Result<ExitCode> {
    let store = context.open()?;
    let cancel = context.cancel_on_interrupt("stopping; what was merged stays merged");
    let options = CompactOptions {
        command: context.command.clone(),
        datasets: args.dataset.iter().cloned().collect(),
        target_bytes: args.segment_size,
        max_dead_share: args.max_deleted,
        cancel: Some(cancel),
        ..CompactOptions::default()
    };
    if args.dry_run {
        let forecast = store.forecast_compact(&options)?;
        tell(&forecast, args.json)?;
        return Ok(if forecast.stopped { ExitCode::from(STOPPED) } else { ExitCode::SUCCESS });
    }
    let mut reporter = context.reporter();
    let mut bytes = TotalProgress::new(&mut reporter, "compact", Unit::Bytes);
    let report = store.compact(options, &mut |p| bytes.at(p.bytes_done, p.bytes_total))?;
    bytes.finish();
    tell(&report, args.json)?;
    let dataset = args.dataset.as_deref();
    if report.stopped {
        tell_all_lost(context, &store, dataset)?;
        return Ok(ExitCode::from(STOPPED));
    }
    let cancel = context.cancel_on_interrupt(STOPPING);
    let restored = restore(context, &store, dataset, &cancel)?;
    Ok(match restored == ExitCode::SUCCESS && !report.skipped.is_empty() {
        // What was merged is published; what could not be read is as it was.
        true => ExitCode::from(DAMAGED),
        false => restored,
    })
}

fn tell(report: &CompactReport, as_json: bool) -> Result<()> {
    match as_json {
        true => print_json(report)?,
        false => print(report)?,
    }
    Ok(())
}

fn print(report: &CompactReport) -> Result<()> {
    for part in &report.changed {
        let (become_files, become_bytes) = match report.dry_run {
            true => ("would become", "about"),
            false if part.files_before == 1 => ("becomes", "become"),
            false => ("become", "become"),
        };
        out!(
            "{}: {} {become_files} {}, {} {become_bytes} {}, {} left out",
            part.of,
            many(part.files_before, "file"),
            part.files_after,
            HumanBytes(part.bytes_before),
            HumanBytes(part.bytes_after),
            many(part.rows_dropped, "deleted row")
        );
    }
    for skipped in &report.skipped {
        let left = many_of(skipped.files.len() as u64, "file is left as it is", "files are left as they are");
        out!("{}: {left}: {}", skipped.of, skipped.reason);
    }
    if report.discarded > 0 {
        out!(
            "{} changed by another process in the meantime and left as found",
            many_of(report.discarded, "group of files was", "groups of files were")
        );
    }
    let saved = HumanBytes(report.bytes_before.saturating_sub(report.bytes_after));
    match report.snapshot {
        None if report.dry_run && report.files_before > 0 => out!(
            "nothing was changed: this was a dry run; about {saved} would be free once `gstore gc` has removed \
             the snapshots of the old files"
        ),
        Some(snapshot) => out!("snapshot {snapshot}; older snapshots keep the old files until `gstore gc`"),
        None if report.stopped => out!("stopped; nothing was changed"),
        None => out!("nothing to compact"),
    }
    Ok(())
}
