//! Registration of ensembles and their members.

use crate::error::CommitError;
use crate::manifest::{EnsembleBase, EnsemblePart, Member};
use crate::store::{Snapshot, Store, WriterLock, change_of, publish};
use gstore_core::many;
use std::sync::Arc;

/// What to add to an ensemble.
#[derive(Debug, Clone, PartialEq)]
pub struct EnsembleUpdate {
    /// Its name; it is made if there is none of this name.
    pub name: String,
    /// Where its members come from.
    pub base: EnsembleBase,
    /// Members to append; of those that are there, what they have more.
    pub members: Vec<Member>,
}

impl Store {
    /// Appends members to an ensemble, in their order, and notes where the weights of those are that it has
    /// already. Nothing is published where nothing changes.
    ///
    /// # Errors
    /// An ensemble of the name with another base; a member whose id is there for another model; a name or
    /// an id that is none.
    pub fn update_ensemble(
        &self,
        update: &EnsembleUpdate,
        command: &str,
    ) -> Result<Arc<Snapshot>, CommitError> {
        check_names(update)?;
        let lock = WriterLock::take(self)?;
        let now = self.snapshot()?;
        let mut change = change_of(&now, command);
        let old = now.ensembles().iter().find(|e| e.name == update.name);
        let mut part = match old {
            Some(part) => EnsemblePart::clone(part),
            None => {
                change.next.ensemble += 1;
                EnsemblePart::new(&update.name, change.next.ensemble - 1, update.base.clone())
            }
        };
        let added = merge(&mut part, update)?;
        if old.is_some_and(|old| **old == part) {
            return Ok(now);
        }
        change.changes.push(format!(
            "ensemble {}: {} added, {} in all",
            part.name,
            many(added, "member"),
            part.members.len()
        ));
        change.ensembles.push(part);
        publish(self, &lock, &now, change)
    }
}

/// Longest name and id.
const LONGEST: usize = 200;

fn check_names(update: &EnsembleUpdate) -> Result<(), CommitError> {
    let ids = update.members.iter().map(|member| &member.id);
    let bad = |text: &&String| text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control);
    match ids.chain([&update.name]).find(bad) {
        Some(name) => Err(CommitError::EnsembleName { name: name.clone(), longest: LONGEST }),
        None => Ok(()),
    }
}

/// Takes an update into a part, and says how many members are new.
fn merge(part: &mut EnsemblePart, update: &EnsembleUpdate) -> Result<u64, CommitError> {
    if part.base.id != update.base.id {
        return Err(CommitError::EnsembleBase {
            ensemble: part.name.clone(),
            stored: part.base.id.clone(),
            given: update.base.id.clone(),
        });
    }
    let EnsembleBase { name, adapter, .. } = &update.base;
    part.base.name = name.clone().or_else(|| part.base.name.take());
    part.base.adapter = adapter.clone().or_else(|| part.base.adapter.take());
    let mut added = 0;
    for member in &update.members {
        let Some(known) = part.members.iter_mut().find(|known| known.id == member.id) else {
            part.members.push(member.clone());
            added += 1;
            continue;
        };
        if let Some(what) = known.merge(member) {
            let (ensemble, member) = (part.name.clone(), member.id.clone());
            return Err(CommitError::MemberConflict { ensemble, member, what });
        }
    }
    Ok(added)
}
