//! A snapshot: one published, immutable state of a store.

mod features;
mod info;
mod names;
mod rows;

pub use info::{SnapshotInfo, TagInfo};

pub(crate) use names::{first_few, unknown};

use crate::layout::Env;
use crate::manifest::{DatasetPart, EnsemblePart, FeaturePart, Link, Root, RunPart, Tag, View};
use crate::segment::Checks;
use crate::tombstones::LiveRows;
use features::SharedSegments;
use gstore_core::Digest;
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use uuid::Uuid;

/// A state of a store. Holds the catalog in memory and no file open, but for the maps of
/// features that are shared.
#[derive(Debug)]
pub struct Snapshot {
    env: Arc<Env>,
    link: Link,
    root: Root,
    parts: SnapshotParts,
    checks: Checks,
    opened: SharedSegments,
    /// Whether all datasets are seen.
    whole: bool,
}

/// Filled at the first request; snapshots with the same part share it.
type LiveCell = Arc<OnceLock<LiveRows>>;

/// What a root refers to.
#[derive(Debug, Clone, Default)]
pub(crate) struct SnapshotParts {
    pub datasets: Vec<Arc<DatasetPart>>,
    pub runs: Vec<Arc<RunPart>>,
    pub ensembles: Vec<Arc<EnsemblePart>>,
    pub features: Vec<Arc<FeaturePart>>,
    /// Live rows of the datasets, in their order.
    pub live: Vec<LiveCell>,
    /// First snapshot of the history, as far as it is known.
    pub oldest: u64,
    /// Tags, as far as they are known.
    pub tags: Vec<Tag>,
}

impl Snapshot {
    pub(crate) fn new(env: Arc<Env>, link: Link, root: Root, parts: SnapshotParts) -> Self {
        Snapshot {
            env,
            link,
            root,
            parts,
            checks: Checks::FirstTouch,
            opened: SharedSegments::default(),
            whole: true,
        }
    }

    /// The same snapshot, whose features are opened with another choice of checks. Shares what is loaded.
    pub fn with_checks(&self, checks: Checks) -> Snapshot {
        let (env, link, root) = (Arc::clone(&self.env), self.link.clone(), self.root.clone());
        let (parts, opened) = (self.parts.clone(), Arc::clone(&self.opened));
        Snapshot { env, link, root, parts, checks, opened, whole: self.whole }
    }

    /// The same snapshot for a client that may only see some datasets: without the others and their features,
    /// and without what may name them: commands and changes of its history, and views whose statement has the
    /// name of one of them, or of such a view, as a word. Shares what is loaded.
    pub fn only(&self, sees: impl Fn(&str) -> bool) -> Snapshot {
        let mut seen = Snapshot { whole: false, ..self.with_checks(self.checks) };
        let shown: Vec<bool> = self.parts.datasets.iter().map(|d| sees(&d.name)).collect();
        let hidden = self.parts.datasets.iter().zip(&shown).filter(|(_, shown)| !**shown);
        hide_views(&mut seen.root.views, hidden.map(|(d, _)| d.name.clone()).collect());
        let mut keep = shown.iter();
        seen.parts.datasets.retain(|_| keep.next().copied().unwrap_or(false));
        let mut keep = shown.iter();
        seen.parts.live.retain(|_| keep.next().copied().unwrap_or(false));
        seen.parts.features.retain(|f| sees(&f.desc.dataset));
        let shown: HashSet<Option<Uuid>> = seen.parts.features.iter().map(|f| f.desc.ensemble).collect();
        seen.parts.ensembles.retain(|e| shown.contains(&Some(e.uuid)));
        seen
    }

    /// The same snapshot without the views of these names. Shares what is loaded.
    pub fn without_views(&self, hidden: &[String]) -> Snapshot {
        let mut seen = self.with_checks(self.checks);
        seen.root.views.retain(|view| !hidden.contains(&view.name));
        seen
    }

    /// Number of the first snapshot of the history.
    pub fn oldest(&self) -> u64 {
        self.parts.oldest
    }

    /// The store's folder as a reader of this snapshot sees it.
    pub(crate) fn env(&self) -> &Arc<Env> {
        &self.env
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// Whether all datasets are seen.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Its number. A restored store gives the numbers of the later snapshots again, to others.
    pub fn number(&self) -> u64 {
        self.root.snapshot
    }

    /// Digest of its root, by which a state is known: no other state has it.
    pub fn digest(&self) -> Digest {
        self.link.digest
    }
}

/// Takes out the views that name something hidden, and those that name them in turn. A word that only looks
/// like such a name counts too: the store does not read statements.
fn hide_views(views: &mut Vec<View>, mut hidden: HashSet<String>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    loop {
        let names_one = |view: &View| {
            view.sql.split(|c: char| !is_word(c)).any(|word| hidden.contains(&word.to_ascii_lowercase()))
        };
        let gone: Vec<String> = views.iter().filter(|v| names_one(v)).map(|v| v.name.clone()).collect();
        if gone.is_empty() {
            return;
        }
        views.retain(|view| !gone.contains(&view.name));
        hidden.extend(gone);
    }
}
