//! Status of a stage: whether it is up to date, and if not why.
//!
//! A version that differs from the noted one is no change where later stages of the pipeline made it: a
//! selection is still that of its pool when a later stage computes further features of the pool. So a
//! difference counts unless the version is the one that the pipeline itself left, a later stage changes the
//! resource, and no earlier one has since.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{Journal, Plan, Resource, StageRecord, StageRequest, StageState, Versions};

/// Why a stage runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunReason {
    /// It never did.
    Never,
    /// Nothing is known of its last end.
    Killed,
    /// It was told to stop.
    Stopped,
    Failed,
    /// Its command line is another one.
    Arguments,
    /// It ran in another store.
    Store,
    /// Something that it reads has changed.
    Input(String),
    /// Something that it wrote has changed or is gone.
    Output(String),
    /// A stage that it comes after has run.
    After(String),
    /// It was asked for.
    Forced,
    /// A stage that it needs will run, which may change what it reads.
    Upstream(String),
}

impl std::fmt::Display for RunReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Never => f.write_str("it has not run yet"),
            Self::Killed => f.write_str("its last run was killed"),
            Self::Stopped => f.write_str("its last run was stopped"),
            Self::Failed => f.write_str("its last run failed"),
            Self::Arguments => f.write_str("its options have changed"),
            Self::Store => f.write_str("it ran in another store"),
            Self::Input(what) => write!(f, "{what} has changed"),
            Self::Output(what) => write!(f, "its result has changed: {what}"),
            Self::After(stage) => write!(f, "{stage} has run since"),
            Self::Forced => f.write_str("it was asked for"),
            Self::Upstream(stage) => write!(f, "{stage} runs before; skipped if that changes nothing"),
        }
    }
}

/// What decisions are made by.
#[derive(Debug)]
pub struct Decider<'a> {
    pub plan: &'a Plan,
    /// What is known of them.
    pub journal: &'a Journal,
    /// What there is now.
    pub versions: &'a mut Versions,
}

impl Decider<'_> {
    /// Why the stage at a place runs; none: it is up to date.
    pub fn decide(&mut self, place: usize, forced: bool) -> Result<Option<RunReason>> {
        let stage = &self.plan.stages[place];
        let run = |why| Ok(Some(why));
        let Some(record) = self.journal.stages.get(stage.name()) else { return run(RunReason::Never) };
        if forced {
            return run(RunReason::Forced);
        }
        if record.asked.arguments != stage.call.arguments() {
            return run(RunReason::Arguments);
        }
        if record.store.as_ref().is_some_and(|store| *store != self.plan.store_of(place)) {
            return run(RunReason::Store);
        }
        match record.state {
            StageState::Running => return run(RunReason::Killed),
            StageState::Stopped => return run(RunReason::Stopped),
            StageState::Failed => return run(RunReason::Failed),
            StageState::Done => {}
        }
        for &other in &stage.after {
            if self.number(other) > record.number {
                return run(RunReason::After(self.plan.stages[other].name().to_owned()));
            }
        }
        for read in &stage.reads {
            if !self.is_as(place, record, read, record.asked.inputs.get(&read.to_string()))? {
                return run(RunReason::Input(read.to_string()));
            }
        }
        for written in &stage.writes {
            if !self.is_as(place, record, written, record.outputs.get(&written.to_string()))? {
                return run(RunReason::Output(written.to_string()));
            }
        }
        Ok(None)
    }

    /// Why the stage at a place cannot run: it would delete rows besides those that it deleted with its
    /// earlier options, which no stage brings back. A run that failed has deleted none.
    pub fn earlier_deletion(&self, place: usize) -> Option<String> {
        let stage = &self.plan.stages[place];
        if stage.call.words[0] != "delete" {
            return None;
        }
        let record = self.journal.stages.get(stage.name())?;
        let arguments = stage.call.arguments();
        let ran = match record.state {
            StageState::Failed => record.done.as_ref().map(|done| &done.asked),
            _ => Some(&record.asked),
        };
        let deleted_others = ran.is_some_and(|ran| {
            ran.arguments.first().is_some_and(|word| word == "delete") && ran.arguments != arguments
        });
        let is_here = record.store.as_ref().is_none_or(|store| *store == self.plan.store_of(place));
        // One that was forced with these options and failed goes on.
        let refused = is_here && deleted_others && record.asked.arguments != arguments;
        refused.then(|| {
            format!(
                "its options have changed, and rows that it deleted with the earlier ones stay deleted: restore \
                 them by `gstore add --restore-deleted` or go back to the snapshot before by `gstore revert`, \
                 then --force {}; without that step --force deletes further rows",
                stage.name()
            )
        })
    }

    pub fn asked(&mut self, place: usize) -> Result<StageRequest> {
        let stage = &self.plan.stages[place];
        let inputs = versions(self.versions, &stage.reads)?;
        Ok(StageRequest { arguments: stage.call.arguments(), inputs })
    }

    /// Whether a resource has the noted version, or one that only later stages gave it.
    fn is_as(
        &mut self,
        place: usize,
        record: &StageRecord,
        resource: &Resource,
        noted: Option<&String>,
    ) -> Result<bool> {
        let now = self.versions.of(resource)?;
        if now.as_ref() == noted {
            return Ok(true);
        }
        // A tag that others have moved stays where it is.
        if now.is_some() && matches!(resource, Resource::Tag { .. }) {
            return Ok(true);
        }
        // What was not there then is what later stages make, as features of rows that a query reads first.
        let Some(now) = now else { return Ok(false) };
        let changes =
            |i: &usize| self.plan.stages[*i].writes.iter().any(|written| written.may_change(resource));
        let by_later = (place + 1..self.plan.stages.len()).any(|i| changes(&i));
        let since = (0..place).filter(changes).any(|i| self.number(i) > record.number);
        Ok(by_later && !since && self.journal.current.get(&resource.to_string()) == Some(&now))
    }

    fn number(&self, place: usize) -> u64 {
        self.journal.stages.get(self.plan.stages[place].name()).map_or(0, |record| record.number)
    }
}

pub(super) fn versions(versions: &mut Versions, of: &[Resource]) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for resource in of {
        if let Some(version) = versions.of(resource)? {
            found.insert(resource.to_string(), version);
        }
    }
    Ok(found)
}

impl Plan {
    /// Notes in a journal what a stage left, and what there is now of all that it may have changed.
    pub fn note(&self, place: usize, journal: &mut Journal, now: &mut Versions) -> Result<()> {
        let stage = &self.stages[place];
        let outputs = versions(now, &stage.writes)?;
        let number = journal.next_number();
        if let Some(record) = journal.stages.get_mut(stage.name()) {
            (record.outputs, record.number, record.process) = (outputs, number, None);
        }
        for resource in self.resources() {
            if stage.writes.iter().any(|written| written.may_change(resource)) {
                match now.of(resource)? {
                    Some(version) => journal.current.insert(resource.to_string(), version),
                    None => journal.current.remove(&resource.to_string()),
                };
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
