//! A root: one snapshot, its parent and its parts.

use super::Extra;
use super::file::{ARTIFACT_FILES, ENSEMBLES, Link, VERSION, require};
use super::page::PageWriter;
use super::part::{Part, mismatch};
use crate::error::StorageError;
use crate::layout::names;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Root {
    pub version: u32,
    pub requires: Vec<String>,
    /// The store this belongs to; the same in all its roots.
    pub store: Uuid,
    /// Number of the snapshot: one more than its parent's.
    pub snapshot: u64,
    /// When it was published, in milliseconds since 1970.
    pub created: u64,
    /// The command that made it.
    pub command: String,
    /// What it changed, in words.
    pub changes: Vec<String>,
    /// The root before it; the first one has none.
    pub parent: Option<Link>,
    /// The first snapshot of the history: the chain of parents ends there, whatever else
    /// is still in the folder.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub oldest: u64,
    /// Names of snapshots, by name. A tagged snapshot is kept, also when it is older than the history.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// Saved queries, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub views: Vec<View>,
    /// The next numbers of folders.
    pub next: Counters,
    /// The next row of each dataset, by its number, as the dataset's part says it too: a repair without that
    /// part must not give out a row again, nor must a dataset that was dropped and comes back. Roots of the
    /// first builds do not have it, and earlier versions left dropped datasets out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub next_rows: BTreeMap<u32, u64>,
    pub datasets: Vec<PartLink>,
    pub runs: Vec<PartLink>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ensembles: Vec<PartLink>,
    pub features: Vec<PartLink>,
    /// Artifacts. Each has the number of the snapshot that it came with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<PartLink>,
    #[serde(flatten)]
    pub extra: Extra,
}

/// A name that keeps a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tag {
    pub name: String,
    /// Number of the snapshot.
    pub snapshot: u64,
    pub root: Link,
    /// When it was tagged, in milliseconds since 1970.
    pub created: u64,
    #[serde(flatten)]
    pub extra: Extra,
}

/// A query that is saved under a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Its name, of the kind that datasets have.
    pub name: String,
    /// The statement.
    pub sql: String,
    /// When it was saved, in milliseconds since 1970.
    pub created: u64,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Extra,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The first number of a kind.
fn first() -> u32 {
    1
}

fn is_first(n: &u32) -> bool {
    *n == first()
}

/// The next free numbers. They only grow, so a folder never gets a second meaning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub dataset: u32,
    pub encoding: u32,
    pub run: u32,
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub ensemble: u32,
    pub feature: u32,
}

/// A part of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PartLink {
    /// Its number among those of its kind.
    pub number: u32,
    /// Its name or label, for people.
    pub name: String,
    #[serde(flatten)]
    pub link: Link,
    /// The files that an artifact has in its folder, as its part lists them: collecting, copying and going
    /// back ask for them, and a part may be large.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Link>,
}

impl PartLink {
    /// A part without files.
    pub(crate) fn new(number: u32, name: String, link: Link) -> Self {
        PartLink { number, name, link, files: Vec::new() }
    }

    /// Bytes of its manifest and its files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.len).fold(self.link.len, u64::saturating_add)
    }
}

/// The number of the snapshot whose root has this file name.
pub(crate) fn root_number(file: &str) -> Option<u64> {
    file.strip_prefix("root-")?.strip_suffix(".json")?.split('-').next()?.parse().ok()
}

impl Root {
    pub(crate) fn parts(&self) -> impl Iterator<Item = &PartLink> {
        let parts = self.datasets.iter().chain(&self.runs).chain(&self.ensembles);
        parts.chain(&self.features).chain(&self.artifacts)
    }

    /// The root of a store with nothing in it.
    pub(crate) fn first(store: Uuid, created: u64) -> Self {
        Root {
            version: VERSION,
            store,
            created,
            command: "create".into(),
            changes: vec!["a new store".into()],
            next: Counters { dataset: 1, encoding: 1, run: 1, ensemble: 1, feature: 1 },
            ..Root::default()
        }
    }
}

/// The first two neighbours of which the second is not the greater one.
fn disordered<T: PartialOrd>(all: impl Iterator<Item = T> + Clone) -> Option<(T, T)> {
    all.clone().zip(all.skip(1)).find(|(a, b)| a >= b)
}

impl Part for Root {
    fn stem(&self) -> String {
        format!("root-{}", self.snapshot)
    }

    fn fold(&mut self, _writer: &mut PageWriter<'_>) -> Result<(), StorageError> {
        // Their counter as well: a version that does not know it would give out the same numbers again.
        require(&mut self.requires, ENSEMBLES, !is_first(&self.next.ensemble) || !self.ensembles.is_empty());
        let has_files = self.artifacts.iter().any(|link| !link.files.is_empty());
        require(&mut self.requires, ARTIFACT_FILES, has_files);
        Ok(())
    }

    fn problem(&self) -> Option<(String, String, String)> {
        if self.snapshot == 0 && self.parent.is_some() {
            return mismatch("parent of the first root", "none", "one");
        }
        // Without a parent the history starts here: so it does after a purge, and in a backup.
        let limit = if self.parent.is_some() { 0 } else { self.snapshot };
        if self.oldest < limit || self.oldest > self.snapshot {
            let expected = format!("{limit} to {}", self.snapshot);
            return mismatch("first snapshot of the history", expected, self.oldest);
        }
        if let Some((a, b)) = disordered(self.tags.iter().map(|tag| &tag.name)) {
            return mismatch("tags", format!("names after {a:?}"), format!("{b:?}"));
        }
        if let Some((a, b)) = disordered(self.views.iter().map(|view| &view.name)) {
            return mismatch("views", format!("names after {a:?}"), format!("{b:?}"));
        }
        if let Some(tag) = self.tags.iter().find(|t| t.snapshot >= self.snapshot) {
            let what = format!("snapshot of tag {:?}", tag.name);
            return mismatch(what, format!("below {}", self.snapshot), tag.snapshot);
        }
        let mut files = self.artifacts.iter().flat_map(|link| &link.files);
        if let Some(file) = files.find(|file| names::artifact(&file.file).is_none()) {
            let found = format!("{:?}", file.file);
            return mismatch("name of a file of an artifact", "a UUID and an ending", found);
        }
        let next = &self.next;
        let after = u32::try_from(self.snapshot).unwrap_or(u32::MAX).saturating_add(1);
        for (what, links, limit) in [
            ("dataset", &self.datasets, next.dataset),
            ("run", &self.runs, next.run),
            ("ensemble", &self.ensembles, next.ensemble),
            ("feature", &self.features, next.feature),
            ("artifact", &self.artifacts, after),
        ] {
            if let Some((a, b)) = disordered(links.iter().map(|link| link.number)) {
                return mismatch(format!("numbers of the {what} parts"), format!("more than {a}"), b);
            }
            if let Some(last) = links.last().filter(|l| l.number >= limit) {
                return mismatch(format!("number of a {what} part"), format!("below {limit}"), last.number);
            }
        }
        None
    }
}
