//! The stages of a pipeline one after another, with a note of each in the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use gstore_core::Cancel;

use super::added::{OVERWRITE, in_the_way, replaced_resources};
use super::child::{ChildCommand, header};
use super::outcome::StageOutcome;
use super::state::{RunLocks, StateFolder};
use crate::context::Context;
use crate::failure::{REFUSED, STOPPED};
use crate::pipeline::report::{self, StageReport};
use crate::pipeline::{
    Decider, Journal, Plan, PlannedStage, Resource, RunReason, StageRecord, StageRun, StageState, Versions,
};

pub struct Runner<'a> {
    pub context: &'a Context,
    pub plan: &'a Plan,
    pub state: StateFolder,
    pub locks: RunLocks,
    pub cancel: Arc<Cancel>,
    pub journal: Journal,
    pub versions: Versions,
    pub threads: usize,
    pub forced: BTreeSet<usize>,
}

impl Runner<'_> {
    /// Runs the chosen stages that are not up to date; stops at a failure, unless others are to go on.
    pub fn run(&mut self, chosen: &BTreeSet<usize>, keep_going: bool) -> Result<Vec<StageOutcome>> {
        let mut outcomes = vec![StageOutcome::Left; self.plan.stages.len()];
        for (number, &place) in chosen.iter().enumerate() {
            let stage = &self.plan.stages[place];
            if let Some(blocked) = StageOutcome::blocked(&outcomes, self.plan, place) {
                outcomes[place] = blocked;
                continue;
            }
            if self.cancel.is_raised() {
                outcomes[place] = StageOutcome::Stopped;
                break;
            }
            let mut look = Decider { plan: self.plan, journal: &self.journal, versions: &mut self.versions };
            let decision = look.decide(place, self.forced.contains(&place))?;
            let (name, at) = (stage.name(), format!("[{}/{}]", number + 1, chosen.len()));
            outcomes[place] = match decision {
                None => {
                    self.context.say(&format!("{at} {name}: up to date"));
                    StageOutcome::UpToDate
                }
                Some(why) => {
                    self.context.say(&format!("{at} {name}, since {why}: {}", stage.call.line()));
                    self.stage(place, &why)?
                }
            };
            let ended = &outcomes[place];
            if *ended == StageOutcome::Stopped || ended.has_failed() && !keep_going {
                break;
            }
        }
        self.journal.files = self.versions.files.clone();
        self.journal.write(&self.state.journal())?;
        Ok(outcomes)
    }

    /// Runs a stage, noted before and after.
    fn stage(&mut self, place: usize, why: &RunReason) -> Result<StageOutcome> {
        let stage = &self.plan.stages[place];
        if let Some(changed) = self.changed_by_others(stage, why)? {
            return Ok(StageOutcome::Changed(changed));
        }
        let mut look = Decider { plan: self.plan, journal: &self.journal, versions: &mut self.versions };
        let asked = look.asked(place)?;
        let is_missing =
            |read: &&Resource| read.as_path().is_some() && !asked.inputs.contains_key(&read.to_string());
        if let Some(missing) = stage.reads.iter().find(is_missing) {
            return Ok(StageOutcome::Failed(format!("{missing} does not exist")));
        }
        for written in stage.writes.iter().filter_map(Resource::as_path) {
            if let Some(folder) = self.plan.base.join(written).parent() {
                fs_err::create_dir_all(folder)?;
            }
        }
        let old = self.journal.stages.get(stage.name()).cloned();
        let forced = self.forced.contains(&place);
        let stays = !forced && self.has_done(stage, old.as_ref(), &asked)?;
        let again = old.as_ref().is_some_and(|old| forced || old.asked != asked && !stays);
        let (own, others) = self.own(stage, old.as_ref())?;
        let ours = others.is_empty();
        let more = self.options(stage, old.as_ref().filter(|_| ours && !stays), again)?;
        let done = old.as_ref().and_then(StageRecord::last_done);
        let before = match old {
            Some(old) if again && !old.outputs.is_empty() => old.outputs,
            Some(old) => old.before,
            None => BTreeMap::new(),
        };
        let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let ran = StageRun { began, ..StageRun::default() };
        let overwrites = more.iter().any(|option| option == OVERWRITE);
        let drops = ours && (again || overwrites) && self.has_run(stage)?;
        if (drops || overwrites)
            && let Some(refused) = self.tried(stage, &more, self.context.quiet)?
        {
            // Nothing of it was changed: with the former options it is up to date.
            return Ok(refused);
        }
        let record = StageRecord {
            state: StageState::Running,
            asked,
            store: Some(self.plan.store_of(place)),
            before,
            done,
            overwrites,
            own,
            ran,
            ..StageRecord::default()
        };
        self.journal.stages.insert(stage.name().to_owned(), record);
        self.journal.write(&self.state.journal())?;
        if drops && let Some(outcome) = self.drop_run(stage)? {
            return self.note(place, outcome, StageRun { began, ..StageRun::default() }, &others);
        }
        self.process(place, began, &more, &others)
    }

    /// The stage's process, with the versions of what is there that it did not make.
    fn process(
        &mut self,
        place: usize,
        began: u64,
        more: &[String],
        others: &BTreeMap<String, String>,
    ) -> Result<StageOutcome> {
        let stage = &self.plan.stages[place];
        let (name, begun) = (stage.name(), Instant::now());
        let argv = stage.call.argv_with(more);
        let task = self.task(stage, began, &argv[1..])?;
        let status = task.run(&self.cancel, |process| {
            let mut journal = self.journal.clone();
            if let Some(record) = journal.stages.get_mut(name) {
                record.process = Some(process);
            }
            journal.write(&self.state.journal())
        })?;
        let said = task.said()?;
        let ran = StageRun {
            began,
            seconds: begun.elapsed().as_secs_f64(),
            code: status.code(),
            summary: if more.iter().any(|option| option == "--json") { task.summary()? } else { None },
            said,
        };
        let outcome = match status.code() {
            Some(0) => self.check(stage),
            Some(code) if code == i32::from(STOPPED) => StageOutcome::Stopped,
            None if self.cancel.is_raised() => StageOutcome::Stopped,
            Some(code) if code == i32::from(REFUSED) => {
                let said = ran.said.as_deref().unwrap_or_default().trim_start_matches("error: ");
                StageOutcome::Refused(format!("{said}; log: {}", task.log.display()))
            }
            code => {
                let how = code.map_or("a signal ended it".to_owned(), |code| format!("exit code {code}"));
                let said = ran.said.as_deref().unwrap_or("it said nothing");
                let log = task.log.display();
                match in_the_way(stage, said, others) {
                    Some(why) => StageOutcome::Changed(format!("{why}; log: {log}")),
                    None => StageOutcome::Failed(format!("{how}, {said}; log: {log}")),
                }
            }
        };
        self.note(place, outcome, ran, others)
    }

    /// What ended well must have left what it is to write.
    fn check(&self, stage: &PlannedStage) -> StageOutcome {
        let is_there = |path: &&Path| !Versions::found(&self.plan.base, path).is_empty();
        match stage.writes.iter().filter_map(Resource::as_path).find(|path| !is_there(path)) {
            Some(path) => StageOutcome::Failed(format!("it succeeded but did not write {}", path.display())),
            None => StageOutcome::Done,
        }
    }

    /// Notes how a stage ended. Of what `others` had made, the stage owns what it has replaced, and not what
    /// it has left as it was because it fits.
    fn note(
        &mut self,
        place: usize,
        outcome: StageOutcome,
        ran: StageRun,
        others: &BTreeMap<String, String>,
    ) -> Result<StageOutcome> {
        let stage = &self.plan.stages[place];
        if let Some(record) = self.journal.stages.get_mut(stage.name()) {
            record.state = match outcome {
                StageOutcome::Done => StageState::Done,
                StageOutcome::Stopped => StageState::Stopped,
                _ => StageState::Failed,
            };
            record.ran = ran;
        }
        self.plan.note(place, &mut self.journal, &mut self.versions)?;
        if let Some(record) = self.journal.stages.get_mut(stage.name()) {
            if record.state == StageState::Done {
                let written =
                    others.iter().filter(|(name, version)| record.outputs.get(*name) != Some(*version));
                record.own.extend(written.map(|(name, _)| name.clone()));
            } else {
                // What it did not make, others may make before it runs again.
                let written: BTreeSet<String> = replaced_resources(stage).map(Resource::to_string).collect();
                record.own.retain(|name| record.outputs.contains_key(name) || !written.contains(name));
            }
        }
        self.journal.files = self.versions.files.clone();
        self.journal.write(&self.state.journal())?;
        Ok(outcome)
    }

    /// A process for a stage, of these words behind the program's name, with their line in its log.
    pub(super) fn task<'t>(
        &'t self,
        stage: &PlannedStage,
        began: u64,
        argv: &'t [OsString],
    ) -> Result<ChildCommand<'t>> {
        let (log, printed) = (self.state.log(stage.name()), self.state.printed(stage.name()));
        header(&log, began, argv)?;
        let (base, lock, quiet) = (self.plan.base.as_path(), &self.locks.stage, self.context.quiet);
        let said_before = fs_err::metadata(&log).map_or(0, |found| found.len());
        Ok(ChildCommand { argv, base, log, said_before, printed, lock, quiet })
    }

    /// Writes the report; returns its path.
    pub fn report(&self, title: &str, outcomes: &[StageOutcome]) -> Result<PathBuf> {
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
