//! Ownership of results: a stage replaces those of its own earlier runs, and nothing that others put there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use super::added::{OVERWRITE, add, add_json, add_threads, keeps, replaced_resources};
use super::child::ChildCommand;
use super::outcome::StageOutcome;
use super::runner::Runner;
use super::trial::{self, DryRun};
use crate::pipeline::{PlannedStage, Resource, RunReason, StageRecord, StageRequest, StageState};

impl Runner<'_> {
    /// Options that are added to those of the file: threads, a summary, and permission to replace own
    /// results.
    pub(super) fn options(
        &mut self,
        stage: &PlannedStage,
        old: Option<&StageRecord>,
        again: bool,
    ) -> Result<Vec<String>> {
        let call = &stage.call;
        let mut more = Vec::new();
        add_threads(call, self.threads, &mut more);
        add_json(call, &mut more);
        let Some(old) = old else { return Ok(more) };
        if call.knows("overwrite_output_dir") {
            if !call.has("overwrite_output_dir") && self.is_former_training(stage, old, again, &more)? {
                add(call, OVERWRITE, &mut more);
            }
        } else if call.knows("force") && !call.has("force") && !keeps(call) {
            add(call, "--force", &mut more);
        }
        Ok(more)
    }

    /// Whether a stage's folder has a training that is to be replaced: one that was begun with other options
    /// goes on only if it is still the old one that is there, or what a kill left of it.
    fn is_former_training(
        &mut self,
        stage: &PlannedStage,
        old: &StageRecord,
        again: bool,
        more: &[String],
    ) -> Result<bool> {
        let Some(output) = stage.call.value("output") else { return Ok(false) };
        let output = Resource::path(&self.plan.base, output);
        let version = self.versions.of(&output)?;
        if version.is_none() {
            return Ok(false);
        }
        if again || version.as_ref() == old.before.get(&output.to_string()) {
            return Ok(true);
        }
        // What it trained itself before it failed or was killed is no other training, and stays.
        Ok(old.overwrites && old.state != StageState::Done && self.tried(stage, more, true)?.is_some())
    }

    /// Whether a stage's folder has the training that is asked for, as it was when it ended well: other
    /// options that were tried in between have changed nothing.
    pub(super) fn has_done(
        &mut self,
        stage: &PlannedStage,
        old: Option<&StageRecord>,
        asked: &StageRequest,
    ) -> Result<bool> {
        let done = old.and_then(StageRecord::last_done).filter(|done| done.asked == *asked);
        let (Some(done), Some(output)) = (done, stage.call.value("output")) else { return Ok(false) };
        if !stage.call.knows("overwrite_output_dir") {
            return Ok(false);
        }
        let output = Resource::path(&self.plan.base, output);
        let version = self.versions.of(&output)?;
        Ok(version.is_some() && version.as_ref() == done.outputs.get(&output.to_string()))
    }

    /// The names of what a stage may replace, and the versions of what is there that it may not.
    pub(super) fn own(
        &mut self,
        stage: &PlannedStage,
        old: Option<&StageRecord>,
    ) -> Result<(BTreeSet<String>, BTreeMap<String, String>)> {
        let mut own = old.map_or_else(BTreeSet::new, |old| old.own.clone());
        let mut others = BTreeMap::new();
        for written in replaced_resources(stage) {
            let name = written.to_string();
            match self.versions.of(written)? {
                None => {
                    own.insert(name);
                }
                Some(version) if !own.contains(&name) => {
                    others.insert(name, version);
                }
                Some(_) => {}
            }
        }
        Ok((own, others))
    }

    /// Why a stage cannot run whose folder others have changed: a training would go on from what they left of
    /// it, or replace it, and a matrix takes the folder for whole. A picture of a training is drawn again.
    pub(super) fn changed_by_others(
        &mut self,
        stage: &PlannedStage,
        why: &RunReason,
    ) -> Result<Option<String>> {
        let Some(output) = stage.call.value("output") else { return Ok(None) };
        let remedy = match stage.call.words[0].as_str() {
            "train" => format!("put it back, or --force {} trains it again", stage.name()),
            "matrix" => "remove it, and the same command makes it again".to_owned(),
            _ => return Ok(None),
        };
        let output = Resource::path(&self.plan.base, output);
        let left = self.journal.current.get(&output.to_string()).cloned();
        let record = self.journal.stages.get(stage.name());
        let is_noted = match why {
            RunReason::Output(_) => true,
            // Of a stage that was killed it is not known what it left, and another folder is not that of this
            // stage.
            RunReason::Arguments | RunReason::Store | RunReason::Input(_) | RunReason::After(_) => {
                left.is_some() && record.is_some_and(|record| record.state != StageState::Running)
            }
            _ => false,
        };
        if !is_noted {
            return Ok(None);
        }
        let now = self.versions.of(&output)?;
        // What stages of the pipeline left there is no change.
        let is_as_left = now == left;
        let changed = now.is_some() && !is_as_left;
        Ok(changed.then(|| format!("{output} was changed outside the pipeline; {remedy}")))
    }

    /// The run that a training registers, with its store.
    fn run_of(stage: &PlannedStage) -> Option<(&Resource, &str, &Path)> {
        stage.writes.iter().find_map(|written| match written {
            Resource::Run { run, store } if stage.call.words[0] == "train" => {
                Some((written, run.as_str(), store.as_path()))
            }
            _ => None,
        })
    }

    /// Whether the store has the run that a training registers.
    pub(super) fn has_run(&mut self, stage: &PlannedStage) -> Result<bool> {
        match Self::run_of(stage) {
            Some((written, ..)) => Ok(self.versions.of(written)?.is_some()),
            None => Ok(false),
        }
    }

    /// The outcome of a training that would be refused, with nothing changed.
    pub(super) fn tried(
        &self,
        stage: &PlannedStage,
        more: &[String],
        quiet: bool,
    ) -> Result<Option<StageOutcome>> {
        let knows = |switch: &&str| stage.call.knows(&switch.replace('-', "_"));
        let dry = ["dry-run", "drops-run"].iter().filter(|switch| knows(switch));
        let dry: Vec<String> = dry.map(|switch| format!("--{switch}")).collect();
        if dry.is_empty() {
            return Ok(None);
        }
        let argv = stage.call.argv_with(&[more, &dry].concat());
        let task = ChildCommand { quiet, ..self.task(stage, 0, &argv[1..])? };
        Ok(match trial::run(&task, &self.cancel)? {
            DryRun::Told(_) | DryRun::Unknown => None,
            DryRun::Stopped => Some(StageOutcome::Stopped),
            DryRun::Refused(said) | DryRun::Failed(said) => {
                let log = task.log.display();
                Some(StageOutcome::Failed(format!("{said}; what it trained before is kept; log: {log}")))
            }
        })
    }

    /// A training that is another one takes the name of its run from the one before. The outcome, if that
    /// fails.
    pub(super) fn drop_run(&self, stage: &PlannedStage) -> Result<Option<StageOutcome>> {
        let Some((_, run, store)) = Self::run_of(stage) else { return Ok(None) };
        let store = format!("--store={}", store.display());
        let argv: Vec<OsString> =
            ["drop", "run", store.as_str(), "--", run].iter().map(OsString::from).collect();
        let status = self.task(stage, 0, &argv)?.run(&self.cancel, |_| Ok(()))?;
        Ok(match (status.success(), self.cancel.is_raised()) {
            (true, _) => None,
            (false, true) => Some(StageOutcome::Stopped),
            (false, false) => Some(StageOutcome::Failed(format!("run {run} could not be dropped"))),
        })
    }
}
