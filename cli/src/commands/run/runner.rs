//! The stages of a pipeline one after another, with a note of each in the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use gstore_core::Cancel;

use super::child::Task;
use super::outcome::Outcome;
use super::state::{Locks, StateFolder};
use crate::context::Context;
use crate::failure::STOPPED;
use crate::pipeline::report::{self, StageReport};
use crate::pipeline::{
    Asked, Decision, Journal, Look, Plan, PlannedStage, Ran, Record, Resource, State, Versions,
};

/// Lets a training take the folder of another one.
const OVERWRITE: &str = "--overwrite-output-dir";

/// What a run has.
pub struct Runner<'a> {
    pub context: &'a Context,
    pub plan: &'a Plan,
    pub state: StateFolder,
    pub locks: Locks,
    pub cancel: Arc<Cancel>,
    pub journal: Journal,
    pub versions: Versions,
    pub threads: usize,
    pub forced: BTreeSet<usize>,
}

impl Runner<'_> {
    /// Runs the chosen stages that are not up to date; stops at a failure, unless others are to go on.
    pub fn run(&mut self, chosen: &BTreeSet<usize>, keep_going: bool) -> Result<Vec<Outcome>> {
        let mut outcomes = vec![Outcome::Left; self.plan.stages.len()];
        for (number, &place) in chosen.iter().enumerate() {
            let stage = &self.plan.stages[place];
            let bad = |need: &&usize| matches!(outcomes[**need], Outcome::Failed(_) | Outcome::Blocked(_));
            if let Some(need) = stage.needs.iter().find(bad) {
                outcomes[place] = Outcome::Blocked(self.plan.stages[*need].name().to_owned());
                continue;
            }
            if self.cancel.is_raised() {
                outcomes[place] = Outcome::Stopped;
                break;
            }
            let mut look = Look { plan: self.plan, journal: &self.journal, versions: &mut self.versions };
            let decision = look.decide(place, self.forced.contains(&place))?;
            let (name, at) = (stage.name(), format!("[{}/{}]", number + 1, chosen.len()));
            outcomes[place] = match decision {
                Decision::Skip => {
                    self.context.say(&format!("{at} {name}: up to date"));
                    Outcome::UpToDate
                }
                Decision::Run(why) => {
                    self.context.say(&format!("{at} {name}, since {why}: {}", stage.call.line()));
                    self.stage(place)?
                }
            };
            let ends = match outcomes[place] {
                Outcome::Stopped => true,
                Outcome::Failed(_) => !keep_going,
                _ => false,
            };
            if ends {
                break;
            }
        }
        self.journal.files = self.versions.files.clone();
        self.journal.write(&self.state.journal())?;
        Ok(outcomes)
    }

    /// Runs a stage, noted before and after.
    fn stage(&mut self, place: usize) -> Result<Outcome> {
        let stage = &self.plan.stages[place];
        let mut look = Look { plan: self.plan, journal: &self.journal, versions: &mut self.versions };
        let asked = look.asked(place)?;
        let is_missing =
            |read: &&Resource| read.as_path().is_some() && !asked.inputs.contains_key(&read.to_string());
        if let Some(missing) = stage.reads.iter().find(is_missing) {
            return Ok(Outcome::Failed(format!("{missing} is not there")));
        }
        for written in stage.writes.iter().filter_map(Resource::as_path) {
            if let Some(folder) = self.plan.base.join(written).parent() {
                fs_err::create_dir_all(folder)?;
            }
        }
        let old = self.journal.stages.get(stage.name()).cloned();
        let again =
            old.is_some() && (self.forced.contains(&place) || old.as_ref().is_some_and(|r| r.asked != asked));
        let more = self.options(stage, old.as_ref(), again)?;
        let before = match old {
            Some(old) if again && !old.outputs.is_empty() => old.outputs,
            Some(old) => old.before,
            None => BTreeMap::new(),
        };
        let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let ran = Ran { began, ..Ran::default() };
        let record = Record {
            state: State::Running,
            asked,
            outputs: BTreeMap::new(),
            before,
            number: 0,
            process: None,
            ran,
        };
        self.journal.stages.insert(stage.name().to_owned(), record);
        self.journal.write(&self.state.journal())?;
        let is_anew = again || more.iter().any(|option| option == OVERWRITE);
        if is_anew && let Some(outcome) = self.drop_run(stage)? {
            return self.note(place, outcome, Ran { began, ..Ran::default() });
        }
        self.process(place, began, &more)
    }

    /// The stage's process.
    fn process(&mut self, place: usize, began: u64, more: &[String]) -> Result<Outcome> {
        let stage = &self.plan.stages[place];
        let (name, begun) = (stage.name(), Instant::now());
        let argv = stage.call.argv_with(more);
        let (log, printed) = (self.state.log(name), self.state.printed(name));
        header(&log, began, &argv)?;
        let task = self.task(&argv[1..], &log, &printed);
        let status = task.run(&self.cancel, |process| {
            let mut journal = self.journal.clone();
            if let Some(record) = journal.stages.get_mut(name) {
                record.process = Some(process);
            }
            journal.write(&self.state.journal())
        })?;
        let said = task.last_line()?;
        let ran = Ran {
            began,
            seconds: begun.elapsed().as_secs_f64(),
            code: status.code(),
            summary: if more.iter().any(|option| option == "--json") { task.summary()? } else { None },
            said,
        };
        let outcome = match status.code() {
            Some(0) => self.check(stage),
            Some(code) if code == i32::from(STOPPED) => Outcome::Stopped,
            None if self.cancel.is_raised() => Outcome::Stopped,
            code => {
                let how = code.map_or("a signal ended it".to_owned(), |code| format!("exit code {code}"));
                let said = ran.said.as_deref().unwrap_or("it said nothing");
                Outcome::Failed(format!("{how}, {said}; log: {}", log.display()))
            }
        };
        self.note(place, outcome, ran)
    }

    /// What ended well must have left what it is to write.
    fn check(&self, stage: &PlannedStage) -> Outcome {
        let is_there = |path: &&Path| !Versions::found(&self.plan.base, path).is_empty();
        match stage.writes.iter().filter_map(Resource::as_path).find(|path| !is_there(path)) {
            Some(path) => Outcome::Failed(format!("it ended well and left no {}", path.display())),
            None => Outcome::Done,
        }
    }

    /// Notes an ending.
    fn note(&mut self, place: usize, outcome: Outcome, ran: Ran) -> Result<Outcome> {
        if let Some(record) = self.journal.stages.get_mut(self.plan.stages[place].name()) {
            record.state = match outcome {
                Outcome::Done => State::Done,
                Outcome::Stopped => State::Stopped,
                _ => State::Failed,
            };
            record.ran = ran;
        }
        self.plan.note(place, &mut self.journal, &mut self.versions)?;
        self.journal.files = self.versions.files.clone();
        self.journal.write(&self.state.journal())?;
        Ok(outcome)
    }

    /// Options that the file does not say: threads, a summary, and leave to replace own results.
    fn options(&mut self, stage: &PlannedStage, old: Option<&Record>, again: bool) -> Result<Vec<String>> {
        let call = &stage.call;
        let mut more = Vec::new();
        if !call.common.iter().any(|option| option.starts_with("--threads=")) {
            more.push(format!("--threads={}", self.threads));
        }
        let prints = !(call.words[0] == "generate" && !call.has("output") && !call.has("as"));
        if call.knows("json") && prints {
            more.push("--json".to_owned());
        }
        let Some(old) = old else { return Ok(more) };
        let mut is_there = false;
        let mut is_of_before = false;
        for written in stage.writes.iter().filter(|written| written.as_path().is_some()) {
            let version = self.versions.of(written)?;
            is_there |= version.is_some();
            is_of_before |= version.is_some() && version.as_ref() == old.before.get(&written.to_string());
        }
        // A training that was begun with other options goes on only if it is still the old one that is there.
        if call.knows("overwrite_output_dir") && !call.has("overwrite_output_dir") {
            if is_there && (again || is_of_before) {
                more.push(OVERWRITE.to_owned());
            }
        } else if (is_there || again)
            && call.knows("force")
            && !call.has("force")
            && call.words[0] != "ingest"
        {
            more.push("--force".to_owned());
        }
        Ok(more)
    }

    /// A training that is another one takes the name of its run from the one before. The outcome, if that
    /// fails.
    fn drop_run(&mut self, stage: &PlannedStage) -> Result<Option<Outcome>> {
        let is_run = |written: &&Resource| matches!(written, Resource::Run { .. });
        let Some(written) = stage.writes.iter().find(is_run) else { return Ok(None) };
        let Resource::Run { run, store } = written else { return Ok(None) };
        if stage.call.words[0] != "train" || self.versions.of(written)?.is_none() {
            return Ok(None);
        }
        let store = format!("--store={}", store.display());
        let argv: Vec<OsString> =
            ["drop", "run", store.as_str(), "--", run.as_str()].iter().map(OsString::from).collect();
        let (log, printed) = (self.state.log(stage.name()), self.state.printed(stage.name()));
        header(&log, 0, &argv)?;
        let status = self.task(&argv, &log, &printed).run(&self.cancel, |_| Ok(()))?;
        Ok((!status.success()).then(|| Outcome::Failed(format!("run {run} could not be dropped"))))
    }

    fn task<'t>(&'t self, argv: &'t [OsString], log: &'t Path, printed: &'t Path) -> Task<'t> {
        let (base, lock, quiet) = (self.plan.base.as_path(), &self.locks.stage, self.context.quiet);
        Task { argv, base, log, printed, lock, quiet }
    }

    /// Writes the report; returns its path.
    pub fn report(&self, title: &str, outcomes: &[Outcome]) -> Result<PathBuf> {
        let stages: Vec<StageReport> = self
            .plan
            .stages
            .iter()
            .zip(outcomes)
            .map(|(stage, outcome)| StageReport {
                name: stage.name().to_owned(),
                line: stage.call.line(),
                outcome: outcome.to_string(),
                ran: self.journal.stages.get(stage.name()).map(|record| record.ran.clone()),
                outputs: stage.writes.iter().map(Resource::to_string).collect(),
                log: format!("logs/{}.log", stage.name()),
            })
            .collect();
        report::write(self.state.path(), title, &stages)?;
        Ok(self.state.path().join("report.html"))
    }
}

/// A line in the log above what the command says.
fn header(log: &Path, began: u64, argv: &[OsString]) -> Result<()> {
    let words: Vec<String> = argv.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut file = fs_err::OpenOptions::new().create(true).append(true).open(log)?;
    let words = words.join(" ");
    let words = words.trim_start_matches("gstore ");
    match began {
        0 => writeln!(file, "# gstore {words}")?,
        began => writeln!(file, "# gstore {words} ({})", report::date(began))?,
    }
    Ok(())
}

/// What a stage would be asked, where everything that it reads is there.
pub fn is_ready(stage: &PlannedStage, asked: &Asked) -> bool {
    stage.reads.iter().all(|read| asked.inputs.contains_key(&read.to_string()))
}
