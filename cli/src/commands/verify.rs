//! `gstore verify`: reads every file and checks every digest.

use std::process::ExitCode;

use anyhow::Result;
use gstore_ingest::pipeline::{Progress, Unit};
use gstore_store::{Problem, Store, VerifyOptions};

use crate::args::VerifyArgs;
use crate::context::Context;
use crate::failure::DAMAGED;
use crate::output::out;

/// Checks the store; exit code 3 if anything is damaged.
pub fn run(context: &Context, args: &VerifyArgs) -> Result<ExitCode> {
    let mut reporter = context.reporter();
    let mut begun = false;
    let mut seen = 0;
    let options = VerifyOptions { all_snapshots: args.all, ..VerifyOptions::default() };
    // A store may be too damaged to be opened and still say what is wrong with it.
    let report = Store::verify_folder(context.store_path()?, options, &mut |progress| {
        if !begun {
            reporter.start("verify", progress.bytes_total, Unit::Bytes);
            begun = true;
        }
        reporter.advance(progress.bytes_done.saturating_sub(seen));
        seen = progress.bytes_done;
    })?;
    reporter.finish();
    if args.json {
        out!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for problem in &report.problems {
            print(problem)?;
        }
        for note in &report.notes {
            out!("note: {note}");
        }
        out!(
            "snapshot {}: {} files, {} bytes, {} rows checked: {} problems",
            report.snapshot,
            report.files,
            report.bytes,
            report.rows,
            report.problems.len()
        );
        if !report.is_sound() {
            out!("what is listed cannot be read; everything else is intact");
        }
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
}

fn print(problem: &Problem) -> Result<()> {
    let place = problem.offset.map_or(String::new(), |offset| format!(" at byte {offset}"));
    out!("{}: {}{place}: expected {}, found {}", problem.file, problem.what, problem.expected, problem.found);
    if let Some(rows) = &problem.rows {
        let ranges: Vec<String> =
            rows.ranges.iter().take(8).map(|[start, end]| format!("{start}..{end}")).collect();
        let more = if rows.ranges.len() > ranges.len() { ", ..." } else { "" };
        out!("  {} rows of {} cannot be read: {}{more}", rows.count, rows.of, ranges.join(", "));
    }
    Ok(())
}
