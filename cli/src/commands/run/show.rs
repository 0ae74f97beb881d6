//! The plan of a pipeline: which stages would run and why, and what they would take.

use std::collections::BTreeSet;
use std::process::{Command, ExitCode, Stdio};

use anyhow::Result;
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::runner::is_ready;
use crate::args::RunArgs;
use crate::context::Context;
use crate::output::out;
use crate::pipeline::report::time;
use crate::pipeline::{Decision, Journal, Look, Plan, PlannedStage, Versions, Why};

/// Commands whose dry run says what they would take.
const ESTIMATING: [&str; 4] = ["daunce", "ingest", "matrix", "train"];

/// What is known before anything runs.
pub struct Known {
    pub journal: Journal,
    pub versions: Versions,
    pub chosen: BTreeSet<usize>,
    pub forced: BTreeSet<usize>,
    pub threads: usize,
}

/// What a stage would take.
#[derive(Debug, Default)]
struct Needs {
    seconds: Option<f64>,
    time: Option<String>,
    disk: Option<String>,
    memory: Option<String>,
}

/// Prints the plan; changes nothing.
pub fn plan(context: &Context, args: &RunArgs, plan: &Plan, mut known: Known) -> Result<ExitCode> {
    let (mut stages, mut seconds) = (Vec::new(), 0.0);
    let (mut running, mut unknown) = (BTreeSet::new(), 0);
    for &place in &known.chosen {
        let stage = &plan.stages[place];
        let mut look = Look { plan, journal: &known.journal, versions: &mut known.versions };
        let mut decision = look.decide(place, known.forced.contains(&place))?;
        let upstream = stage.needs.iter().find(|need| running.contains(*need));
        if let (Decision::Skip, Some(upstream)) = (&decision, upstream) {
            decision = Decision::Run(Why::Upstream(plan.stages[*upstream].name().to_owned()));
        }
        let Decision::Run(why) = decision else {
            stages.push(json!({ "name": stage.name(), "action": "skip", "command": stage.call.line() }));
            if !args.json {
                out!("skip  {}: up to date", stage.name());
            }
            continue;
        };
        running.insert(place);
        let before = known.journal.stages.get(stage.name()).map(|record| record.ran.seconds);
        let mut needs = Needs { seconds: before.filter(|seconds| *seconds > 0.0), ..Needs::default() };
        if upstream.is_none() && is_ready(stage, &look.asked(place)?) {
            estimate(plan, stage, known.threads, &mut needs)?;
        }
        match needs.seconds {
            Some(taken) => seconds += taken,
            None => unknown += 1,
        }
        stages.push(json!({
            "name": stage.name(), "action": "run", "command": stage.call.line(), "why": why.to_string(),
            "seconds": needs.seconds, "disk": needs.disk, "memory": needs.memory,
        }));
        if !args.json {
            out!("run   {}, since {why}{}", stage.name(), told(&needs));
            out!("      {}", stage.call.line());
        }
    }
    if args.json {
        let all = json!({ "stages": stages, "seconds": seconds, "without_time": unknown });
        out!("{}", serde_json::to_string_pretty(&all)?);
    }
    context.say(&format!(
        "{} of {} stages would run; {} for those whose time is known, and {unknown} without",
        running.len(),
        known.chosen.len(),
        time(seconds)
    ));
    Ok(ExitCode::SUCCESS)
}

fn told(needs: &Needs) -> String {
    let taken = needs.time.clone().or(needs.seconds.map(time));
    let parts = [("time", &taken), ("disk", &needs.disk), ("memory", &needs.memory)];
    let parts = parts.iter().filter_map(|(name, value)| Some(format!("; {name} {}", value.as_ref()?)));
    parts.collect()
}

/// What the command itself says that it would take. A command that cannot tell is no error of the plan.
fn estimate(plan: &Plan, stage: &PlannedStage, threads: usize, needs: &mut Needs) -> Result<()> {
    let call = &stage.call;
    if !ESTIMATING.contains(&call.words[0].as_str()) || !call.knows("dry_run") {
        return Ok(());
    }
    let mut more = vec!["--dry-run".to_owned(), "--quiet".to_owned()];
    if !call.common.iter().any(|option| option.starts_with("--threads=")) {
        more.push(format!("--threads={threads}"));
    }
    if call.knows("json") {
        more.push("--json".to_owned());
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.args(&call.argv_with(&more)[1..]).current_dir(&plan.base).env_remove("GSTORE_STORE");
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    match serde_json::from_str::<Value>(&text) {
        Ok(value) => of_json(&value, needs),
        Err(_) => of_lines(&text, needs),
    }
    Ok(())
}

fn of_json(value: &Value, needs: &mut Needs) {
    let bytes = |key: &str| value.get(key).and_then(Value::as_u64).map(|bytes| HumanBytes(bytes).to_string());
    if let Some(seconds) = value.get("seconds").and_then(Value::as_f64) {
        (needs.seconds, needs.time) = (Some(seconds), Some(time(seconds)));
    }
    (needs.disk, needs.memory) = (bytes("disk"), bytes("memory"));
}

/// Lines such as `disk         3.1 MiB, 20 GiB free`.
fn of_lines(text: &str, needs: &mut Needs) {
    let line = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        rest.map(|rest| rest.trim().to_owned())
    };
    (needs.disk, needs.memory) = (line("disk"), line("memory"));
    needs.time = line("time").or(needs.time.take());
}
