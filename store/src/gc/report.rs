//! Reports of a collection: files removed, and files kept with the reason.

use crate::layout::names::FileKind;
use serde::Serialize;
use std::collections::BTreeMap;

/// Files of one kind that were removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RemovedFiles {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// An unfinished job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JobNote {
    /// Its folder in `tmp/`.
    pub id: String,
    /// Its command, if that can be read.
    pub command: Option<String>,
    /// Whether a process is at work on it.
    pub running: bool,
    /// Bytes of its files.
    pub bytes: u64,
    /// Whether it was removed.
    pub dropped: bool,
}

/// What a sweep removed and what it left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Swept {
    /// By kind.
    pub removed: BTreeMap<FileKind, RemovedFiles>,
    /// Empty folders removed.
    pub folders: u64,
    /// Jobs that are running or were interrupted. Their files stay.
    pub jobs: Vec<JobNote>,
    /// Things in the store's folder that are not the store's: at most `STRANGERS` of them. They
    /// stay.
    pub strangers: Vec<String>,
    /// How many more there are.
    pub more_strangers: u64,
    /// Unfinished files that stay, since a needed file of their kind is missing and one of them may have its
    /// content: at most `STRANGERS` of them.
    pub unfinished: Vec<String>,
    /// How many more there are.
    pub more_unfinished: u64,
    /// Leases and folders of work that processes of another user left, and that this one may not remove: at
    /// most `STRANGERS` of them.
    pub denied: Vec<String>,
    /// How many more there are.
    pub more_denied: u64,
}

impl Swept {
    /// The most of each of these lists that are given by name.
    pub(crate) const STRANGERS: usize = 1000;

    /// Files removed.
    pub fn files(&self) -> u64 {
        self.removed.values().map(|r| r.files).sum()
    }

    /// Bytes freed.
    pub fn bytes(&self) -> u64 {
        self.removed.values().map(|r| r.bytes).sum()
    }

    pub(super) fn stranger(&mut self, name: String) {
        list(&mut self.strangers, &mut self.more_strangers, name);
    }

    pub(super) fn unfinished(&mut self, name: String) {
        list(&mut self.unfinished, &mut self.more_unfinished, name);
    }

    pub(super) fn denied(&mut self, name: String) {
        list(&mut self.denied, &mut self.more_denied, name);
    }

    pub(super) fn count(&mut self, kind: FileKind, bytes: u64) {
        let removed = self.removed.entry(kind).or_default();
        removed.files += 1;
        removed.bytes += bytes;
    }
}

fn list(names: &mut Vec<String>, more: &mut u64, name: String) {
    match names.len() < Swept::STRANGERS {
        true => names.push(name),
        false => *more += 1,
    }
}
