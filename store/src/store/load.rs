//! Loading a snapshot from its root.

use super::snapshot::{Snapshot, SnapshotParts};
use crate::error::{Damage, OpenError, StorageError};
use crate::layout::Env;
use crate::lease::watched;
use crate::manifest::{DatasetPart, EnsemblePart, FeaturePart, Link, Part, PartLink, Root, RunPart, Stripe};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A part that has a number among those of its kind.
pub(crate) trait Numbered: Part {
    /// What messages call the kind.
    const KIND: &'static str;
    /// Whether no two parts of a root have one name.
    const UNIQUE_NAMES: bool;
    fn number(&self) -> u32;
    /// Its name or label, for people.
    fn name(&self) -> String;
}

macro_rules! numbered {
    ($($part:ident $kind:literal $unique:literal $name:expr;)*) => {$(
        impl Numbered for $part {
            const KIND: &'static str = $kind;
            const UNIQUE_NAMES: bool = $unique;

            fn number(&self) -> u32 {
                self.number
            }

            fn name(&self) -> String {
                let name: fn(&Self) -> String = $name;
                name(self)
            }
        }
    )*};
}

numbered! {
    DatasetPart "dataset" true |part| part.name.clone();
    RunPart "run" false |part| part.name.clone();
    EnsemblePart "ensemble" true |part| part.name.clone();
    FeaturePart "feature" false |part| part.display_name();
}

/// Loads a snapshot. Of one that was loaded before, `previous`, it shares the parts that are the same, and
/// knows what came later.
pub(crate) fn load(env: &Arc<Env>, link: &Link, previous: Option<&Snapshot>) -> Result<Snapshot, OpenError> {
    let root: Root = env.manifests().read(link)?;
    let datasets = parts(env, &root.datasets, previous.map(|s| (&*s.root().datasets, s.datasets())))?;
    let runs = parts(env, &root.runs, previous.map(|s| (&*s.root().runs, s.runs())))?;
    let features = parts(env, &root.features, previous.map(|s| (&*s.root().features, s.features())))?;
    let ensembles = parts(env, &root.ensembles, previous.map(|s| (&*s.root().ensembles, s.ensembles())))?;
    let all = SnapshotParts { datasets, runs, ensembles, features, ..SnapshotParts::default() };
    assemble(env, link.clone(), root, all, previous)
}

/// A snapshot of a root and its parts, which must agree with each other.
pub(super) fn assemble(
    env: &Arc<Env>,
    link: Link,
    root: Root,
    mut parts: SnapshotParts,
    previous: Option<&Snapshot>,
) -> Result<Snapshot, OpenError> {
    check_references(&format!("manifests/{}", link.file), &parts)?;
    // A part that is not shared gets a cell of its own.
    let cell = |part: &Arc<DatasetPart>| previous.and_then(|s| s.live_cell(part)).unwrap_or_default();
    parts.live = parts.datasets.iter().map(cell).collect();
    // The history is cut by what came later: an older root does not know.
    let later = previous.filter(|s| s.number() > root.snapshot);
    parts.oldest = later.map_or(root.oldest, |s| s.oldest().max(root.oldest));
    parts.tags = later.map_or_else(|| root.tags.clone(), |s| s.all_tags().to_vec());
    let env = watched(env, root.snapshot, &link);
    Ok(Snapshot::new(env, link, root, parts))
}

/// The parts of some links; those that the previous snapshot has already are shared.
fn parts<T: Numbered>(
    env: &Env,
    links: &[PartLink],
    previous: Option<(&[PartLink], &[Arc<T>])>,
) -> Result<Vec<Arc<T>>, StorageError> {
    let mut out = Vec::with_capacity(links.len());
    for link in links {
        let before = previous.and_then(|(old, parts)| {
            let i = old.binary_search_by_key(&link.number, |l| l.number).ok()?;
            Some((old.get(i)?, parts.get(i)?))
        });
        let part = match before {
            Some((old, part)) if old.link == link.link => Arc::clone(part),
            _ => Arc::new(env.manifests().read_like::<T>(&link.link, before.map(|(_, part)| &**part))?),
        };
        if part.number() != link.number {
            let file = format!("manifests/{}", link.link.file);
            return Err(Damage::new(file, "number of the part", link.number, part.number()).into());
        }
        out.push(part);
    }
    Ok(out)
}

/// Names are unique; every feature belongs to a dataset that has its rows, and those of an ensemble to one
/// that has their members.
pub(super) fn check_references(file: &str, all: &SnapshotParts) -> Result<(), StorageError> {
    let SnapshotParts { datasets, ensembles, features, .. } = all;
    let mut names = HashSet::new();
    if let Some(twice) = ensembles.iter().find(|e| !names.insert(e.name.as_str())) {
        let found = format!("two named {:?}", twice.name);
        return Err(Damage::new(file, "ensembles", "different names", found).into());
    }
    let mut rows = HashMap::with_capacity(datasets.len());
    for d in datasets {
        if rows.insert(d.name.as_str(), d.next_row).is_some() {
            let found = format!("two named {:?}", d.name);
            return Err(Damage::new(file, "datasets", "different names", found).into());
        }
    }
    for f in features {
        if let Some((what, expected, found)) = Stripe::problem_among(&f.desc, ensembles.iter().map(|e| &**e))
        {
            return Err(Damage::new(file, what, expected, found).into());
        }
        let Some(next_row) = rows.get(f.desc.dataset.as_str()) else {
            let what = format!("dataset of feature {}", f.number);
            return Err(Damage::new(file, what, "one of the snapshot", &f.desc.dataset).into());
        };
        if let Some(end) = f.segments.iter().map(|s| s.end_row).max().filter(|end| end > next_row) {
            let what = format!("rows of feature {}", f.number);
            return Err(Damage::new(file, what, format!("at most {next_row}"), end).into());
        }
    }
    Ok(())
}
