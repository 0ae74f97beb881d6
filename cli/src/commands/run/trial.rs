//! The trial of stages before any runs: their commands' own dry runs, which tell what they would take and
//! what they refuse.

use std::collections::BTreeSet;

use anyhow::Result;
use gstore_core::Cancel;

use super::added::dry_run_options;
use super::child::ChildCommand;
use crate::failure::USAGE;
use crate::pipeline::{Decider, Plan, PlannedStage, RunReason, StageRequest};

/// Commands whose dry run says what they would take.
const ESTIMATING: [&str; 4] = ["daunce", "ingest", "matrix", "train"];

pub enum DryRun {
    /// What it printed.
    Told(String),
    /// The command refuses its options, and why.
    Refused(String),
    /// It fails otherwise, and why: before the stage runs that says nothing of it.
    Failed(String),
    /// It was told to stop.
    Stopped,
    /// It has no dry run.
    Unknown,
}

/// Why a stage would run, where the stages `running` do, and whether it can be tried: what it reads is there,
/// and none of those changes it. None: it is up to date.
pub fn would_run(
    look: &mut Decider<'_>,
    place: usize,
    is_forced: bool,
    running: &BTreeSet<usize>,
) -> Result<Option<(RunReason, bool)>> {
    let plan = look.plan;
    let stage = &plan.stages[place];
    let upstream = stage.needs.iter().find(|need| running.contains(*need));
    let why = match (look.decide(place, is_forced)?, upstream) {
        (Some(why), _) => why,
        (None, Some(upstream)) => RunReason::Upstream(plan.stages[*upstream].name().to_owned()),
        (None, None) => return Ok(None),
    };
    let can_be_tried = upstream.is_none() && is_ready(stage, &look.asked(place)?);
    Ok(Some((why, can_be_tried)))
}

/// Whether everything is there that a stage reads.
fn is_ready(stage: &PlannedStage, asked: &StageRequest) -> bool {
    stage.reads.iter().all(|read| asked.inputs.contains_key(&read.to_string()))
}

/// Asks a stage's command for its dry run, and keeps nothing of what it says.
pub fn ask_dry_run(
    plan: &Plan,
    stage: &PlannedStage,
    threads: usize,
    ran_before: bool,
    cancel: &Cancel,
) -> Result<DryRun> {
    let call = &stage.call;
    if !ESTIMATING.contains(&call.words[0].as_str()) || !call.knows("dry_run") {
        return Ok(DryRun::Unknown);
    }
    let argv = call.argv_with(&dry_run_options(call, threads, ran_before));
    let (folder, nothing) = (tempfile::tempdir()?, fs_err::File::open("/dev/null")?.into_file());
    let (log, printed) = (folder.path().join("log"), folder.path().join("out"));
    let (argv, base, lock) = (&argv[1..], plan.base.as_path(), &nothing);
    run(&ChildCommand { argv, base, log, said_before: 0, printed, lock, quiet: true }, cancel)
}

pub fn run(task: &ChildCommand<'_>, cancel: &Cancel) -> Result<DryRun> {
    let status = task.run_dry(cancel)?;
    if status.success() {
        return Ok(DryRun::Told(String::from_utf8_lossy(&fs_err::read(&task.printed)?).into_owned()));
    }
    if cancel.is_raised() {
        return Ok(DryRun::Stopped);
    }
    let said = task.said()?.unwrap_or_else(|| "it said nothing".to_owned());
    let said = said.trim_start_matches("error: ").to_owned();
    Ok(match status.code() == Some(i32::from(USAGE)) {
        true => DryRun::Refused(said),
        false => DryRun::Failed(said),
    })
}

/// The chosen stages that would be refused, as lines; of those that need one that runs nothing is known yet.
pub fn refused_stages(
    look: &mut Decider<'_>,
    chosen: &BTreeSet<usize>,
    forced: &BTreeSet<usize>,
    threads: usize,
    cancel: &Cancel,
) -> Result<Vec<String>> {
    let (plan, journal) = (look.plan, look.journal);
    let (mut running, mut refused) = (BTreeSet::new(), Vec::new());
    for &place in chosen {
        if cancel.is_raised() {
            break;
        }
        let decided = match would_run(look, place, forced.contains(&place), &running) {
            Err(_) if cancel.is_raised() => break,
            decided => decided?,
        };
        let Some((_, can_be_tried)) = decided else { continue };
        running.insert(place);
        let stage = &plan.stages[place];
        let ran_before = journal.stages.contains_key(stage.name());
        if can_be_tried && let DryRun::Refused(why) = ask_dry_run(plan, stage, threads, ran_before, cancel)? {
            refused.push(line(stage, &why));
        }
    }
    Ok(refused)
}

/// The chosen stages that would delete rows besides those of their earlier options, as lines.
pub fn earlier_deletions(
    look: &Decider<'_>,
    chosen: &BTreeSet<usize>,
    forced: &BTreeSet<usize>,
) -> Vec<String> {
    let refused = |place: &usize| Some(line(&look.plan.stages[*place], &look.earlier_deletion(*place)?));
    chosen.difference(forced).filter_map(refused).collect()
}

/// What is said of a stage that would be refused.
pub fn line(stage: &PlannedStage, why: &str) -> String {
    format!("stage {} would be refused: {why}", stage.name())
}
