//! Base snapshot of a repair.

use super::jobs;
use super::parts::{
    Inventory, Version, best_dataset, best_feature, extends_dataset, extends_ensemble, extends_feature,
    extends_run, is_gone, linked, list,
};
use super::report::RepairReport;
use crate::error::{OpenError, StorageError, VerifyError, if_sound, is_medium};
use crate::layout::{Env, names, now};
use crate::manifest::{ArtifactPart, Counters, Current, DatasetPart, Link, PartLink, Root};
use crate::store::{Numbered, Store, insert_link};
use crate::verify::{artifact_files, dataset_files, feature_files};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::iter::once;
use uuid::Uuid;

/// Where a repair starts.
pub(super) struct Base {
    /// The root that was found, and its number; none if there was none.
    pub link: Option<Link>,
    pub number: Option<u64>,
    /// What is repaired: that root, or a new one that goes on from it.
    pub root: Root,
    /// Whether `CURRENT` names exactly this root. If not, deletes may be missing in it.
    pub certain: bool,
    /// Parts with these numbers and higher ones are newer than the root; lower ones that
    /// it lacks were removed.
    pub limits: Counters,
    /// Bitmaps of deleted rows and lists of deleted ids that earlier snapshots have and the base has no more.
    /// They are undone: nothing tells of a lost later snapshot, which could have them again.
    pub undone_deletes: HashSet<Uuid>,
    /// The content of a `CURRENT` that is damaged.
    pub damaged_current: Option<Vec<u8>>,
    /// The number that the repaired snapshot gets.
    pub next: u64,
}

/// Whether a folder without `CURRENT` holds something that only a store can have lost.
fn has_data(env: &Env) -> Result<bool, VerifyError> {
    for top in ["samples", "segments"] {
        for folder in list(env, top)?.iter().filter(|n| names::number(n).is_some()) {
            if !list(env, &format!("{top}/{folder}"))?.is_empty() {
                return Ok(true);
            }
        }
    }
    let part = |n: &String| ["dataset-", "run-", "feature-"].iter().any(|kind| n.starts_with(kind));
    Ok(list(env, "manifests")?.iter().any(part))
}

/// An error if there is nothing to repair here, because there is no store.
pub(super) fn check(store: &Store) -> Result<(), VerifyError> {
    match Current::read_bytes(store.env().vfs(), store.path()) {
        Err(e @ (OpenError::NotFound(_) | OpenError::NotAFolder(_))) => Err(e.into()),
        Err(e @ OpenError::NotAStore(_)) if !has_data(store.env())? => Err(e.into()),
        _ => Ok(()),
    }
}

/// Reads `CURRENT` and its root, or finds what comes closest.
pub(super) fn find(store: &Store, report: &mut RepairReport) -> Result<Base, VerifyError> {
    let env = store.env();
    let read = Current::read_bytes(env.vfs(), store.path());
    let mut damaged_current = None;
    let current = match read.map(|bytes| (Current::parse(&bytes), bytes)) {
        Ok((Ok(current), bytes)) => Some((current, bytes)),
        Ok((Err(e), bytes)) if e.is_damage() => {
            damaged_current = Some(bytes);
            None
        }
        Ok((Err(e), _)) => return Err(e.into()),
        Err(OpenError::Storage(StorageError::Io { source, .. })) if is_medium(&source) => None,
        Err(OpenError::NotAStore(_) | OpenError::Storage(StorageError::Damaged(_))) => None,
        Err(e) => return Err(e.into()),
    };
    if let Some((current, _)) = &current {
        let root = if_sound(env.manifests().read::<Root>(&current.root))?;
        if let Some(root) = root.filter(|root| root.snapshot == current.snapshot) {
            return Ok(Base {
                link: Some(current.root.clone()),
                number: Some(root.snapshot),
                limits: root.next.clone(),
                next: root.snapshot + 1,
                root,
                certain: true,
                undone_deletes: HashSet::new(),
                damaged_current: None,
            });
        }
    }
    let inventory = Inventory::read(store)?;
    let mut named = None;
    if let Some((current, bytes)) = current {
        // If its root is sound by its own name, what is wrong is in `CURRENT`.
        match inventory.roots.iter().find(|r| r.link.file == current.root.file) {
            Some(_) => damaged_current = Some(bytes),
            None => named = Some(current.snapshot),
        }
    }
    let next = inventory.highest.max(named.unwrap_or(0)).saturating_add(1);
    let found = newest_root(env, &inventory, named.unwrap_or(u64::MAX));
    let mut root = match found {
        Some(v) => v.part.clone(),
        None => Root::first(store_id(store, &inventory)?, now()),
    };
    let from = match found {
        Some(v) => format!("the root of snapshot {}", v.part.snapshot),
        None => "the parts that were found".to_owned(),
    };
    match named {
        None => report.rebuilt("CURRENT", from),
        Some(n) => report.rebuilt(format!("the root of snapshot {n}"), from),
    }
    let (link, number) = (found.map(|v| v.link.clone()), found.map(|v| v.part.snapshot));
    report.notes.extend(lost_with_root(&inventory, named, number));
    let limits = if link.is_some() { root.next.clone() } else { Counters::default() };
    let undone_deletes = match found {
        Some(v) if named.is_none() && !inventory.lacks_root_after(number) => {
            undone_deletes(&inventory, &v.part)
        }
        _ => HashSet::new(),
    };
    take_newer(store, &inventory, (link.is_some(), named), &limits, &mut root, report)?;
    // From here on it is a snapshot of its own, and the one that was found is the first of its history.
    (root.snapshot, root.parent) = (next, link.clone());
    if link.is_none() {
        root.oldest = next;
    }
    Ok(Base { link, number, root, certain: false, limits, undone_deletes, damaged_current, next })
}

/// What is said where the last root is lost: that of the snapshot which `CURRENT` names, or else a damaged one
/// after the one that was found. Nothing but roots tells of tags, views and removals.
fn lost_with_root(inventory: &Inventory, named: Option<u64>, found: Option<u64>) -> Option<String> {
    let lost = match named.or(inventory.damaged_root.filter(|number| Some(*number) > found)) {
        Some(number) => format!("the root of snapshot {number} is damaged"),
        None if found.is_none() => "the root of the last snapshot is lost".to_owned(),
        None => return None,
    };
    let gone = if found.is_none() { "all tags and views" } else { "tags and views that it saved" };
    Some(format!("{lost}: what it removed (datasets, features, runs, tags) may be back, and {gone} are gone"))
}

/// The bitmaps and lists of deleted ids that earlier roots have and this one has not.
fn undone_deletes(inventory: &Inventory, root: &Root) -> HashSet<Uuid> {
    let earlier = inventory.roots.iter().map(|r| &r.part).filter(|r| r.snapshot < root.snapshot);
    let own = deletes_of(inventory, once(root));
    let mut undone = deletes_of(inventory, earlier);
    undone.retain(|uuid| !own.contains(uuid));
    undone
}

/// The bitmaps and lists of deleted ids of the datasets of some roots, as far as their parts are known.
fn deletes_of<'a>(inventory: &Inventory, roots: impl Iterator<Item = &'a Root>) -> HashSet<Uuid> {
    let files: HashSet<&str> = roots.flat_map(|r| &r.datasets).map(|l| l.link.file.as_str()).collect();
    let parts = inventory.datasets.iter().filter(|v| files.contains(v.link.file.as_str())).map(|v| &v.part);
    let of = |d: &DatasetPart| -> Vec<Uuid> {
        d.tombstones.iter().map(|t| t.uuid).chain(d.deleted_ids.iter().map(|l| l.uuid)).collect()
    };
    parts.flat_map(of).collect()
}

/// The newest sound root that was not taken back.
fn newest_root<'a>(env: &Env, inventory: &'a Inventory, below: u64) -> Option<&'a Version<Root>> {
    let mut roots: Vec<&Version<Root>> = inventory.roots.iter().filter(|r| r.part.snapshot < below).collect();
    roots.sort_by_key(|r| std::cmp::Reverse((r.part.snapshot, r.part.created)));
    let first = roots.first().copied();
    roots.iter().copied().find(|r| !was_taken_back(env, inventory, &r.part)).or(first)
}

/// Whether a root was never published, or was taken back, as far as the data files say that. Compared with
/// the root before it, all of its own files are gone; or it replaced files, not all of what it put there is
/// in place, and everything it replaced is.
///
/// A root that only adds to the one before is kept as long as some of its files are there: damage may
/// have taken the others.
fn was_taken_back(env: &Env, inventory: &Inventory, root: &Root) -> bool {
    let Some(before) = before(inventory, root) else { return false };
    let (old, own) = (data_of(inventory, before), data_of(inventory, root));
    let added: Vec<(&String, &u64)> = own.iter().filter(|(f, _)| !old.contains_key(*f)).collect();
    if !added.is_empty() && added.iter().all(|(file, _)| is_gone(env, file)) {
        return true;
    }
    // What a root deletes counts however little of it is left, so bitmaps have no say here.
    let is_data = |file: &str| !file.ends_with(".roaring");
    let replaces = old.keys().any(|f| is_data(f) && !own.contains_key(f));
    let lacks = added.iter().any(|(f, len)| is_data(f) && !in_place(env, f, **len));
    replaces && lacks && old.iter().all(|(f, len)| in_place(env, f, *len))
}

/// The root that another one followed. One that cut the history names none: it is the newest of those with
/// lower numbers, which are there as long as the files of the history were not removed.
fn before<'a>(inventory: &'a Inventory, root: &Root) -> Option<&'a Root> {
    let roots = || inventory.roots.iter();
    let found = match &root.parent {
        Some(parent) => roots().find(|r| r.link == *parent),
        None => roots()
            .filter(|r| r.part.snapshot < root.snapshot)
            .max_by_key(|r| (r.part.snapshot, r.part.created)),
    };
    found.map(|r| &r.part)
}

/// Names and lengths of the data files of a root, as far as its parts are known.
fn data_of(inventory: &Inventory, root: &Root) -> BTreeMap<String, u64> {
    let has = |links: &[PartLink], link: &Link| links.iter().any(|l| l.link == *link);
    let datasets = inventory.datasets.iter().filter(|d| has(&root.datasets, &d.link));
    let features = inventory.features.iter().filter(|f| has(&root.features, &f.link));
    let datasets = datasets.flat_map(|d| dataset_files(&d.part));
    let artifacts = root.artifacts.iter().flat_map(artifact_files);
    datasets.chain(features.flat_map(|f| feature_files(&f.part))).chain(artifacts).collect()
}

fn in_place(env: &Env, file: &str, len: u64) -> bool {
    env.len_of(file).is_ok_and(|found| found == len)
}

/// The id of the store, which all its roots have, even those that are damaged elsewhere.
fn store_id(store: &Store, inventory: &Inventory) -> Result<Uuid, VerifyError> {
    if let Some(root) = inventory.roots.first() {
        return Ok(root.part.store);
    }
    let env = store.env();
    let names = list(env, "manifests")?;
    let mut ids: Vec<Uuid> = Vec::new();
    for name in names.iter().filter(|n| n.starts_with("root-") && n.ends_with(".json")) {
        // One that cannot be read has no say.
        let bytes = env.vfs().read(&env.at(&format!("manifests/{name}")), 1 << 26).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let id = text.split("\"store\": \"").nth(1).and_then(|rest| rest.get(..36));
        ids.extend(id.and_then(|id| id.parse::<Uuid>().ok()));
    }
    ids.dedup();
    Ok(match ids.as_slice() {
        [one] => *one,
        _ => Uuid::new_v4(),
    })
}

/// Takes up parts that no sound root refers to: those that the lost root had, of the snapshot that `CURRENT`
/// names if it can be read.
fn take_newer(
    store: &Store,
    inventory: &Inventory,
    (has_root, named): (bool, Option<u64>),
    limits: &Counters,
    root: &mut Root,
    report: &mut RepairReport,
) -> Result<(), VerifyError> {
    let env = store.env();
    let known = |link: &Link| has_root && inventory.known.contains(&link.file);
    let mut taker = Taker { has_root, known: &known, report: &mut *report };
    taker.take(
        (&inventory.datasets[..], &mut root.datasets, limits.dataset),
        |all| best_dataset(env, all.into_iter()),
        |new, old| extends_dataset(env, new, old),
    );
    taker.take(
        (&inventory.features[..], &mut root.features, limits.feature),
        |all| best_feature(env, all.into_iter()),
        |new, old| extends_feature(env, new, old),
    );
    taker.take(
        (&inventory.runs[..], &mut root.runs, limits.run),
        |all| all.into_iter().max_by_key(|v| v.part.checkpoints.len()),
        extends_run,
    );
    taker.take(
        (&inventory.ensembles[..], &mut root.ensembles, limits.ensemble),
        |all| all.into_iter().max_by_key(|v| v.part.members.len()),
        extends_ensemble,
    );
    take_artifacts(inventory, named, root, report);
    raise_counters(store.env(), inventory, root)
}

/// Takes up the artifacts that came with lost roots: after the one that was found, up to that which `CURRENT`
/// names. Of a name the last one counts. Nothing else tells whether one was ever published, so the others are
/// left where they are, and of several that would have come with the same root all.
fn take_artifacts(inventory: &Inventory, named: Option<u64>, root: &mut Root, report: &mut RepairReport) {
    let found = root.snapshot;
    let is_newer =
        |link: &Link, number: u32| u64::from(number) > found && !inventory.known.contains(&link.file);
    let mut newer: Vec<&Version<ArtifactPart>> = inventory.artifacts.iter().collect();
    newer.retain(|v| is_newer(&v.link, v.part.number));
    newer.sort_by_key(|v| v.part.number);
    for alike in newer.chunk_by(|a, b| a.part.number == b.part.number) {
        match alike {
            [v] if named.is_some_and(|named| u64::from(v.part.number) <= named) => {
                let (number, name) = (v.part.number, &v.part.name);
                root.artifacts.retain(|link| link.number != number && link.name != *name);
                root.artifacts.push(linked(v));
            }
            _ => report.notes.extend(alike.iter().map(|v| {
                format!(
                    "artifact {} in manifests/{} may never have been published, so it was left aside; if it was, fit it again with the original command",
                    v.part.name, v.link.file
                )
            })),
        }
    }
    for link in root.artifacts.iter().filter(|link| is_newer(&link.link, link.number)) {
        report.rebuilt(format!("artifact {}", link.name), format!("manifests/{}", link.link.file));
    }
}

/// What is taken up into a root beyond what it has.
struct Taker<'a> {
    /// Whether the root was found; else it is a new one.
    has_root: bool,
    /// Whether a sound root refers to a part.
    known: &'a dyn Fn(&Link) -> bool,
    report: &'a mut RepairReport,
}

impl Taker<'_> {
    /// Of each part the best of the versions that are not known, if it goes on from the one that the root
    /// has, or the root has none and its number is not below the limit.
    fn take<'v, T: Numbered>(
        &mut self,
        (versions, links, limit): (&'v [Version<T>], &mut Vec<PartLink>, u32),
        best: impl Fn(Vec<&'v Version<T>>) -> Option<&'v Version<T>>,
        extends: impl Fn(&T, &T) -> bool,
    ) {
        let numbers: BTreeSet<u32> = versions.iter().map(|v| v.part.number()).collect();
        for number in numbers {
            let all = || versions.iter().filter(|v| v.part.number() == number && !(self.known)(&v.link));
            let old = links.iter().find(|l| l.number == number);
            let taken = match old.and_then(|l| versions.iter().find(|v| v.link == l.link)) {
                Some(old) => best(once(old).chain(all().filter(|v| extends(&v.part, &old.part))).collect()),
                None if old.is_some() || number >= limit => best(all().collect()),
                None => None,
            };
            if let Some(v) = taken {
                self.put::<T>(PartLink::new(number, v.part.name(), v.link.clone()), links);
            }
        }
    }

    fn put<T: Numbered>(&mut self, link: PartLink, links: &mut Vec<PartLink>) {
        let same_name = links.iter().any(|l| l.number != link.number && l.name == link.name);
        if links.contains(&link) || (T::UNIQUE_NAMES && same_name) {
            return;
        }
        if self.has_root {
            self.report
                .rebuilt(format!("{} {}", T::KIND, link.name), format!("manifests/{}", link.link.file));
        }
        insert_link(links, link);
    }
}

/// A number that was ever in use is not given out again.
fn raise_counters(env: &Env, inventory: &Inventory, root: &mut Root) -> Result<(), VerifyError> {
    let folders = |name: &str| -> Result<u32, VerifyError> {
        let numbers = list(env, name)?.into_iter().filter_map(|n| names::number(&n));
        Ok(numbers.max().map_or(0, |n| n.saturating_add(1)))
    };
    let mentioned = |kind: &str| -> u32 {
        let numbers = inventory.mentioned.iter().filter(|(k, _)| k == kind).map(|(_, n)| *n);
        numbers.max().map_or(0, |n| n.saturating_add(1))
    };
    let encodings = inventory.datasets.iter().flat_map(|d| &d.part.encodings);
    let encodings = encodings.map(|e| e.number.saturating_add(1));
    let next = &mut root.next;
    next.dataset =
        next.dataset.max(folders("samples")?).max(mentioned("dataset")).max(jobs::next_dataset(env)?);
    next.feature = next.feature.max(folders("segments")?).max(mentioned("feature"));
    next.run = next.run.max(mentioned("run"));
    next.ensemble = next.ensemble.max(mentioned("ensemble")).max(1);
    next.encoding = next.encoding.max(folders("encodings")?).max(encodings.max().unwrap_or(0));
    Ok(())
}
