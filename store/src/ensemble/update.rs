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

impl EnsembleUpdate {
    /// Members of a base of which nothing but its id is known.
    pub fn new(
        name: impl Into<String>,
        base: impl Into<String>,
        members: impl IntoIterator<Item = Member>,
    ) -> Self {
        EnsembleUpdate {
            name: name.into(),
            base: EnsembleBase { id: base.into(), name: None, adapter: None },
            members: members.into_iter().collect(),
        }
    }
}

impl Store {
    /// Appends members to an ensemble, in their order, and notes where the weights of those are that it has
    /// already. Nothing is published where nothing changes.
    ///
    /// # Errors
    /// An ensemble of the name with another base; a member whose id is there for another model; an
    /// invalid name or id.
    pub fn update_ensemble(
        &self,
        update: &EnsembleUpdate,
        command: &str,
    ) -> Result<Arc<Snapshot>, CommitError> {
        let lock = WriterLock::take(self)?;
        let now = self.snapshot()?;
        let part = now.updated_ensemble(update)?;
        let mut change = change_of(&now, command);
        let old = now.ensembles().iter().find(|e| e.name == update.name);
        if old.is_some_and(|old| **old == part) {
            return Ok(now);
        }
        change.next.ensemble += u32::from(old.is_none());
        let added = part.members.len() - old.map_or(0, |old| old.members.len());
        change.changes.push(format!(
            "ensemble {}: {} added, {} in all",
            part.name,
            many(added as u64, "member"),
            part.members.len()
        ));
        change.ensembles.push(part);
        publish(self, &lock, &now, change)
    }
}

impl Snapshot {
    /// An ensemble as [`Store::update_ensemble`] would leave it.
    ///
    /// # Errors
    /// As there; nothing is written.
    pub fn updated_ensemble(&self, update: &EnsembleUpdate) -> Result<EnsemblePart, CommitError> {
        check_names(update)?;
        let mut part = match self.ensembles().iter().find(|e| e.name == update.name) {
            Some(part) => EnsemblePart::clone(part),
            None => EnsemblePart::new(&update.name, self.root().next.ensemble, update.base.clone()),
        };
        merge(&mut part, update)?;
        Ok(part)
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

/// Takes an update into a part.
fn merge(part: &mut EnsemblePart, update: &EnsembleUpdate) -> Result<(), CommitError> {
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
    for member in &update.members {
        let Some(known) = part.members.iter_mut().find(|known| known.id == member.id) else {
            part.members.push(member.clone());
            continue;
        };
        if let Some(what) = known.merge(member) {
            let (ensemble, member) = (part.name.clone(), member.id.clone());
            return Err(CommitError::MemberConflict { ensemble, member, what });
        }
    }
    Ok(())
}
