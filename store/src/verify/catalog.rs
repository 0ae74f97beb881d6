//! Reading the catalog of one or all snapshots, as far as it can be read.

use super::report::{AffectedRows, Tally};
use crate::backup::{DataFile, data_files};
use crate::error::{Damage, OpenError, StorageError};
use crate::manifest::{
    ArtifactPart, Current, DatasetPart, EnsemblePart, FeaturePart, Link, LostPage, Part, PartLink, Root,
    RunPart,
};
use crate::store::{Store, load_snapshot};
use gstore_core::RowSet;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::iter::{empty, once};
use std::slice::from_ref;

#[derive(Debug, Clone)]
pub(crate) struct PartFile<T> {
    /// Name inside `manifests/`; empty for a part that is not written yet.
    pub file: String,
    pub part: T,
    /// Whether its lists are complete: a page of one may be lost.
    pub whole: bool,
}

/// A snapshot that was looked at.
#[derive(Debug)]
pub(crate) struct Visited {
    pub number: u64,
    /// Its own file and those of its parts, inside `manifests/`.
    pub manifests: Vec<String>,
    /// Whether all of them could be read.
    pub readable: bool,
    /// Name of the tag that keeps it, if it is not part of the history.
    pub tag: Option<String>,
}

/// What was read of the catalog. Parts that could not be read are problems in the tally.
#[derive(Default)]
pub(crate) struct Catalog {
    pub current: Root,
    /// The history, newest first, then tagged snapshots.
    pub visited: Vec<Visited>,
    /// Dataset parts of all snapshots looked at; those of the current one first.
    pub datasets: Vec<PartFile<DatasetPart>>,
    /// How many of them are of the current snapshot.
    pub current_datasets: usize,
    pub features: Vec<PartFile<FeaturePart>>,
    pub current_features: usize,
    /// Runs of the current snapshot.
    pub runs: Vec<RunPart>,
    /// Ensembles of the current snapshot.
    pub ensembles: Vec<EnsemblePart>,
    /// Artifacts that have files, of all snapshots looked at.
    pub artifacts: Vec<PartLink>,
    /// Manifest files that were referred to.
    pub manifests: BTreeSet<String>,
    /// Whether some part could not be read: then it is not known what is unreferenced.
    pub incomplete: bool,
}

/// The data files of a dataset part, with their lengths.
pub(crate) fn dataset_files(d: &DatasetPart) -> Vec<(String, u64)> {
    named(data_files(once(d), empty(), &[])).collect()
}

/// The data files of a feature part, with their lengths.
pub(crate) fn feature_files(f: &FeaturePart) -> Vec<(String, u64)> {
    named(data_files(empty(), once(f), &[])).collect()
}

/// The files of an artifact, with their lengths.
pub(crate) fn artifact_files(link: &PartLink) -> Vec<(String, u64)> {
    named(data_files(empty(), empty(), from_ref(link))).collect()
}

fn named(files: Vec<DataFile<'_>>) -> impl Iterator<Item = (String, u64)> {
    files.into_iter().map(|f| (f.name, f.len))
}

impl Catalog {
    /// Names and lengths of all data files, each once.
    pub(crate) fn data_files(&self) -> BTreeMap<String, u64> {
        let datasets = self.datasets.iter().map(|d| &d.part);
        named(data_files(datasets, self.features.iter().map(|f| &f.part), &self.artifacts)).collect()
    }

    /// Numbers of snapshots (with their tags) that some of these files, relative to the store, belong to.
    pub(crate) fn touched(&self, bad: &HashSet<String>) -> HashSet<(u64, Option<String>)> {
        let hit = |files: Vec<(String, u64)>| files.iter().any(|(name, _)| bad.contains(name));
        let datasets = self.datasets.iter().filter(|d| hit(dataset_files(&d.part))).map(|d| &d.file);
        let features = self.features.iter().filter(|f| hit(feature_files(&f.part))).map(|f| &f.file);
        let artifacts = self.artifacts.iter().filter(|a| hit(artifact_files(a))).map(|a| &a.link.file);
        let parts: HashSet<&String> = datasets.chain(features).chain(artifacts).collect();
        let broken = |v: &&Visited| {
            let damaged = |m: &String| parts.contains(m) || bad.contains(&format!("manifests/{m}"));
            !v.readable || v.manifests.iter().any(damaged)
        };
        self.visited.iter().filter(broken).map(|v| (v.number, v.tag.clone())).collect()
    }
}

struct Reader<'a, 't, 'p> {
    store: &'a Store,
    seen: HashSet<Link>,
    catalog: Catalog,
    tally: &'t mut Tally<'p>,
}

/// Reads what `CURRENT` names.
pub(crate) fn read(store: &Store, all: bool, tally: &mut Tally<'_>) -> Result<Catalog, OpenError> {
    let (current, root) = store.with_current(|bytes| {
        let current = Current::parse(bytes)?;
        let root = store.env().manifests().read::<Root>(&current.root)?;
        Ok((current, root))
    })?;
    let number = (current.snapshot != root.snapshot).then_some(root.snapshot);
    let catalog = walk(store, Some(&current.root), &root, all, tally);
    if let Some(number) = number {
        let d = Damage::new("CURRENT", "number of the snapshot", number, current.snapshot);
        tally.problem("CURRENT", &d.into(), None);
    } else if tally.problems.is_empty() {
        // The parts fit together: each feature has its dataset, names are unique.
        if let Err(OpenError::Storage(e)) = load_snapshot(store.env(), &current.root, None) {
            tally.problem(&format!("manifests/{}", current.root.file), &e, None);
        }
    }
    Ok(catalog)
}

/// Reads the parts of a root and, with `all`, its history and the snapshots that its tags keep.
pub(crate) fn walk(
    store: &Store,
    link: Option<&Link>,
    root: &Root,
    all: bool,
    tally: &mut Tally<'_>,
) -> Catalog {
    let catalog = Catalog { current: root.clone(), ..Catalog::default() };
    let mut reader = Reader { store, seen: HashSet::new(), catalog, tally };
    reader.root(link, root, None);
    reader.catalog.current_datasets = reader.catalog.datasets.len();
    reader.catalog.current_features = reader.catalog.features.len();
    if all {
        reader.chain(root);
        reader.tags(root);
    }
    reader.catalog
}

impl Reader<'_, '_, '_> {
    fn chain(&mut self, from: &Root) {
        let mut below = from.snapshot;
        let mut next = from.parent.clone();
        // What is older than the history may be gone, or waits to be collected.
        while let Some(link) = next.take().filter(|_| below > from.oldest) {
            let Some(root) = self.older(&link, below, None) else { return };
            (below, next) = (root.snapshot, root.parent.clone());
        }
    }

    fn tags(&mut self, current: &Root) {
        for tag in &current.tags {
            if self.catalog.manifests.contains(&tag.root.file) {
                continue;
            }
            self.older(&tag.root, tag.snapshot.saturating_add(1), Some(&tag.name));
        }
    }

    /// A root whose number is below `below`.
    fn older(&mut self, link: &Link, below: u64, tag: Option<&str>) -> Option<Root> {
        let file = format!("manifests/{}", link.file);
        let read = self.store.env().manifests().read::<Root>(link);
        let root = read.and_then(|root| {
            let expected = format!("below {below}");
            let bad = || Damage::new(&file, "number of the snapshot", expected, root.snapshot);
            if root.snapshot < below { Ok(root) } else { Err(bad().into()) }
        });
        match root {
            Ok(root) => {
                self.root(Some(link), &root, tag);
                Some(root)
            }
            Err(e) => {
                self.catalog.manifests.insert(link.file.clone());
                self.failed(link, &e, None);
                self.catalog.visited.push(Visited {
                    // Its name has the number, unless it is that of no root.
                    number: crate::manifest::root_number(&link.file).unwrap_or(0),
                    manifests: vec![link.file.clone()],
                    readable: false,
                    tag: tag.map(str::to_owned),
                });
                None
            }
        }
    }

    fn failed(&mut self, link: &Link, e: &StorageError, rows: Option<AffectedRows>) {
        self.catalog.incomplete = true;
        self.tally.problem(&format!("manifests/{}", link.file), e, rows);
    }

    fn root(&mut self, link: Option<&Link>, root: &Root, tag: Option<&str>) {
        let first = self.catalog.visited.is_empty();
        let mut readable = true;
        let files = link.into_iter().chain(root.parts().map(|l| &l.link)).map(|l| l.file.clone());
        let manifests: Vec<String> = files.collect();
        self.catalog.manifests.extend(manifests.iter().cloned());
        for link in &root.datasets {
            readable &= self.part("dataset", link, |c, part| c.datasets.push(part));
        }
        for link in &root.features {
            readable &= self.part("feature", link, |c, part| c.features.push(part));
        }
        for link in &root.runs {
            readable &= self.part("run", link, |c, run: PartFile<RunPart>| {
                if first {
                    c.runs.push(run.part);
                }
            });
        }
        for link in &root.ensembles {
            readable &= self.part("ensemble", link, |c, ensemble: PartFile<EnsemblePart>| {
                if first {
                    c.ensembles.push(ensemble.part);
                }
            });
        }
        for link in &root.artifacts {
            readable &= self.artifact(link);
        }
        let number = root.snapshot;
        self.catalog.visited.push(Visited { number, manifests, readable, tag: tag.map(str::to_owned) });
    }

    /// Reads an artifact that was not seen before. Its files are those that the root names, also where the
    /// part cannot be read: `gc` goes by them.
    fn artifact(&mut self, link: &PartLink) -> bool {
        if !link.files.is_empty() && !self.seen.contains(&link.link) {
            self.catalog.artifacts.push(link.clone());
        }
        let mut agrees = Ok(());
        let read = self.part("artifact", link, |_, found: PartFile<ArtifactPart>| {
            agrees = found.part.check_link(link);
        });
        if let Err(e) = &agrees {
            let rows = AffectedRows::new(format!("all of artifact {}", link.name), &RowSet::new());
            self.tally.problem(&format!("manifests/{}", link.link.file), e, Some(rows));
        }
        read && agrees.is_ok()
    }

    /// Reads a part that was not seen before. Says whether it could be read.
    fn part<T: Part>(
        &mut self,
        kind: &str,
        link: &PartLink,
        keep: impl FnOnce(&mut Catalog, PartFile<T>),
    ) -> bool {
        if !self.seen.insert(link.link.clone()) {
            return !self.tally.is_bad(&format!("manifests/{}", link.link.file));
        }
        let file = format!("manifests/{}", link.link.file);
        let (part, lost): (T, _) = match self.store.env().manifests().read_rest(&link.link, None) {
            Ok(read) => read,
            Err(e) => {
                let rows = AffectedRows::new(format!("all of {kind} {}", link.name), &RowSet::new());
                self.failed(&link.link, &e, Some(rows));
                self.tally.bad.insert(file);
                return false;
            }
        };
        self.catalog.manifests.extend(part.pages().into_iter().map(|l| l.file.clone()));
        let whole = lost.is_empty();
        for LostPage { page, of, error } in lost {
            let rows = RowSet::from_range(page.first_row..page.end_row);
            self.catalog.manifests.insert(page.link.file.clone());
            self.failed(&page.link, &error, Some(AffectedRows::new(of, &rows)));
            // Damage of a page is that of the part.
            self.tally.bad.insert(file.clone());
        }
        keep(&mut self.catalog, PartFile { file: link.link.file.clone(), part, whole });
        whole
    }
}
