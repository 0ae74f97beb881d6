//! `gstore run`: runs the stages of a pipeline that are not up to date, each as a process of this program.

mod added;
mod child;
mod outcome;
mod replacing;
mod runner;
mod show;
mod state;
mod trial;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use serde_json::json;

use crate::args::{self, RunArgs};
use crate::context::Context;
use crate::failure::{NothingSaved, STOPPED, UsageError, refuse};
use crate::origin;
use crate::pipeline::{Decider, Journal, PipelineFile, Plan, Variables, Versions};
use crate::streams::print_json;
use outcome::{BlockCause, StageOutcome};
use runner::Runner;
use state::StateFolder;

/// Plans the pipeline, then shows the plan or runs it.
pub fn run(context: &Context, args: &RunArgs) -> Result<ExitCode> {
    let path = fs_err::canonicalize(&args.pipeline)?;
    if path.extension().is_none_or(|ending| ending != "toml") {
        refuse!(
            "{}: name the file of a pipeline NAME.toml: NAME.state next to it is its own",
            path.display()
        );
    }
    let base = path.parent().unwrap_or(Path::new("/")).to_owned();
    let at = |error: crate::pipeline::PipelineError| {
        UsageError(format!("{}:{}: {}", args.pipeline.display(), error.line, error.message))
    };
    let text = fs_err::read_to_string(&path)?;
    let file = PipelineFile::parse(&text).map_err(at)?;
    let store = store(context, file.store.is_some())?;
    // The parser reads the files of some options, whose paths begin here as in the stages.
    std::env::set_current_dir(&base)?;
    let plan = Plan::new(&args::command(), &file, &base, &set(&args.set)?, store.as_deref()).map_err(at)?;
    let chosen = chosen(&plan, args)?;
    let forced = places(&plan, &args.force)?;
    let state = StateFolder::of(&path);
    let journal = Journal::read(&state.journal())?;
    let mut versions = Versions::new(base);
    versions.files = journal.files.clone();
    let threads = threads(context, &file);
    if args.dry_run {
        let cancel = context.cancel_on_interrupt("stopping the dry run of the stage");
        versions.cancel = Some(Arc::clone(&cancel));
        let known = show::RunContext { journal, versions, chosen, forced, threads, cancel };
        return show::plan(context, args, &plan, known);
    }
    if let Some(place) = forced.iter().find(|place| !chosen.contains(place)) {
        let name = plan.stages[*place].name();
        refuse!("--force {name}: the stage is not among those that --only or --from name");
    }
    let cancel = context.cancel_on_interrupt("stopping the running stage; what it has done is kept");
    let Some(locks) = state.lock(context, &cancel)? else {
        context
            .say("stopped; a stage of a killed run is still running; the same command waits for it to end");
        return Ok(ExitCode::from(STOPPED));
    };
    // What another run noted meanwhile.
    let mut journal = Journal::read(&state.journal())?;
    // No stage is at work now, and the numbers of processes that have ended are given to others in time.
    if journal.stages.values().any(|record| record.process.is_some()) {
        journal.stages.values_mut().for_each(|record| record.process = None);
        journal.write(&state.journal())?;
    }
    versions.cancel = Some(Arc::clone(&cancel));
    let mut look = Decider { plan: &plan, journal: &journal, versions: &mut versions };
    let deletions = trial::earlier_deletions(&look, &chosen, &forced);
    if !deletions.is_empty() {
        bail!("{}", deletions.join("\n"));
    }
    let refused = trial::refused_stages(&mut look, &chosen, &forced, threads, &cancel)?;
    if !refused.is_empty() {
        refuse!("{}", refused.join("\n"));
    }
    // What a stage leaves is noted also when it is stopped.
    versions.cancel = None;
    let mut runner =
        Runner { context, plan: &plan, state, locks, cancel, journal, versions, threads, forced };
    let outcomes = runner.run(&chosen, args.keep_going)?;
    let title = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let report = runner.report(&title, &outcomes)?;
    end(context, args, (&plan, &chosen), &outcomes, &report)
}

/// Says how it went.
fn end(
    context: &Context,
    args: &RunArgs,
    (plan, chosen): (&Plan, &BTreeSet<usize>),
    outcomes: &[StageOutcome],
    report: &Path,
) -> Result<ExitCode> {
    let count = |is: fn(&StageOutcome) -> bool| outcomes.iter().filter(|outcome| is(outcome)).count();
    let (done, skipped) = (count(StageOutcome::is_done), count(|o| *o == StageOutcome::UpToDate));
    let failed = count(StageOutcome::has_failed);
    let refused = count(|outcome| matches!(outcome, StageOutcome::Refused(_)));
    let stopped = count(|outcome| *outcome == StageOutcome::Stopped);
    let is_left =
        |place: &&usize| matches!(outcomes[**place], StageOutcome::Left | StageOutcome::Blocked(..));
    let not_run = chosen.iter().filter(is_left).count();
    let is = |cause: BlockCause| outcomes.iter().any(|outcome| outcome.cause() == Some(cause));
    if args.json {
        let stages = plan.stages.iter().zip(outcomes);
        let stages = stages.map(|(stage, o)| json!({ "name": stage.name(), "outcome": o.to_string() }));
        let summary = json!({
            "finished": failed + refused + stopped == 0, "stages": stages.collect::<Vec<_>>(),
            "failed": failed, "refused": refused, "not_run": not_run, "report": report,
        });
        print_json(&summary)?;
    }
    let others = [(failed, "failed"), (refused, "refused"), (stopped, "stopped"), (not_run, "not run")];
    let others = others.iter().filter(|(number, _)| *number > 0);
    let others: String = others.map(|(number, what)| format!(", {number} {what}")).collect();
    context.say(&format!("{done} run, {skipped} up to date{others}; report: {}", report.display()));
    if stopped > 0 {
        context.say("stopped; finished work is kept: run the same command again to continue");
        return Ok(ExitCode::from(STOPPED));
    }
    let of_stages = plan.stages.iter().zip(outcomes);
    let bad =
        of_stages.filter(|(_, outcome)| outcome.has_failed() || matches!(outcome, StageOutcome::Refused(_)));
    let lines: Vec<String> = bad.map(|(stage, o)| format!("stage {} {o}", stage.name())).collect();
    match (is(BlockCause::Failed), is(BlockCause::Refused)) {
        (false, false) => Ok(ExitCode::SUCCESS),
        (false, true) => bail!(NothingSaved(lines.join("\n"))),
        // Where others changed a folder, the same command is refused again until that is put right.
        _ if !outcomes.iter().any(|outcome| matches!(outcome, StageOutcome::Failed(_))) => {
            bail!("{}", lines.join("\n"))
        }
        _ => bail!("{}\nrun the same command again to continue", lines.join("\n")),
    }
}

/// The store of the command line, which goes before the file's; that of a config file or the environment
/// does not.
fn store(context: &Context, in_file: bool) -> Result<Option<String>> {
    let Some(named) = context.named_store() else { return Ok(None) };
    if in_file && origin::is_configured("store") {
        return Ok(None);
    }
    let path = std::path::absolute(named)?;
    match path.to_str() {
        Some(text) => Ok(Some(text.to_owned())),
        None => refuse!("--store {}: the path must be UTF-8", path.display()),
    }
}

/// The threads of each stage: those of the command line, else the file's.
fn threads(context: &Context, file: &PipelineFile) -> usize {
    match file.threads {
        Some(threads) if !context.threads_given || origin::is_configured("threads") => threads.get(),
        _ => context.threads,
    }
}

fn set(given: &[String]) -> Result<Variables> {
    let pair = |text: &String| -> Result<(String, String)> {
        let (name, value) =
            text.split_once('=').ok_or_else(|| UsageError(format!("--set {text}: expected NAME=VALUE")))?;
        Ok((name.trim().to_owned(), toml_list(value).unwrap_or_else(|| value.to_owned())))
    };
    given.iter().map(pair).collect()
}

/// A list as TOML writes it, with commas between its values as the file's variables have them; none of
/// anything else, as of a pattern that begins with a bracket.
fn toml_list(value: &str) -> Option<String> {
    if !value.trim_start().starts_with('[') {
        return None;
    }
    let table: toml::Table = toml::from_str(&format!("list = {value}")).ok()?;
    let text = |value: &toml::Value| match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => Some(value.to_string()),
        _ => None,
    };
    let values: Option<Vec<String>> = table.get("list")?.as_array()?.iter().map(text).collect();
    Some(values?.join(","))
}

fn places(plan: &Plan, names: &[String]) -> Result<BTreeSet<usize>> {
    let mut found = BTreeSet::new();
    for name in names {
        found.extend(plan.named(name).map_err(UsageError)?);
    }
    Ok(found)
}

fn chosen(plan: &Plan, args: &RunArgs) -> Result<BTreeSet<usize>> {
    if let Some(from) = &args.from {
        let first = plan.named(from).map_err(UsageError)?;
        return Ok(plan.with_dependents(&first));
    }
    match args.only.is_empty() {
        true => Ok((0..plan.stages.len()).collect()),
        false => places(plan, &args.only),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_taken_as_toml_writes_it() {
        let of = |text: &str| set(&[format!("targets={text}")]).expect("a pair")["targets"].clone();
        assert_eq!(of(r#"["a", "b"]"#), "a,b");
        assert_eq!(of("[1, 0.5, true]"), "1,0.5,true");
        assert_eq!(of("a,b"), "a,b");
        // A pattern of names of files is no list.
        assert_eq!(of("[a-z]*.jsonl"), "[a-z]*.jsonl");
    }
}
