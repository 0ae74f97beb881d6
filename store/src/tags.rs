//! Tags: names that keep snapshots.
//!
//! Invariants
//! - setting or removing a tag is a publish of its own; nothing of the tagged snapshot changes
//! - a tagged snapshot stays readable, also when it is older than the history; only a purge takes it away

use crate::error::TagError;
use crate::manifest::{Extra, Tag};
use crate::store::{SnapshotName, Store, TagInfo, TagName, WriterLock, change_of, now, publish};
use std::sync::Arc;

impl Store {
    /// Gives a snapshot, the current one for `None`, a name and keeps it. A tag that another snapshot has is an error, unless it
    /// is to `move_there`.
    pub fn tag(
        &self,
        name: &TagName,
        at: Option<&SnapshotName>,
        move_there: bool,
        command: &str,
    ) -> Result<TagInfo, TagError> {
        let lock = WriterLock::take(self)?;
        let base = self.snapshot()?;
        let target = match at {
            Some(at) => self.snapshot_named(at)?,
            None => Arc::clone(&base),
        };
        let mut tags = base.root().tags.clone();
        let wanted = target.number();
        let entry = Tag {
            name: name.to_string(),
            snapshot: wanted,
            root: target.link().clone(),
            created: now(),
            extra: Extra::new(),
        };
        let tagged = info(&entry);
        let text = match tags.binary_search_by(|t| t.name.as_str().cmp(name)) {
            Err(i) => {
                tags.insert(i, entry);
                format!("tag {name} on snapshot {wanted}")
            }
            Ok(i) => {
                let Some(old) = tags.get_mut(i) else { return Ok(info(&entry)) };
                if old.root == entry.root {
                    return Ok(info(old));
                }
                let snapshot = old.snapshot;
                if !move_there {
                    return Err(TagError::Exists { name: name.to_string(), snapshot, wanted });
                }
                *old = entry;
                format!("tag {name} moved from snapshot {snapshot} to {wanted}")
            }
        };
        let mut change = change_of(&base, command);
        change.changes.push(text);
        change.tags = Some(tags);
        publish(self, &lock, &base, change)?;
        Ok(tagged)
    }

    /// Removes a tag. Its snapshot stays as long as it is part of the history.
    pub fn untag(&self, name: &TagName, command: &str) -> Result<(), TagError> {
        let lock = WriterLock::take(self)?;
        let base = self.snapshot()?;
        let old = base.tag(name)?.snapshot;
        let mut change = change_of(&base, command);
        change.tags = Some(base.root().tags.iter().filter(|t| t.name != **name).cloned().collect());
        change.changes.push(format!("tag {name} removed from snapshot {old}"));
        publish(self, &lock, &base, change)?;
        Ok(())
    }
}

fn info(tag: &Tag) -> TagInfo {
    TagInfo { name: tag.name.clone(), snapshot: tag.snapshot, created: tag.created }
}
