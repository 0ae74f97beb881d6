//! `gstore delete`: deletes rows of a dataset, by id or by a condition.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, bail};
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use gstore_query::sql::{SqlOptions, SqlRunner};
use gstore_store::{DatasetName, DeleteOptions, DeleteReport, RowSet, Snapshot};
use serde_json::json;

use crate::args::DeleteArgs;
use crate::context::{Context, command_line};
use crate::failure::UsageError;
use crate::output::out;
use crate::sketches::{Before, STOPPING};

/// Ids that a message lists at most.
const LISTED: usize = 5;

/// Deletes the rows.
pub fn run(context: &Context, args: &DeleteArgs) -> Result<ExitCode> {
    let names_rows = !args.id.is_empty() || args.ids.is_some() || args.filter.is_some();
    if !names_rows && !args.purge {
        bail!(UsageError("which rows? give --id, --ids or --where".to_owned()));
    }
    let store = context.open()?;
    let cancel = context.cancel_on_interrupt("stopping; nothing is deleted")?;
    // The lease ends before the rows go: a purge leaves no older snapshot to hold.
    let found = {
        let (snapshot, _lease) = context.snapshot(&store, None)?;
        find(context, args, &snapshot, &cancel)?
    };
    tell_missing(context, args, &found);
    if args.dry_run {
        return dry_run(args, &found);
    }
    if args.purge && !args.yes {
        bail!(UsageError(format!(
            "--purge cannot be undone: it removes {} rows of {:?}, {} that were deleted before, and every older snapshot and tag\n  \
             --yes confirms",
            found.rows.len(),
            args.dataset,
            found.earlier
        )));
    }
    if cancel.load(std::sync::atomic::Ordering::SeqCst) {
        return Ok(ExitCode::from(crate::failure::STOPPED));
    }
    let options = DeleteOptions { command: command_line(), purge: args.purge };
    let before = match args.purge {
        true => {
            let snapshot = store.snapshot()?;
            Some(Before::new(&snapshot)?)
        }
        false => None,
    };
    let report = store.delete(&args.dataset, &found.rows, options)?;
    print(args, &found, &report)?;
    let Some(before) = before else { return Ok(ExitCode::SUCCESS) };
    // What Ctrl-C could have kept from happening has happened.
    let cancel = context.cancel_on_interrupt(STOPPING)?;
    before.restore(context, &store, &cancel)
}

/// The rows that the flags name.
struct Found {
    rows: RowSet,
    missing: Vec<String>,
    /// Rows that were deleted before and are still in the files: a purge takes them too.
    earlier: u64,
}

fn find(
    context: &Context,
    args: &DeleteArgs,
    snapshot: &std::sync::Arc<Snapshot>,
    cancel: &AtomicBool,
) -> Result<Found> {
    let dataset = snapshot.dataset(&args.dataset)?;
    let mut wanted: HashSet<String> = args.id.iter().cloned().collect();
    if let Some(file) = &args.ids {
        read_ids(file, &mut wanted)?;
    }
    let mut rows = RowSet::new();
    if !wanted.is_empty() {
        let mut hits = Vec::new();
        for batch in snapshot.samples(dataset)?.scan(&["row", "id"], None) {
            let batch = batch?;
            let numbers = batch.column(0).as_primitive::<UInt64Type>().values();
            for (row, id) in numbers.iter().zip(batch.column(1).as_string::<i32>()) {
                if id.is_some_and(|id| wanted.remove(id)) {
                    hits.push(*row);
                }
            }
        }
        rows = RowSet::from_rows(hits);
    }
    if let Some(filter) = &args.filter {
        rows = rows.union(&matching(context, snapshot, &args.dataset, filter, cancel)?);
    }
    let mut missing: Vec<String> = wanted.into_iter().collect();
    missing.sort_unstable();
    let earlier = dataset.tombstones.iter().filter(|t| !t.purged).map(|t| t.rows).sum();
    Ok(Found { rows, missing, earlier })
}

fn read_ids(file: &Path, ids: &mut HashSet<String>) -> Result<()> {
    let source: Box<dyn Read> = match file == Path::new("-") {
        true => Box::new(std::io::stdin()),
        false => Box::new(fs_err::File::open(file)?),
    };
    for line in BufReader::new(source).lines() {
        let line = line.with_context(|| format!("the ids in {} cannot be read", file.display()))?;
        let id = line.trim_end_matches('\r');
        if !id.is_empty() {
            ids.insert(id.to_owned());
        }
    }
    Ok(())
}

/// Live rows for which the condition is true.
fn matching(
    context: &Context,
    snapshot: &std::sync::Arc<Snapshot>,
    dataset: &str,
    filter: &str,
    cancel: &AtomicBool,
) -> Result<RowSet> {
    let name = DatasetName::try_from(dataset)?;
    let runner =
        SqlRunner::new(snapshot.clone(), SqlOptions { threads: context.threads, ..SqlOptions::default() })?;
    // A line of its own, so that a comment at the end of the condition hides nothing.
    let sql = format!("SELECT \"row\" FROM \"{name}\" WHERE (\n{filter}\n)");
    let mut rows = Vec::new();
    for batch in runner.run(&sql, cancel)? {
        let batch = batch?;
        match batch.column(0).as_primitive_opt::<UInt64Type>() {
            Some(numbers) => rows.extend_from_slice(numbers.values()),
            None => bail!("the rows of {dataset} are not numbers"),
        }
    }
    Ok(RowSet::from_rows(rows))
}

fn tell_missing(context: &Context, args: &DeleteArgs, found: &Found) {
    let missing = &found.missing;
    if missing.is_empty() {
        return;
    }
    let some: Vec<&str> = missing.iter().take(LISTED).map(String::as_str).collect();
    let more = if missing.len() > LISTED { ", ..." } else { "" };
    context.say(&format!("{}: {} ids are not there: {}{more}", args.dataset, missing.len(), some.join(", ")));
}

fn dry_run(args: &DeleteArgs, found: &Found) -> Result<ExitCode> {
    if args.json {
        let purged = if args.purge { found.rows.len() + found.earlier } else { 0 };
        let report = json!({
            "dataset": args.dataset, "deleted": found.rows.len(), "purged": purged, "missing": found.missing,
        });
        out!("{}", serde_json::to_string_pretty(&report)?);
    } else if args.purge {
        out!(
            "{}: {} rows would be purged, and {} that were deleted before; older snapshots and tags would go",
            args.dataset,
            found.rows.len(),
            found.earlier
        );
    } else {
        out!("{}: {} rows would be deleted", args.dataset, found.rows.len());
    }
    Ok(ExitCode::SUCCESS)
}

fn print(args: &DeleteArgs, found: &Found, report: &DeleteReport) -> Result<()> {
    if args.json {
        let mut value = serde_json::to_value(report)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("missing".to_owned(), json!(found.missing));
        }
        out!("{}", serde_json::to_string_pretty(&value)?);
        return Ok(());
    }
    match report.snapshot {
        None => out!("{}: nothing to delete", args.dataset),
        Some(snapshot) if args.purge => {
            out!("{}: {} rows purged; snapshot {snapshot} begins a new history", args.dataset, report.purged)
        }
        Some(snapshot) => out!("{}: {} rows deleted in snapshot {snapshot}", args.dataset, report.deleted),
    }
    Ok(())
}
