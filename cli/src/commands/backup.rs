//! `gstore backup` and `gstore restore`: a snapshot into another folder and back.

use std::sync::Arc;

use anyhow::{Result, bail};
use gstore_core::{TotalProgress, Unit, many, many_of};
use gstore_store::{BackupOptions, CopyReport, DatasetPart, Snapshot, Store};
use indicatif::HumanBytes;

use crate::args::{BackupArgs, RestoreArgs};
use crate::context::Context;
use crate::new_store::{refuse_dangling, refuse_inside};
use crate::streams::{out, print_json};

pub fn backup(context: &Context, args: &BackupArgs) -> Result<()> {
    let store = context.open()?;
    let cancel = context.cancel_on_interrupt("stopping; run the same command again to continue");
    note_fewer_rows(context, &store, args)?;
    let mut reporter = context.reporter();
    let mut bytes = TotalProgress::new(&mut reporter, "backup", Unit::Bytes);
    let report = store.backup(
        &args.to,
        &BackupOptions { command: context.command.clone(), at: args.snapshot.clone() },
        &mut |p| bytes.at(p.bytes_done, p.bytes_total),
        &cancel,
    )?;
    bytes.finish();
    print(args.json, &report)
}

/// Says which rows of the backup in the folder the new one lacks.
fn note_fewer_rows(context: &Context, store: &Store, args: &BackupArgs) -> Result<()> {
    let (now, _lease) = context.snapshot(store, args.snapshot.as_ref())?;
    let Some(before) = now.replaced_backup(&args.to)? else { return Ok(()) };
    let fewer = fewer_rows(&before, &now);
    if !fewer.is_empty() {
        context.say(&format!(
            "note: the backup in {} has rows that this snapshot lacks, and is replaced at the end; to keep it, stop and \
             name another folder: {}",
            args.to.display(),
            fewer.join(", ")
        ));
    }
    Ok(())
}

/// The datasets of a backup of which a snapshot has fewer rows: deleted on purpose, or lost with damaged
/// files.
fn fewer_rows(before: &Snapshot, now: &Snapshot) -> Vec<String> {
    let fewer = |part: &Arc<DatasetPart>| {
        let rows = now.dataset(&part.name).map_or(0, |part| part.rows);
        (rows < part.rows).then(|| format!("{}: {rows} rows, was {}", part.name, part.rows))
    };
    before.datasets().iter().filter_map(fewer).collect()
}

/// Makes a store from a backup.
pub fn restore(context: &Context, args: &RestoreArgs) -> Result<()> {
    let to = context.store_path()?;
    if !args.from.join("CURRENT").exists() {
        bail!("there is no backup at {}: it has no CURRENT file", args.from.display());
    }
    refuse_dangling(to)?;
    refuse_inside(to)?;
    let cancel = context.cancel_on_interrupt("stopping; run the same command again to continue");
    let mut reporter = context.reporter();
    let mut bytes = TotalProgress::new(&mut reporter, "restore", Unit::Bytes);
    let report = Store::restore(&args.from, to, &mut |p| bytes.at(p.bytes_done, p.bytes_total), &cancel)?;
    bytes.finish();
    print(args.json, &report)
}

fn print(json: bool, report: &CopyReport) -> Result<()> {
    if json {
        print_json(report)?;
    } else {
        out!(
            "snapshot {}: {} copied, {}; {} there already",
            report.snapshot,
            many(report.files_copied, "file"),
            HumanBytes(report.bytes_copied),
            many_of(report.files_kept, "was", "were")
        );
    }
    Ok(())
}
