//! Repair of a store: damaged files are rebuilt from sound ones, and published as a new snapshot.
//!
//! Invariants
//! - one commit: a crash leaves the damage as it was, or the repaired store; repairing
//!   again finds nothing to do
//! - no row is lost that a sound block, page or row still has; every row that is lost is listed with
//!   the way to get it back
//! - no delete is undone, unless the caller asks for it by name
//! - nothing is removed but what can be rebuilt from the rest: the ledger by the next writer, damaged indexes
//!   by their next build; other damaged files stay until they are collected
//! - what cannot be read for a reason that is not the medium's (permission, too many open files, a newer
//!   format) ends the repair
//!
//! docs/design.md ("Repair") says what is rebuilt from what.

mod base;
mod dataset;
mod deletes;
mod feature;
mod files;
mod history;
mod jobs;
mod locks;
mod parts;
mod publish;
mod report;
mod samples;

pub use report::{Loss, LostKind, Rebuilt, RepairOptions, RepairReport};

use crate::error::{StorageError, VerifyError};
use crate::layout::Env;
use crate::layout::names::INDEXES;
use crate::ledger::Ledger;
use crate::manifest::{ArtifactPart, DatasetPart, EnsemblePart, FeaturePart, PartLink, RunPart, Stripe};
use crate::store::Store;
use crate::verify::{
    Catalog, Found, Tally, VerifyProgress, artifact_files, check_files, check_ledger, dataset_files,
    feature_files, read_catalog, walk_catalog,
};
use crate::vfs::{OsVfs, Vfs};
use base::Base;
use deletes::{Dead, Trust};
use files::Files;
use gstore_core::{Remedy, RowSet};
use parts::{Inventory, list};
use publish::Outcome;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// A repair under way.
struct Work<'a> {
    env: &'a Arc<Env>,
    options: &'a RepairOptions,
    store_id: Uuid,
    ledger_bad: bool,
    report: RepairReport,
    files: Files,
    /// Files with a problem, relative to the store.
    bad: HashSet<String>,
    /// Those that the repaired snapshot does without.
    handled: HashSet<String>,
    /// Those that interrupted jobs were publishing and that no sound snapshot has.
    claimed: HashSet<String>,
}

impl Work<'_> {
    fn is_bad(&self, file: &str) -> bool {
        self.bad.contains(file)
    }
}

/// A dataset being repaired.
struct DatasetWork {
    part: DatasetPart,
    /// Its manifest, while it is as it was.
    link: Option<PartLink>,
    rebuilt: bool,
    /// Of rows from here on that no file has it is not known what they were.
    gaps_from: Option<u64>,
    dead: Dead,
}

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
        let _alone = if options.dry_run { None } else { Some(locks::Alone::take(&store)?) };
        let mut report = RepairReport { dry_run: options.dry_run, ..RepairReport::default() };
        let base = base::find(&store, &mut report)?;
        let work = Work {
            env: store.env(),
            options: &options,
            store_id: base.root.store,
            ledger_bad,
            report,
            files: Files::new(store.env()),
            bad: HashSet::new(),
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
    mut work: Work<'_>,
    progress: &mut dyn FnMut(VerifyProgress),
) -> Result<RepairReport, VerifyError> {
    let mut tally = Tally::new(progress, None);
    let link = base.link.as_ref().filter(|_| base.certain);
    let mut catalog = walk_catalog(store, link, &base.root, true, &mut tally);
    refuse(&tally)?;
    let complete = catalog.visited.first().is_some_and(|v| v.readable) && base.certain;
    let inventory = if complete { Inventory::default() } else { Inventory::read(store)? };
    work.claimed = claimed(&work, base, &catalog)?;
    let mut datasets = take_datasets(&mut work, base, &catalog, &inventory)?;
    let (runs, lost_features) = take_others(&mut work, base, &catalog, &inventory)?;
    catalog.datasets.drain(..catalog.current_datasets);
    catalog.current_datasets = datasets.len();
    let current = datasets.iter().map(|d| {
        // One that was rebuilt has no file yet.
        let file = d.link.as_ref().map_or_else(String::new, |l| l.link.file.clone());
        Found { file, part: d.part.clone(), whole: true }
    });
    catalog.datasets = current.chain(catalog.datasets).collect();
    check_files(store, &catalog, &mut tally);
    refuse(&tally)?;
    work.bad = tally.bad.clone();
    work.report.problems = std::mem::take(&mut tally.problems);
    for d in &mut datasets {
        repair_dataset(&mut work, base, d)?;
    }
    let ensembles = take_ensembles(&mut work, base, &catalog, &inventory);
    let mut features = repair_features(&mut work, base, &catalog, &datasets)?;
    let live = |name: &str| live_rows(&datasets, name);
    for (number, name) in lost_features {
        let part = feature::rebuild(&mut work, &inventory, number, name.as_deref(), &live)?;
        features.extend(part.map(|p| (p, None)));
    }
    features.retain(|(f, _)| {
        let known = datasets.iter().any(|d| d.part.name == f.desc.dataset);
        if !known {
            let what =
                format!("feature {} was left out: its dataset is not known any more", f.display_name());
            work.report.unrepaired.push(what);
        }
        let problem = Stripe::problem_among(&f.desc, ensembles.iter().map(|(e, _)| e));
        if problem.is_some() {
            let what = format!(
                "feature {} was left out: the members of its ensemble are not known any more",
                f.display_name()
            );
            work.report.unrepaired.push(what);
        }
        known && problem.is_none()
    });
    for d in &mut datasets {
        let own = features.iter().filter(|(f, _)| f.desc.dataset == d.part.name);
        let end = own.flat_map(|(f, _)| &f.segments).map(|s| s.end_row).max().unwrap_or(0);
        // Rows that were deleted and merged away are in no file any more; the root remembers
        // that they were given out.
        let end = end.max(base.root.next_rows.get(&d.part.number).copied().unwrap_or(0));
        if end > d.part.next_row {
            d.part.next_row = end;
            d.link = None;
        }
        if let Some(from) = d.gaps_from {
            samples::report_gaps(&mut work, &d.part, from);
        }
        if d.rebuilt || !base.certain {
            let features: Vec<&FeaturePart> = features.iter().map(|(f, _)| f).collect();
            dataset::report_lost_counts(&mut work, &d.part, &features, &d.dead.live(&d.part));
        }
    }
    finish(base, &catalog, work, Repaired { datasets, runs, ensembles, features })
}

/// The files that are left to interrupted jobs. A snapshot that was published has them in its parts; if one
/// of those is damaged, the command tells whose snapshot it is. A job without a command has published: its
/// folder was being removed.
fn claimed(work: &Work<'_>, base: &Base, catalog: &Catalog) -> Result<HashSet<String>, VerifyError> {
    let mut claimed = HashSet::new();
    for job in jobs::publishing(work.env)? {
        let is_base = base.number == Some(job.snapshot) && job.command.as_ref() == Some(&base.root.command);
        if !is_base && job.command.is_some() {
            claimed.extend(job.files);
        }
    }
    let published = catalog.data_files();
    claimed.retain(|file| !published.contains_key(file));
    Ok(claimed)
}

fn refuse(tally: &Tally<'_>) -> Result<(), VerifyError> {
    match &tally.refused {
        Some(what) => Err(VerifyError::Refused(what.clone())),
        None => Ok(()),
    }
}

/// The datasets of the base; those whose manifest is lost are put together again.
fn take_datasets(
    work: &mut Work<'_>,
    base: &Base,
    catalog: &Catalog,
    inventory: &Inventory,
) -> Result<Vec<DatasetWork>, VerifyError> {
    let mut out = Vec::new();
    let known = base.root.features.iter().map(|l| l.number);
    let features: Vec<u32> = known.chain(new_folders(work.env, "segments", base.limits.feature)?).collect();
    let current = || catalog.datasets.iter().take(catalog.current_datasets);
    for link in &base.root.datasets {
        let found = current().find(|d| d.part.number == link.number && d.file == link.link.file);
        let taken = match found {
            Some(d) if d.whole => Some((d.part.clone(), Some(link.clone()))),
            found => {
                let rest = found.map(|d| &d.part);
                dataset::rebuild(work, inventory, link.number, Some(&link.name), rest)?.map(|p| (p, None))
            }
        };
        // The report says so of a dataset of which nothing is known.
        let Some((mut part, mut link)) = taken else { continue };
        let mut gaps_from = link.is_none().then_some(0);
        if !base.certain {
            let known = part.next_row;
            if dataset::take_added(work, inventory, &mut part, &features)? {
                gaps_from = gaps_from.or(Some(known));
                link = None;
            }
        }
        out.push(DatasetWork { part, rebuilt: link.is_none(), link, gaps_from, dead: Dead::default() });
    }
    if !base.certain {
        for number in new_folders(work.env, "samples", base.limits.dataset)? {
            if base.root.datasets.iter().any(|l| l.number == number) {
                continue;
            }
            let Some(mut part) = dataset::rebuild(work, inventory, number, None, None)? else { continue };
            if out.iter().all(|d: &DatasetWork| d.part.name != part.name) {
                dataset::take_added(work, inventory, &mut part, &features)?;
                let (dead, gaps_from) = (Dead::default(), Some(0));
                out.push(DatasetWork { part, link: None, rebuilt: true, gaps_from, dead });
            }
        }
    }
    Ok(out)
}

/// Folders of parts that are newer than the base.
fn new_folders(env: &Env, top: &str, limit: u32) -> Result<Vec<u32>, VerifyError> {
    let names = list(env, top)?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|n| n.parse().ok()).filter(|n| *n >= limit).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

type Runs = Vec<(RunPart, Option<PartLink>)>;
type Ensembles = Vec<(EnsemblePart, Option<PartLink>)>;

/// What a repair found or made.
struct Repaired {
    datasets: Vec<DatasetWork>,
    runs: Runs,
    ensembles: Ensembles,
    features: Features,
}

/// Numbers of features without a sound part, and their names where they are known.
type LostFeatures = Vec<(u32, Option<String>)>;

/// The runs of the base, and the features whose manifest is lost: number and name.
fn take_others(
    work: &mut Work<'_>,
    base: &Base,
    catalog: &Catalog,
    inventory: &Inventory,
) -> Result<(Runs, LostFeatures), VerifyError> {
    let mut runs = Vec::new();
    for link in &base.root.runs {
        if let Some(run) = catalog.runs.iter().find(|r| r.number == link.number) {
            runs.push((run.clone(), Some(link.clone())));
            continue;
        }
        match parts::best_run(inventory.runs.iter().filter(|v| v.part.number == link.number)) {
            Some(v) => {
                work.report.rebuilt(format!("run {}", link.name), format!("manifests/{}", v.link.file));
                runs.push((v.part.clone(), None));
            }
            None => {
                let remedy = format!(
                    "run {} with the original command: it names the checkpoints again",
                    Remedy::Ingest
                );
                let of = format!("run {}", link.name);
                work.report.lost.push(Loss::new(LostKind::Run, &of, &RowSet::new(), &remedy));
            }
        }
    }
    let current = || catalog.features.iter().take(catalog.current_features);
    let gone = base.root.features.iter().filter(|l| current().all(|f| !f.whole || f.file != l.link.file));
    let mut lost: LostFeatures = gone.map(|l| (l.number, Some(l.name.clone()))).collect();
    if !base.certain {
        let numbers = new_folders(work.env, "segments", base.limits.feature)?;
        let known = |n: &u32| base.root.features.iter().any(|l| l.number == *n);
        lost.extend(numbers.into_iter().filter(|n| !known(n)).map(|n| (n, None)));
    }
    Ok((runs, lost))
}

/// The ensembles of the base. One whose manifest is lost comes back as an older version had it; members that
/// came later are lost with their losses.
fn take_ensembles(work: &mut Work<'_>, base: &Base, catalog: &Catalog, inventory: &Inventory) -> Ensembles {
    let mut ensembles = Vec::new();
    for link in &base.root.ensembles {
        if let Some(part) = catalog.ensembles.iter().find(|e| e.number == link.number) {
            ensembles.push((part.clone(), Some(link.clone())));
            continue;
        }
        match parts::best_ensemble(inventory.ensembles.iter().filter(|v| v.part.number == link.number)) {
            Some(v) => {
                let what = format!("ensemble {}", link.name);
                work.report.rebuilt(what, format!("manifests/{}", v.link.file));
                ensembles.push((v.part.clone(), None));
            }
            None => {
                let of = format!("ensemble {}", link.name);
                let remedy = "make it again as it was made: its members are named again, and their losses";
                work.report.lost.push(Loss::new(LostKind::Ensemble, &of, &RowSet::new(), remedy));
            }
        }
    }
    ensembles
}

fn repair_dataset(work: &mut Work<'_>, base: &Base, d: &mut DatasetWork) -> Result<(), VerifyError> {
    let before = d.part.clone();
    let trust = match (d.rebuilt, base.certain) {
        (true, _) => Trust::Rebuilt,
        (false, false) => Trust::Listed,
        (false, true) => Trust::All,
    };
    d.dead = deletes::collect(work, &mut d.part, trust)?;
    deletes::ids(work, &mut d.part, trust)?;
    if d.dead.unknown {
        // Which rows are live is not known, so its samples are left alone; a list of them must fit all the
        // same.
        d.part.set_tombstones(d.part.tombstones.clone());
    } else {
        samples::repair(work, &mut d.part, &mut d.dead)?;
    }
    let live = d.dead.live(&d.part);
    dataset::drop_counts(work, &mut d.part, &live);
    if d.dead.changed && !d.dead.unknown {
        let names = before.tombstones.iter().map(|t| crate::layout::tombstone_file(before.number, t.uuid));
        work.handled.extend(names);
        if !work.options.dry_run {
            let Dead { deleted, superseded, purged, .. } = &d.dead;
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

type Features = Vec<(FeaturePart, Option<PartLink>)>;

fn repair_features(
    work: &mut Work<'_>,
    base: &Base,
    catalog: &Catalog,
    datasets: &[DatasetWork],
) -> Result<Features, VerifyError> {
    let mut out = Vec::new();
    for found in catalog.features.iter().take(catalog.current_features).filter(|f| f.whole) {
        let mut part = found.part.clone();
        let link = base.root.features.iter().find(|l| l.link.file == found.file).cloned();
        let bad =
            part.segments.iter().any(|s| work.is_bad(&crate::layout::segment_file(part.number, s.uuid)));
        if bad {
            let live = live_rows(datasets, &part.desc.dataset);
            feature::repair(work, &mut part, &live)?;
        }
        out.push((part, link.filter(|_| !bad)));
    }
    Ok(out)
}

/// The artifacts that can be read, with all of their files. Nothing tells what was in the others.
fn sound_artifacts(base: &Base, work: &mut Work<'_>) -> Vec<PartLink> {
    let mut sound = Vec::new();
    for link in &base.root.artifacts {
        let read = work.env.manifests().read::<ArtifactPart>(&link.link);
        let read = read.and_then(|part| part.check_link(link));
        let whole = artifact_files(link).iter().all(|(file, _)| !work.is_bad(file));
        if whole && matches!(read, Ok(_) | Err(StorageError::Newer { .. })) {
            sound.push(link.clone());
            continue;
        }
        let of = format!("artifact {}", link.name);
        let remedy = "fit it again with the original command";
        work.report.lost.push(Loss::new(LostKind::Artifact, &of, &RowSet::new(), remedy));
    }
    sound
}

fn finish(
    base: &Base,
    catalog: &Catalog,
    mut work: Work<'_>,
    repaired: Repaired,
) -> Result<RepairReport, VerifyError> {
    let Repaired { datasets, runs, ensembles, features } = repaired;
    let used = datasets.iter().flat_map(|d| dataset_files(&d.part));
    let used = used.chain(features.iter().flat_map(|(f, _)| feature_files(f)));
    let mut left: Vec<String> =
        used.map(|f| f.0).filter(|f| work.is_bad(f) && !work.handled.contains(f)).collect();
    left.sort();
    left.dedup();
    for file in left.iter().filter(|f| !f.ends_with(".roaring")) {
        let detail =
            format!("{file} says what cannot be right, and nothing tells what would be; restore a backup");
        work.report.unrepaired.push(detail);
    }
    let (oldest, tags) = history::keep(base, catalog, &mut work);
    let artifacts = sound_artifacts(base, &mut work);
    let changed = datasets.iter().any(|d| d.link.is_none())
        || runs.iter().any(|r| r.1.is_none())
        || runs.len() != base.root.runs.len()
        || ensembles.iter().any(|e| e.1.is_none())
        || ensembles.len() != base.root.ensembles.len()
        || features.iter().any(|f| f.1.is_none())
        || features.len() != base.root.features.len()
        || !base.certain
        || artifacts.len() != base.root.artifacts.len()
        || oldest != base.root.oldest
        || tags.len() != base.root.tags.len();
    let new_samples = !base.certain || datasets.iter().any(|d| d.link.is_none());
    work.report.base = base.number;
    let damaged = damaged_indexes(&mut work);
    if changed {
        work.report.snapshot = Some(base.next);
    }
    if work.options.dry_run {
        return Ok(std::mem::take(&mut work.report));
    }
    if changed {
        let command = match work.options.command.as_str() {
            "" => "repair",
            given => given,
        };
        let outcome = Outcome {
            datasets: datasets.into_iter().map(|d| (d.part, d.link)).collect(),
            runs,
            ensembles,
            features,
            artifacts,
            tags,
            oldest,
            command: command.to_owned(),
            changes: history::changes(&work.report),
        };
        work.files.place()?;
        let published = publish::publish(work.env, base, outcome);
        if matches!(&published, Ok(()) | Err(VerifyError::Commit(_))) {
            // `CURRENT` names them, or that is not known.
            work.files.keep();
        }
        published?;
    }
    if work.ledger_bad || (changed && new_samples) {
        remove_ledger(&mut work)?;
    }
    remove_indexes(&work, &damaged)?;
    Ok(std::mem::take(&mut work.report))
}

/// Damaged indexes. They go: who looks for one finds none, and builds it.
fn damaged_indexes(work: &mut Work<'_>) -> Vec<String> {
    let is_index = |f: &&String| f.strip_prefix(INDEXES).is_some_and(|rest| rest.starts_with('/'));
    let mut damaged: Vec<String> = work.bad.iter().filter(is_index).cloned().collect();
    damaged.sort();
    for file in &damaged {
        let from = format!("its segment by the next {}; until then there is none", Remedy::INDEX);
        work.report.rebuilt(file, from);
    }
    damaged
}

fn remove_indexes(work: &Work<'_>, damaged: &[String]) -> Result<(), VerifyError> {
    for file in damaged {
        match work.env.vfs().remove(&work.env.at(file)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Env::io("remove", file)(e).into());
            }
            _ => {}
        }
    }
    if damaged.is_empty() { Ok(()) } else { Ok(work.env.sync_folder(INDEXES)?) }
}

/// The next writer rebuilds it from the samples.
fn remove_ledger(work: &mut Work<'_>) -> Result<(), VerifyError> {
    Ledger::remove(&work.env.shared_vfs(), work.env.path())?;
    if work.ledger_bad {
        work.report.rebuilt("ledger.redb", "the samples, by the next writer");
    }
    Ok(())
}
