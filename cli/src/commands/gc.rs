//! `gstore gc`: removes old snapshots and the files that nothing needs.

use anyhow::Result;
use gstore::UPLOAD;
use gstore_core::{Remedy, first_of, many, many_of};
use gstore_store::{GcOptions, GcReport, KeptBecause};
use indicatif::HumanBytes;

use crate::args::GcArgs;
use crate::context::Context;
use crate::remedy::given_again;
use crate::streams::{out, print_json};

pub fn run(context: &Context, args: &GcArgs) -> Result<()> {
    let store = context.open()?;
    let report = store.collect(GcOptions {
        command: context.command.clone(),
        keep: args.keep,
        keep_within: Some(args.keep_within),
        dry_run: args.dry_run,
        drop_jobs: args.drop_jobs,
    })?;
    if args.json {
        print_json(&report)?;
    } else {
        print(&report)?;
        let stay = (store.snapshot()?.number() + 1).saturating_sub(report.oldest);
        if report.snapshots_removed == 0 && stay > args.keep && !args.keep_within.is_zero() {
            context.say(&format!(
                "all {} stay, as one of the last {} or younger than --keep-within; with --keep-within 0s only --keep counts",
                many(stay, "snapshot"),
                many(args.keep, "state")
            ));
        }
    }
    Ok(())
}

fn print(report: &GcReport) -> Result<()> {
    let swept = &report.swept;
    for (kind, removed) in &swept.removed {
        out!("{kind}: {}, {}", many(removed.files, "file"), HumanBytes(removed.bytes));
    }
    for kept in &report.kept {
        match &kept.because {
            KeptBecause::Tag(tag) => out!("snapshot {} stays: tag {tag}", kept.snapshot),
            KeptBecause::Lease { pid, command, .. } => {
                out!("snapshot {} stays: process {pid} reads it ({command})", kept.snapshot);
            }
            _ => out!("snapshot {} stays", kept.snapshot),
        }
    }
    for job in &swept.jobs {
        let command = job.command.as_deref().unwrap_or("an ingest");
        out!("{}", about_job(command, (job.running, job.dropped), job.bytes));
    }
    let strangers = swept.strangers.len() as u64 + swept.more_strangers;
    if strangers > 0 {
        let stay = many_of(strangers, "file is not gstore's and stays", "files are not gstore's and stay");
        out!("{stay}: {}", first_of(&swept.strangers, 5));
    }
    let unfinished = swept.unfinished.len() as u64 + swept.more_unfinished;
    if unfinished > 0 {
        let stay = many_of(unfinished, "unfinished file stays", "unfinished files stay");
        out!(
            "{stay}: {}\n  a file of the same kind is missing, and its content may be there; {} lists what is missing",
            first_of(&swept.unfinished, 5),
            Remedy::Verify
        );
    }
    let denied = swept.denied.len() as u64 + swept.more_denied;
    if denied > 0 {
        let stay = many_of(denied, "leftover of another user stays", "leftovers of another user stay");
        out!("{stay}: {}", first_of(&swept.denied, 5));
    }
    let (would, freed) = if report.dry_run { ("would go", "to free") } else { ("went", "freed") };
    out!(
        "{} {would}, {}, {} {freed}; the history begins with snapshot {}",
        many(report.snapshots_removed, "snapshot"),
        many(swept.files(), "file"),
        HumanBytes(swept.bytes()),
        report.oldest
    );
    Ok(())
}

/// What is said of an unfinished job, which runs or was dropped. Its command stands as it was given, and where
/// it is to be given again, as it can be.
fn about_job(command: &str, (running, dropped): (bool, bool), bytes: u64) -> String {
    let bytes = HumanBytes(bytes);
    match (running, dropped) {
        (true, _) => format!("running: {command}"),
        (false, true) => format!("removed, {bytes}: the progress of {command}"),
        (false, false) => format!(
            "interrupted, {bytes}: {}\n  {}; --drop-jobs discards its progress",
            given_again(command),
            again(command)
        ),
    }
}

/// What becomes of an interrupted job when it is done again.
fn again(command: &str) -> &'static str {
    match command.starts_with(UPLOAD) {
        true => "repeat the upload, which starts over",
        false => "run the same command again to continue",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_runs_is_shown_as_it_was_given() {
        let command = "gstore ingest --dataset pool --features loss --dim 8";
        let again = ": gstore ingest --dataset pool --features loss\n";
        assert_eq!(about_job(command, (true, false), 9), format!("running: {command}"));
        assert_eq!(about_job(command, (false, true), 9), format!("removed, 9 B: the progress of {command}"));
        let interrupted = about_job(command, (false, false), 9);
        assert!(interrupted.contains(again), "{interrupted}");
    }

    #[test]
    fn an_interrupted_upload_does_not_go_on() {
        assert_eq!(again("put vectors of pool (token laptop)"), "repeat the upload, which starts over");
        assert_eq!(again("gstore ingest --store s --dataset pool"), "run the same command again to continue");
    }
}
