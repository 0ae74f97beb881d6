//! The plan of a pipeline: which stages would run and why, and what they would take.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use gstore_core::Cancel;
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::trial::{self, DryRun};
use crate::args::RunArgs;
use crate::context::Context;
use crate::failure::{STOPPED, refuse};
use crate::pipeline::report::time;
use crate::pipeline::{Decider, Journal, Plan, Versions};
use crate::streams::{out, print_json};

/// What is known before anything runs.
pub struct RunContext {
    pub journal: Journal,
    pub versions: Versions,
    pub chosen: BTreeSet<usize>,
    pub forced: BTreeSet<usize>,
    pub threads: usize,
    pub cancel: Arc<Cancel>,
}

/// What a stage would take.
#[derive(Debug, Default)]
struct StageNeeds {
    seconds: Option<f64>,
    disk: Option<String>,
    memory: Option<String>,
}

/// Prints the plan; changes nothing.
pub fn plan(context: &Context, args: &RunArgs, plan: &Plan, mut known: RunContext) -> Result<ExitCode> {
    let (mut stages, mut seconds) = (Vec::new(), 0.0);
    let (mut running, mut refused, mut unknown) = (BTreeSet::new(), Vec::new(), 0);
    let mut deletions = Vec::new();
    for &place in &known.chosen {
        if known.cancel.is_raised() {
            return Ok(ExitCode::from(STOPPED));
        }
        let stage = &plan.stages[place];
        let mut look = Decider { plan, journal: &known.journal, versions: &mut known.versions };
        let would_run = match trial::would_run(&mut look, place, known.forced.contains(&place), &running) {
            Err(_) if known.cancel.is_raised() => return Ok(ExitCode::from(STOPPED)),
            would_run => would_run?,
        };
        let deletion = look.earlier_deletion(place).filter(|_| !known.forced.contains(&place));
        deletions.extend(deletion.as_ref().map(|why| trial::line(stage, why)));
        let Some((why, can_be_tried)) = would_run else {
            stages.push(json!({ "name": stage.name(), "action": "skip", "command": stage.call.line() }));
            if !args.json {
                out!("skip  {}: up to date", stage.name());
            }
            continue;
        };
        running.insert(place);
        let before = known.journal.stages.get(stage.name()).map(|record| record.ran.seconds);
        let mut needs =
            StageNeeds { seconds: before.filter(|seconds| *seconds > 0.0), ..StageNeeds::default() };
        let tried = match can_be_tried {
            true => trial::ask_dry_run(plan, stage, known.threads, before.is_some(), &known.cancel)?,
            false => DryRun::Unknown,
        };
        let refusal = match tried {
            DryRun::Told(text) => {
                needs.read(&text);
                None
            }
            DryRun::Refused(why) => Some(why),
            DryRun::Stopped => return Ok(ExitCode::from(STOPPED)),
            DryRun::Failed(_) | DryRun::Unknown => None,
        };
        match needs.seconds {
            Some(taken) => seconds += taken,
            None => unknown += 1,
        }
        stages.push(json!({
            "name": stage.name(), "action": "run", "command": stage.call.line(), "why": why.to_string(),
            "seconds": needs.seconds, "disk": needs.disk, "memory": needs.memory,
            "refused": deletion.as_ref().or(refusal.as_ref()),
        }));
        if !args.json {
            out!("run   {}, since {why}{}", stage.name(), needs_line(&needs));
            out!("      {}", stage.call.line());
            if let Some(why) = deletion.as_ref().or(refusal.as_ref()) {
                out!("      would be refused: {why}");
            }
        }
        refused.extend(refusal.map(|why| trial::line(stage, &why)));
    }
    if args.json {
        let all = json!({ "stages": stages, "seconds": seconds, "without_time": unknown });
        print_json(&all)?;
    }
    context.say(&format!(
        "{} of {} stages would run{}",
        running.len(),
        known.chosen.len(),
        time_summary(running.len() - unknown, unknown, seconds)
    ));
    match (refused.is_empty(), deletions.is_empty()) {
        (true, true) => Ok(ExitCode::SUCCESS),
        (true, false) => bail!("{}", deletions.join("\n")),
        (false, _) => refuse!("{}", [refused, deletions].concat().join("\n")),
    }
}

/// How long the stages take that would run, as a part of a sentence: those of `known` time take `seconds`.
fn time_summary(known: usize, unknown: usize, seconds: f64) -> String {
    match (known, unknown) {
        (0, 0) => String::new(),
        (0, _) => "; how long that takes is not known yet".to_owned(),
        (_, 0) => format!(", in about {}", time(seconds)),
        _ => {
            format!(", {known} of them in about {}, and {unknown} whose time is not known yet", time(seconds))
        }
    }
}

fn needs_line(needs: &StageNeeds) -> String {
    let taken = needs.seconds.map(time);
    let parts = [("time", &taken), ("disk", &needs.disk), ("memory", &needs.memory)];
    let parts = parts.iter().filter_map(|(name, value)| Some(format!("; {name} {}", value.as_ref()?)));
    parts.collect()
}

impl StageNeeds {
    /// What the command itself says that it would take, as JSON.
    fn read(&mut self, text: &str) {
        let Ok(told) = serde_json::from_str::<Value>(text) else { return };
        let bytes = |key| told.get(key).and_then(Value::as_u64).map(|bytes| HumanBytes(bytes).to_string());
        self.seconds = told.get("seconds").and_then(Value::as_f64).or(self.seconds);
        (self.disk, self.memory) = (bytes("disk"), bytes("memory"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_as_far_as_they_are_known() {
        let of = time_summary;
        assert_eq!(of(0, 0, 0.0), "");
        assert_eq!(of(0, 34, 0.0), "; how long that takes is not known yet");
        assert_eq!(of(7, 0, 65.0), ", in about 1 min 5 s");
        assert_eq!(of(5, 2, 3.21), ", 5 of them in about 3.2 s, and 2 whose time is not known yet");
    }

    #[test]
    fn a_stage_needs_what_its_dry_run_says() {
        let mut needs = StageNeeds { seconds: Some(4.0), ..StageNeeds::default() };
        needs.read("grad-adam: one_sided");
        assert_eq!(needs_line(&needs), "; time 4.0 s");
        needs.read(r#"{"rows": 3, "seconds": 2.5, "disk": 2048, "memory": null}"#);
        assert_eq!(needs_line(&needs), "; time 2.5 s; disk 2.00 KiB");
    }
}
