//! Staleness check: whether a later snapshot still has the rows and parts that a caller found.
//!
//! A command finds by name, id or condition what it is to change, and waits for the writer lock. What it
//! found goes into the change as the parts of the snapshot in which it found them, and is looked for by
//! number under the lock: a name may belong to another part by then.

use super::load::Numbered;
use super::{Snapshot, TagInfo};
use crate::error::ConcurrentChange;
use crate::lease::{has, is_there};
use crate::manifest::{DatasetPart, EnsemblePart, FeaturePart, PartLink, RunPart, View};
use std::ops::Range;
use std::sync::Arc;

impl Snapshot {
    /// The dataset that another snapshot had as `seen`, as it is here.
    ///
    /// # Errors
    /// It was dropped since.
    pub fn same_dataset(&self, seen: &DatasetPart) -> Result<&Arc<DatasetPart>, ConcurrentChange> {
        same(self.datasets(), seen, || self.dataset(&seen.name).is_ok())
    }

    /// The same dataset, with the very rows that `seen` had. Their numbers, ids and
    /// contents are the same then.
    pub(crate) fn same_rows(&self, seen: &DatasetPart) -> Result<&Arc<DatasetPart>, ConcurrentChange> {
        let now = self.same_dataset(seen)?;
        // Where rows come back (`life::revert`), a number is passed over: equal counts mean equal sets.
        if (now.next_row, now.rows) == (seen.next_row, seen.rows) {
            return Ok(now);
        }
        Err(ConcurrentChange::Rows { dataset: seen.name.clone() })
    }

    /// The feature that another snapshot had as `seen`, as it is here.
    pub(crate) fn same_feature(&self, seen: &FeaturePart) -> Result<&Arc<FeaturePart>, ConcurrentChange> {
        same(self.features(), seen, || self.feature_by_key(&seen.key).is_some())
    }

    /// The run that another snapshot had as `seen`, as it is here.
    pub(crate) fn same_run(&self, seen: &RunPart) -> Result<&Arc<RunPart>, ConcurrentChange> {
        same(self.runs(), seen, || self.run(&seen.name).is_ok())
    }

    /// The ensemble that another snapshot had as `seen`, as it is here.
    pub(crate) fn same_ensemble(&self, seen: &EnsemblePart) -> Result<&Arc<EnsemblePart>, ConcurrentChange> {
        same(self.ensembles(), seen, || self.ensemble(&seen.name).is_ok())
    }

    /// Fails if the models in some places of an ensemble are not those that another snapshot, which had it as
    /// `seen`, had there.
    ///
    /// # Errors
    /// The first that went, or gave its place to another.
    pub fn same_members(&self, seen: &EnsemblePart, places: Range<usize>) -> Result<(), ConcurrentChange> {
        let now = self.same_ensemble(seen)?;
        for (place, member) in seen.members.iter().enumerate().filter(|(place, _)| places.contains(place)) {
            let there = now.members.get(place);
            if !there.is_some_and(|there| there.is_same(member)) {
                let what = format!("model {} of ensemble {}", member.id, seen.name);
                return Err(ConcurrentChange::Gone { what, replaced: there.is_some() });
            }
        }
        Ok(())
    }

    /// Fails if a tag that another snapshot had as `seen` is not here, or was set again.
    pub(crate) fn same_tag(&self, seen: &TagInfo) -> Result<(), ConcurrentChange> {
        is_same("tag", &seen.name, self.tag(&seen.name).ok().as_ref(), seen)
    }

    /// Fails if an artifact that another snapshot had as `seen` is not here, or another one has its name.
    pub(crate) fn same_artifact(&self, seen: &PartLink) -> Result<(), ConcurrentChange> {
        let now = self.root().artifacts.iter().find(|link| link.name == seen.name);
        is_same("artifact", &seen.name, now, seen)
    }

    /// Fails if a view that another snapshot had as `seen` is not here, or was saved again.
    pub(crate) fn same_view(&self, seen: &View) -> Result<(), ConcurrentChange> {
        is_same("view", &seen.name, self.view(&seen.name).ok(), seen)
    }

    /// Fails if a view was saved or dropped since `seen`.
    pub(crate) fn same_views(&self, seen: &Snapshot) -> Result<(), ConcurrentChange> {
        if self.views() == seen.views() { Ok(()) } else { self.is_still(seen) }
    }

    /// Fails if this is another snapshot than `seen`.
    pub(crate) fn is_still(&self, seen: &Snapshot) -> Result<(), ConcurrentChange> {
        match self.link() == seen.link() {
            true => Ok(()),
            false => Err(ConcurrentChange::Store { seen: seen.number(), now: self.number() }),
        }
    }

    /// Fails if `seen` is neither part of the history of this snapshot nor tagged.
    pub(crate) fn keeps(&self, seen: &Snapshot) -> Result<(), ConcurrentChange> {
        let is_there = || is_there(self.env(), seen.link());
        match has(self.root(), self.link(), seen.number(), seen.link(), is_there) {
            true => Ok(()),
            false => {
                Err(ConcurrentChange::Gone { what: format!("snapshot {}", seen.number()), replaced: false })
            }
        }
    }
}

fn same<'a, P: Numbered>(
    parts: &'a [Arc<P>],
    seen: &P,
    replaced: impl FnOnce() -> bool,
) -> Result<&'a Arc<P>, ConcurrentChange> {
    let same = parts.iter().find(|part| part.number() == seen.number());
    let what = || format!("{} {}", P::KIND, seen.name());
    same.ok_or_else(|| ConcurrentChange::Gone { what: what(), replaced: replaced() })
}

fn is_same<T: PartialEq>(what: &str, name: &str, now: Option<&T>, seen: &T) -> Result<(), ConcurrentChange> {
    match now == Some(seen) {
        true => Ok(()),
        false => Err(ConcurrentChange::Gone { what: format!("{what} {name}"), replaced: now.is_some() }),
    }
}
