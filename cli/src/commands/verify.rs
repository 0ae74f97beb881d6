//! `gstore verify`: reads every file, checks every digest, and repairs what can be repaired.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use arrow_array::cast::AsArray;
use gstore_core::{Remedy, TotalProgress, Unit, first_of, many, many_of};
use gstore_store::{
    AffectedRows, Loss, Problem, RepairOptions, RepairReport, RowSet, Snapshot, Store, VerifyError,
    VerifyOptions, VerifyReport,
};
use indicatif::HumanBytes;
use serde_json::json;

use crate::args::VerifyArgs;
use crate::context::Context;
use crate::failure::{DAMAGED, STOPPED};
use crate::remedy::given_again;
use crate::streams::{out, print_json};

/// Checks or repairs the store; exit code 3 if anything is damaged, or stays damaged.
pub fn run(context: &Context, args: &VerifyArgs) -> Result<ExitCode> {
    if args.repair { repair(context, args) } else { verify(context, args) }
}

fn verify(context: &Context, args: &VerifyArgs) -> Result<ExitCode> {
    let cancel =
        context.cancel_on_interrupt("stopping after the current file; press Ctrl-C again to stop at once");
    let options = VerifyOptions { all_snapshots: args.all, cancel: Some(Arc::clone(&cancel)) };
    let mut reporter = context.reporter();
    let mut bytes = TotalProgress::new(&mut reporter, "verify", Unit::Bytes);
    // A store too damaged to be opened can still report what is wrong with it.
    let report = Store::verify_folder(context.store_path()?, options, &mut |p| {
        bytes.at(p.bytes_done, p.bytes_total);
    });
    bytes.finish();
    let report = match report {
        Err(error) if error.is_damage() => {
            print_unreadable(context, args, &error)?;
            return Ok(ExitCode::from(DAMAGED));
        }
        other => other?,
    };
    // The exit code says whether there is damage, also to a script that reads the first lines only.
    print_report(context, args, &report)?;
    Ok(match report.is_sound() {
        false => ExitCode::from(DAMAGED),
        true if cancel.is_raised() => ExitCode::from(STOPPED),
        true => ExitCode::SUCCESS,
    })
}

fn print_report(context: &Context, args: &VerifyArgs, report: &VerifyReport) -> Result<()> {
    if args.json {
        return print_json(report);
    }
    print_problems(&report.problems)?;
    for note in &report.notes {
        out!("note: {note}");
    }
    out!(
        "snapshot {}: {}, {}, {} checked: {}",
        report.snapshot,
        many(report.files, "file"),
        HumanBytes(report.bytes),
        many(report.rows, "row"),
        many(report.problems.len() as u64, "problem")
    );
    if args.all && !report.unreferenced.is_empty() {
        let count = report.unreferenced.len() as u64;
        let (belong, them) =
            (many_of(count, "file belongs", "files belong"), if count == 1 { "it" } else { "them" });
        out!("{belong} to no snapshot; `gstore gc{}` removes {them}", context.at_store());
    }
    print_ways_out(context, &report.problems)
}

/// What can be done about what is listed.
fn print_ways_out(context: &Context, problems: &[Problem]) -> Result<()> {
    let store = context.at_store();
    if problems.iter().any(|problem| problem.in_the_way) {
        out!(
            "what is in the place of a file or folder has to be moved away first, which no repair does; then \
             `gstore verify{store}` tells what is missing"
        );
    }
    let damaged = || problems.iter().filter(|problem| !problem.in_the_way);
    if damaged().next().is_some() {
        out!("what is listed cannot be read; everything else is intact");
        out!(
            "`gstore verify --repair{store}` saves what is sound of it; `gstore restore` brings back a backup"
        );
    }
    if damaged().any(|problem| problem.file.starts_with("tombstones/")) {
        out!(
            "where nothing tells which rows are deleted, `gstore revert --to N{store}` goes back to a snapshot from before, and \
             `gstore verify --repair --forget-deletes{store}` lets the rows come back"
        );
    }
    Ok(())
}

/// The report of a store whose snapshots cannot be read: that one problem.
fn print_unreadable(context: &Context, args: &VerifyArgs, error: &VerifyError) -> Result<()> {
    if args.json {
        let problems = json!({ "snapshot": null, "problems": [error.damage()] });
        print_json(&problems)?;
    } else {
        // The command that it names is this one.
        let own = Remedy::Verify.to_string();
        for line in error.to_string().lines().filter(|line| !line.contains(&own)) {
            out!("{line}");
        }
        out!(
            "`gstore verify --repair{}` finds the newest sound state; `gstore restore` brings back a backup",
            context.at_store()
        );
    }
    Ok(())
}

fn repair(context: &Context, args: &VerifyArgs) -> Result<ExitCode> {
    let command = context.command.clone();
    let options = RepairOptions { dry_run: args.dry_run, command, forget_deletes: args.forget_deletes };
    let mut reporter = context.reporter();
    let mut bytes = TotalProgress::new(&mut reporter, "verify", Unit::Bytes);
    let report = Store::repair_folder(context.store_path()?, options, &mut |p| {
        bytes.at(p.bytes_done, p.bytes_total);
    })?;
    bytes.finish();
    // Lost data is named as far as the store can be read in its present state.
    let now = context.open().ok().and_then(|store| store.snapshot().ok());
    print_repair(args, &report, now.as_deref())?;
    let damaged = !report.unrepaired.is_empty() || (report.dry_run && !report.is_sound());
    Ok(if damaged { ExitCode::from(DAMAGED) } else { ExitCode::SUCCESS })
}

fn print_repair(args: &VerifyArgs, report: &RepairReport, now: Option<&Snapshot>) -> Result<()> {
    if args.json {
        return print_json(report);
    }
    print_problems(&report.problems)?;
    for rebuilt in &report.rebuilt {
        out!(
            "{}: {} from {}",
            if report.dry_run { "to rebuild" } else { "rebuilt" },
            rebuilt.what,
            rebuilt.from
        );
    }
    for loss in &report.lost {
        out!("lost: {}", affected(&loss.rows, ""));
        let known = || (!loss.ids.is_empty()).then(|| first_of(&loss.ids, SHOWN));
        if let Some(ids) = now.and_then(|now| lost_ids(now, loss)).or_else(known) {
            out!("  ids: {ids}");
        }
        out!("  {}", loss.remedy);
        if let Some(command) = &loss.command {
            out!("  that command: {}", given_again(command));
        }
    }
    for left in &report.unrepaired {
        out!("still damaged: {left}");
    }
    for note in &report.notes {
        out!("note: {note}");
    }
    if let Some(first) = report.history_from {
        match report.tags_before.as_slice() {
            [] => out!("the snapshots before {first} are given up"),
            tags => {
                let tags = first_of(tags, SHOWN);
                out!(
                    "of the snapshots before {first} only the tagged ones ({tags}) can still be read: the others are given up"
                );
            }
        }
    }
    match report.snapshot {
        _ if report.is_sound() => out!("nothing to repair"),
        Some(number) if report.dry_run => {
            out!("a repair would publish snapshot {number}; nothing was changed")
        }
        Some(number) => out!("repaired in snapshot {number}"),
        None if report.rebuilt.is_empty() && report.lost.is_empty() => {
            out!("nothing could be repaired; no snapshot was published")
        }
        None => out!("no snapshot had to be published"),
    }
    Ok(())
}

fn print_problems(problems: &[Problem]) -> Result<()> {
    for problem in problems {
        print(problem)?;
    }
    Ok(())
}

/// The first few ids of the samples whose vectors or counts are lost.
fn lost_ids(now: &Snapshot, loss: &Loss) -> Option<String> {
    let samples = now.samples(now.dataset(loss.dataset.as_deref()?).ok()?).ok()?;
    let rows = RowSet::from_pairs(&loss.rows.ranges);
    if rows.len() != loss.rows.count {
        // Which ones of them is not known.
        return None;
    }
    let rows: Vec<u64> = rows.intersection(samples.rows()).iter().take(SHOWN + 1).collect();
    let batch = samples.get(&rows, &["id"]).ok()?;
    let ids: Vec<&str> = batch.column(0).as_string_opt::<i32>()?.iter().flatten().collect();
    (!ids.is_empty()).then(|| first_of(ids, SHOWN))
}

/// How many ids and ranges are shown.
const SHOWN: usize = 8;

/// What is affected, what became of it, and its first few row ranges, as far as they are known.
fn affected(rows: &AffectedRows, became: &str) -> String {
    let of = match rows.count {
        0 => rows.of.clone(),
        count => format!("{} of {}", many(count, "row"), rows.of),
    };
    let ranges = first_of(rows.ranges.iter().map(|[start, end]| format!("{start}..{end}")), SHOWN);
    let before = if ranges.is_empty() { "" } else { ": " };
    format!("{of}{became}{before}{ranges}")
}

fn print(problem: &Problem) -> Result<()> {
    let place = problem.offset.map_or(String::new(), |offset| format!(" at byte {offset}"));
    out!("{}: {}{place}: expected {}, found {}", problem.file, problem.what, problem.expected, problem.found);
    if let Some(rows) = &problem.rows {
        out!("  {}", affected(rows, " cannot be read"));
    }
    Ok(())
}
