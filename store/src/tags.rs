//! Tags: names that keep snapshots.
//!
//! Invariants
//! - setting or removing a tag is a separate publish; nothing of the tagged snapshot changes
//! - a tagged snapshot stays readable, also when it is older than the history; only a purge takes it away

use crate::error::{ChangeError, OpenError};
use crate::layout::now;
use crate::manifest::{Extra, Root, Tag};
use crate::store::{Chain, Snapshot, SnapshotName, Store, TagInfo, TagName, WriterLock, change_of, publish};
use std::sync::Arc;

/// How a tag is set.
#[derive(Debug, Clone, Default)]
pub struct TagOptions {
    /// The command, for the history.
    pub command: String,
    /// A tag that another snapshot has moves here; else that is an error.
    pub move_there: bool,
}

impl Store {
    /// The snapshot that a new tag is for: the one that is named, or else the one that made what is in the
    /// store, which is the current one or an earlier one where all that came after it are tags. So names that
    /// are given one after the other are names of the same state.
    ///
    /// # Errors
    /// There is no such snapshot, or a root of the history cannot be read.
    pub fn tag_target(&self, named: Option<&SnapshotName>) -> Result<Arc<Snapshot>, OpenError> {
        named.map_or_else(|| self.last_change(), |name| self.snapshot_named(name))
    }

    fn last_change(&self) -> Result<Arc<Snapshot>, OpenError> {
        let current = self.snapshot()?;
        let now = current.root();
        // The first snapshot is empty, and a name for it would be one for nothing.
        let same = |root: &Root| root.parts().eq(now.parts()) && root.views == now.views && root.snapshot > 0;
        let before = Chain::before(self.env(), now).next().transpose()?;
        if before.is_none_or(|(_, root)| !same(&root)) {
            return Ok(current);
        }
        // A tag of the same state leads past the roots after it, each of which has the names of all tags.
        let tagged = now.tags.iter().max_by_key(|tag| tag.snapshot);
        let tagged = tagged.and_then(|tag| self.env().manifests().read::<Root>(&tag.root).ok()).filter(same);
        let from = tagged.as_ref().unwrap_or(now);
        let mut number = from.snapshot;
        for root in Chain::before(self.env(), from) {
            let (_, root) = root?;
            if !same(&root) || root.snapshot < current.oldest() {
                break;
            }
            number = root.snapshot;
        }
        if number == current.number() { Ok(current) } else { self.snapshot_at(number) }
    }

    /// Gives a snapshot a name and keeps it, whichever is current by then. Returns the snapshot that records
    /// this, or the current one if nothing changes.
    ///
    /// # Errors
    /// The snapshot was collected, the tag is on another one, or a new tag has a word of
    /// [`TagName::is_verb`].
    pub fn tag(
        &self,
        name: &TagName,
        target: &Snapshot,
        options: TagOptions,
    ) -> Result<Arc<Snapshot>, ChangeError> {
        let lock = WriterLock::take(self)?;
        let base = self.snapshot()?;
        base.keeps(target)?;
        let mut tags = base.root().tags.clone();
        let wanted = target.number();
        let entry = Tag {
            name: name.to_string(),
            snapshot: wanted,
            root: target.link().clone(),
            created: now(),
            extra: Extra::new(),
        };
        let text = match tags.binary_search_by(|t| t.name.as_str().cmp(name)) {
            Err(_) if TagName::is_verb(name) => return Err(ChangeError::TagVerb { name: name.to_string() }),
            Err(i) => {
                tags.insert(i, entry);
                format!("tag {name} on snapshot {wanted}")
            }
            Ok(i) => {
                let Some(old) = tags.get_mut(i) else { return Ok(base) };
                if old.root == entry.root {
                    return Ok(base);
                }
                let snapshot = old.snapshot;
                if !options.move_there {
                    return Err(ChangeError::TagExists { name: name.to_string(), snapshot, wanted });
                }
                *old = entry;
                format!("tag {name} moved from snapshot {snapshot} to {wanted}")
            }
        };
        let mut change = change_of(&base, &options.command);
        change.changes.push(text);
        change.tags = Some(tags);
        Ok(publish(self, &lock, &base, change)?)
    }

    /// Removes a tag, as the caller found it in a snapshot. The tagged snapshot stays as long as it
    /// is part of the history.
    ///
    /// # Errors
    /// The tag was removed, or is on another snapshot by now.
    pub fn untag(&self, tag: &TagInfo, command: &str) -> Result<Arc<Snapshot>, ChangeError> {
        let lock = WriterLock::take(self)?;
        let base = self.snapshot()?;
        base.same_tag(tag)?;
        let (name, old) = (&tag.name, tag.snapshot);
        let mut change = change_of(&base, command);
        change.tags = Some(base.root().tags.iter().filter(|t| t.name != *name).cloned().collect());
        change.changes.push(format!("tag {name} removed from snapshot {old}"));
        Ok(publish(self, &lock, &base, change)?)
    }
}
