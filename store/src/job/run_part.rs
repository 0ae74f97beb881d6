//! The part of a run after an update.

use crate::error::CommitError;
use crate::manifest::{Counters, RunCheckpoint, RunPart, RunUpdate};
use crate::store::Snapshot;
use std::fmt::Display;

/// Longest name: that of a folder, which a run is called like where nothing else is said.
const LONGEST: usize = 255;

impl RunPart {
    /// Fails unless a text can be the name of a new run: for those whose work comes before publishing.
    ///
    /// # Errors
    /// Says which texts can.
    pub fn check_name(name: &str) -> Result<(), CommitError> {
        let is_bad = |c: char| c == '/' || c.is_control();
        let is_folder = matches!(name, "." | "..");
        match name.is_empty() || is_folder || name.len() > LONGEST || name.contains(is_bad) {
            true => Err(CommitError::RunName { name: name.to_owned(), longest: LONGEST }),
            false => Ok(()),
        }
    }
}

impl RunCheckpoint {
    /// Whether a step or a weight is given that this checkpoint of a run lacks.
    ///
    /// # Errors
    /// One that differs from its own, and would be lost.
    pub fn lacks(&self, run: &str, step: Option<u64>, weight: Option<f64>) -> Result<bool, CommitError> {
        let step = self.is_new(run, "step", step, self.step)?;
        let weight = self.is_new(run, "weight", weight, self.weight)?;
        Ok(step || weight)
    }

    fn is_new<T: PartialEq + Display>(
        &self,
        run: &str,
        what: &'static str,
        given: Option<T>,
        stored: Option<T>,
    ) -> Result<bool, CommitError> {
        match (given, stored) {
            (Some(given), Some(stored)) if given != stored => Err(CommitError::CheckpointValue {
                what,
                given: given.to_string(),
                run: run.to_owned(),
                name: self.name.clone(),
                stored: stored.to_string(),
            }),
            (given, stored) => Ok(given.is_some() && stored.is_none()),
        }
    }
}

/// What becomes of a checkpoint that the run has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum KnownCheckpoint {
    /// Its provenance stays: the update may come from a machine with other folders.
    #[default]
    Kept,
    /// The provenance of the update takes the place of its own, if there is one.
    Replaced,
    /// Its provenance stays, and a step or weight other than its own is refused.
    Same,
}

/// The run's part after an update; `None` if the update changes nothing. `changed`: the part as an update
/// before this one left it.
pub(crate) fn run_part(
    now: &Snapshot,
    changed: Option<&RunPart>,
    update: &RunUpdate,
    known: KnownCheckpoint,
    next: &mut Counters,
) -> Result<Option<RunPart>, CommitError> {
    let stored = || now.runs().iter().find(|r| r.name == update.name).map(|r| &**r);
    let old = changed.or_else(stored);
    let mut part = match old {
        Some(part) => part.clone(),
        None => {
            RunPart::check_name(&update.name)?;
            next.run += 1;
            RunPart::new(&update.name, next.run - 1)
        }
    };
    for c in &update.checkpoints {
        match part.checkpoints.iter_mut().find(|o| o.name == c.name) {
            Some(o) if o.checkpoint != c.checkpoint => {
                return Err(CommitError::RunConflict {
                    run: update.name.clone(),
                    name: c.name.clone(),
                    stored: o.checkpoint.short().to_owned(),
                    given: c.checkpoint.short().to_owned(),
                });
            }
            Some(o) => {
                if known == KnownCheckpoint::Same {
                    o.lacks(&update.name, c.step, c.weight)?;
                }
                o.step = o.step.or(c.step);
                if update.replace_weights || o.weight.is_none() {
                    o.weight = c.weight.or(o.weight);
                }
                if known == KnownCheckpoint::Replaced && !c.provenance.is_empty() {
                    o.provenance.clone_from(&c.provenance);
                }
            }
            None => {
                if let Some(other) = part.checkpoints.iter().find(|o| o.checkpoint == c.checkpoint) {
                    return Err(CommitError::CheckpointTwice {
                        run: update.name.clone(),
                        name: c.name.clone(),
                        stored: other.name.clone(),
                    });
                }
                part.checkpoints.push(c.clone());
            }
        }
    }
    part.checkpoints.sort_by_key(|c| (c.step.is_none(), c.step));
    Ok(old.is_none_or(|o| *o != part).then_some(part))
}
