//! Descriptions of a snapshot and of its tags.

use super::Snapshot;
use crate::manifest::{Link, Root, Tag, root_number};
use gstore_core::Digest;
use serde::Serialize;
use uuid::Uuid;

/// What is known of a snapshot without loading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// Its number.
    pub number: u64,
    /// When it was published, in milliseconds since 1970.
    pub created: u64,
    /// The command that made it.
    pub command: String,
    /// What it changed, in words.
    pub changes: Vec<String>,
    /// The number of the one before it.
    pub parent: Option<u64>,
    /// Digest of its root.
    pub digest: Digest,
    /// Id of the store.
    pub store: Uuid,
    /// Names of the tags that keep it.
    pub tags: Vec<String>,
}

impl SnapshotInfo {
    /// With the tags of the newest root that is known: older ones do not have those that came later.
    pub(crate) fn new(link: &Link, root: &Root, tags: &[Tag]) -> Self {
        SnapshotInfo {
            number: root.snapshot,
            created: root.created,
            command: root.command.clone(),
            changes: root.changes.clone(),
            parent: root.parent.as_ref().and_then(|p| root_number(&p.file)),
            digest: link.digest,
            store: root.store,
            tags: tags.iter().filter(|t| t.root == *link).map(|t| t.name.clone()).collect(),
        }
    }
}

/// A tag and the snapshot that it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TagInfo {
    /// Its name.
    pub name: String,
    /// Number of the snapshot.
    pub snapshot: u64,
    /// When it was made, in milliseconds since 1970.
    pub created: u64,
}

impl TagInfo {
    pub(super) fn new(tag: &Tag) -> Self {
        TagInfo { name: tag.name.clone(), snapshot: tag.snapshot, created: tag.created }
    }
}

impl Snapshot {
    /// Number, time, command and changes.
    pub fn info(&self) -> SnapshotInfo {
        SnapshotInfo::new(&self.link, &self.root, &self.parts.tags)
    }
}
