//! Repair of a store: damaged files are rebuilt from sound ones, and published as a new snapshot.
//!
//! Invariants
//! - one commit: a crash leaves the damage as it was, or the repaired store; repairing again finds nothing to
//!   do. Only files that lie under wrong names are put back before it: no snapshot changes by that
//! - no row is lost that a sound block, page or row still has, and no vector is taken that may be of another
//!   feature; every row that is lost is listed with the way to get it back
//! - no delete is undone, unless the caller asks for it by name
//! - nothing is removed but what can be rebuilt from the rest: the ledger by the next writer, damaged indexes
//!   by their next build; other damaged files stay until they are collected, though what another file is put
//!   back for gets a new name
//! - what cannot be read for a reason that is not the medium's (permission, too many open files, a newer
//!   format) ends the repair
//!
//! docs/design.md ("Repair") says what is rebuilt from what.

mod base;
mod dataset;
mod dead;
mod deletes;
mod feature;
mod files;
mod finish;
mod history;
mod jobs;
mod locks;
mod misplaced;
mod origin;
mod parts;
mod publish;
mod report;
mod samples;
mod take;
mod work;

pub use report::{Loss, LostKind, RebuiltObject, RepairOptions, RepairReport};

use crate::error::VerifyError;
use crate::manifest::{FeaturePart, Stripe};
use crate::store::Store;
use crate::verify::{
    PartFile, Tally, VerifyProgress, check_files, check_ledger, check_places, read_catalog, walk_catalog,
};
use crate::vfs::{OsVfs, Vfs};
use base::Base;
use dead::DeadRows;
use deletes::Trust;
use files::Files;
use finish::{Repaired, finish};
use gstore_core::RowSet;
use parts::Inventory;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use work::{DatasetWork, Repair};

impl Store {
    /// Repairs a store that may be too damaged to be opened. Needs it for itself: a writer or a
    /// job at work is an error.
    ///
    /// With nothing to repair, nothing is published. See [`RepairReport`] for what is said about what is
    /// lost.
    pub fn repair_folder(
        path: impl AsRef<Path>,
        options: RepairOptions,
        progress: &mut dyn FnMut(VerifyProgress),
    ) -> Result<RepairReport, VerifyError> {
        Self::repair_folder_on(Arc::new(OsVfs), path.as_ref(), options, progress)
    }

    /// The same on another file system.
    pub fn repair_folder_on(
        vfs: Arc<dyn Vfs>,
        path: &Path,
        options: RepairOptions,
        progress: &mut dyn FnMut(VerifyProgress),
    ) -> Result<RepairReport, VerifyError> {
        let store = Store::unopened(vfs, path);
        base::check(&store)?;
        let ledger_bad = !options.dry_run && ledger_is_bad(&store);
        let _alone = if options.dry_run { None } else { Some(locks::RepairLocks::take(&store)?) };
        let mut report = RepairReport { dry_run: options.dry_run, ..RepairReport::default() };
        let base = base::find(&store, &mut report)?;
        let work = Repair {
            env: store.env(),
            options: &options,
            store_id: base.root.store,
            ledger_bad,
            report,
            files: Files::new(store.env()),
            bad: HashSet::new(),
            places: HashMap::new(),
            handled: HashSet::new(),
            claimed: HashSet::new(),
        };
        repair(&store, &base, work, progress)
    }
}

/// Whether the ledger says something that the samples do not. Asked before the locks are taken, because
/// it takes the writer's.
fn ledger_is_bad(store: &Store) -> bool {
    let mut quiet = |_| {};
    let mut tally = Tally::new(&mut quiet, None);
    let Ok(catalog) = read_catalog(store, false, &mut tally) else { return false };
    let names = catalog.datasets.iter().map(|d| d.part.name.clone()).collect();
    let before = tally.problems.len();
    check_ledger(store, &catalog, &names, &mut tally);
    tally.problems.len() > before
}

fn repair(
    store: &Store,
    base: &Base,
    mut work: Repair<'_>,
    progress: &mut dyn FnMut(VerifyProgress),
) -> Result<RepairReport, VerifyError> {
    let mut tally = Tally::new(progress, None);
    let link = base.link.as_ref().filter(|_| base.certain);
    let mut catalog = walk_catalog(store, link, &base.root, true, &mut tally);
    refuse(&tally)?;
    let complete = catalog.visited.first().is_some_and(|v| v.readable) && base.certain;
    let inventory = if complete { Inventory::default() } else { Inventory::read(store)? };
    work.claimed = take::claimed(&work, base, &catalog)?;
    let mut datasets = take::datasets(&mut work, base, &catalog, &inventory)?;
    let (runs, lost_features) = take::take_runs(&mut work, base, &catalog, &inventory)?;
    catalog.datasets.drain(..catalog.current_datasets);
    catalog.current_datasets = datasets.len();
    let current = datasets.iter().map(|d| {
        // One that was rebuilt has no file yet.
        let file = d.link.as_ref().map_or_else(String::new, |l| l.link.file.clone());
        PartFile { file, part: d.part.clone(), whole: true }
    });
    catalog.datasets = current.chain(catalog.datasets).collect();
    check_files(store, &catalog, &mut tally);
    refuse(&tally)?;
    work.report.unrepaired.extend(check_places(store, &mut tally));
    work.bad = tally.bad.clone();
    work.report.problems = std::mem::take(&mut tally.problems);
    misplaced::put_back(&mut work, &catalog)?;
    for d in &mut datasets {
        repair_dataset(&mut work, base, d)?;
    }
    let ensembles = take::ensembles(&mut work, base, &catalog, &inventory);
    let mut features = take::features(&mut work, base, &catalog, &datasets)?;
    let live = |name: &str| live_rows(&datasets, name);
    for (number, name) in lost_features {
        let known = (&catalog, &inventory);
        let part = feature::rebuild(&mut work, known, number, name.as_deref(), &live)?;
        features.extend(part.map(|p| (p, None)));
    }
    features.retain(|(f, _)| {
        let members = Stripe::problem_among(&f.desc, ensembles.iter().map(|(e, _)| e));
        let why = if datasets.iter().all(|d| d.part.name != f.desc.dataset) {
            Some("its dataset is no longer known: add the samples again, then")
        } else if members.is_some() || take::has_others(&inventory, &ensembles, f) {
            Some("the members of its ensemble are no longer known:")
        } else {
            None
        };
        work.report.lost.extend(why.map(|why| feature::left_out(f, why)));
        why.is_none()
    });
    // A part that is as it was has a next row above those of all jobs.
    let as_they_were = base.certain && datasets.iter().all(|d| !d.rebuilt);
    let computed = if as_they_were { BTreeMap::new() } else { jobs::computed_rows(store.env())? };
    for d in &mut datasets {
        let own = features.iter().filter(|(f, _)| f.desc.dataset == d.part.name);
        let end = own.flat_map(|(f, _)| &f.segments).map(|s| s.end_row).max().unwrap_or(0);
        // Rows that were deleted and merged away are in no file any more; the root remembers
        // that they were given out.
        let given = [&base.root.next_rows, &computed].map(|rows| rows.get(&d.part.number).copied());
        let end = given.into_iter().flatten().fold(end, u64::max);
        let known = d.part.next_row;
        if end > known {
            d.part.next_row = end;
            d.link = None;
        }
        if let Some(from) = d.gaps_from {
            samples::report_gaps(&mut work, &d.part, from);
        }
        if d.rebuilt || !base.certain {
            // Those before are among the gaps.
            let from = d.gaps_from.map_or(known, |_| d.part.next_row);
            samples::report_unlisted(&mut work, &inventory, &d.part, from)?;
            let features: Vec<&FeaturePart> = features.iter().map(|(f, _)| f).collect();
            dataset::report_lost_counts(&mut work, &d.part, &features, &d.dead.live(&d.part));
        }
    }
    finish(base, &catalog, work, Repaired { datasets, runs, ensembles, features })
}

fn refuse(tally: &Tally<'_>) -> Result<(), VerifyError> {
    match &tally.refused {
        Some(what) => Err(VerifyError::Refused(what.clone())),
        None => Ok(()),
    }
}

fn repair_dataset(work: &mut Repair<'_>, base: &Base, d: &mut DatasetWork) -> Result<(), VerifyError> {
    let before = d.part.clone();
    let trust = match (d.rebuilt, base.certain) {
        (true, _) => Trust::Rebuilt,
        (false, false) => Trust::Listed,
        (false, true) => Trust::All,
    };
    // Only a part that is whole, and that nothing was added to after it, says what was undone.
    let none = HashSet::new();
    let undone = if d.gaps_from.is_some() { &none } else { &base.undone_deletes };
    d.dead = deletes::collect(work, &mut d.part, trust, undone)?;
    deletes::ids(work, &mut d.part, trust, undone)?;
    if d.dead.unknown {
        // Which rows are live is not known, so its samples are left alone; a list of them must fit all the
        // same.
        d.part.set_tombstones(d.part.tombstones.clone());
    } else {
        samples::repair(work, &mut d.part, &mut d.dead)?;
    }
    dataset::drop_counts(work, &mut d.part, &d.dead)?;
    if d.dead.changed && !d.dead.unknown {
        let names = before.tombstones.iter().map(|t| crate::layout::tombstone_file(before.number, t.uuid));
        work.handled.extend(names);
        if !work.options.dry_run {
            let DeadRows { deleted, superseded, purged, .. } = &d.dead;
            let listed = d.part.clone();
            crate::tombstones::set_dead(work.env, &mut d.part, deleted, superseded, purged)?;
            work.files.placed(crate::tombstones::new_files(&listed, &d.part));
        }
    }
    if d.part != before || d.dead.changed {
        d.link = None;
    }
    Ok(())
}

/// The live rows of a dataset. One that is not known any more has none; its features are left out.
fn live_rows(datasets: &[DatasetWork], name: &str) -> RowSet {
    let found = datasets.iter().find(|d| d.part.name == name);
    found.map_or_else(RowSet::new, |d| d.dead.live(&d.part))
}
