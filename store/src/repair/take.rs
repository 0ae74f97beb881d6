//! Parts that the repaired snapshot takes over from its base, or from older parts where that is damaged.

use super::base::Base;
use super::dead::DeadRows;
use super::parts::{Inventory, Version, list};
use super::report::{Loss, LostKind};
use super::work::{DatasetWork, Repair};
use super::{dataset, feature, jobs, live_rows};
use crate::error::VerifyError;
use crate::layout::{Env, names};
use crate::manifest::{EnsemblePart, FeaturePart, Link, PartLink, RunPart, Stripe, StripePart};
use crate::store::Numbered;
use crate::verify::Catalog;
use gstore_core::{Remedy, RowSet};
use std::collections::HashSet;

/// The files that are left to interrupted jobs. A snapshot that was published has them in its parts; if one
/// of those is damaged, the command tells whose snapshot it is. A job without a command has published: its
/// folder was being removed.
pub(super) fn claimed(
    work: &Repair<'_>,
    base: &Base,
    catalog: &Catalog,
) -> Result<HashSet<String>, VerifyError> {
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

/// The datasets of the base; those whose manifest is lost are put together again.
pub(super) fn datasets(
    work: &mut Repair<'_>,
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
        out.push(DatasetWork { part, rebuilt: link.is_none(), link, gaps_from, dead: DeadRows::default() });
    }
    if !base.certain {
        for number in new_folders(work.env, "samples", base.limits.dataset)? {
            if base.root.datasets.iter().any(|l| l.number == number) {
                continue;
            }
            let Some(mut part) = dataset::rebuild(work, inventory, number, None, None)? else { continue };
            if out.iter().all(|d: &DatasetWork| d.part.name != part.name) {
                dataset::take_added(work, inventory, &mut part, &features)?;
                let (dead, gaps_from) = (DeadRows::default(), Some(0));
                out.push(DatasetWork { part, link: None, rebuilt: true, gaps_from, dead });
            }
        }
    }
    Ok(out)
}

/// Folders of parts that are newer than the base.
fn new_folders(env: &Env, top: &str, limit: u32) -> Result<Vec<u32>, VerifyError> {
    let folders = list(env, top)?;
    let numbers = folders.iter().filter_map(|n| names::number(n)).filter(|n| *n >= limit);
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Parts of one kind, with their links while they are as they were.
pub(super) type Taken<T> = Vec<(T, Option<PartLink>)>;

/// Numbers of features without a sound part, and their names where they are known.
pub(super) type LostFeatures = Vec<(u32, Option<String>)>;

/// The runs of the base, and the features whose manifest is lost: number and name.
pub(super) fn take_runs(
    work: &mut Repair<'_>,
    base: &Base,
    catalog: &Catalog,
    inventory: &Inventory,
) -> Result<(Taken<RunPart>, LostFeatures), VerifyError> {
    let remedy = format!(
        "run {} with the original command: it names the checkpoints again; until then all of them count the same",
        Remedy::Ingest
    );
    let parts = (&base.root.runs[..], &catalog.runs[..], &inventory.runs[..]);
    let order = |v: &Version<RunPart>| (named(base, inventory, &v.link), v.part.checkpoints.len());
    let runs = take(work, parts, order, (LostKind::Run, remedy.as_str()));
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

/// The ensembles of the base. One whose manifest is lost comes back as its newest older version; members that
/// came later are lost with their losses.
pub(super) fn ensembles(
    work: &mut Repair<'_>,
    base: &Base,
    catalog: &Catalog,
    inventory: &Inventory,
) -> Taken<EnsemblePart> {
    let remedy = "make it again as it was made: its members are named again, and their losses";
    let parts = (&base.root.ensembles[..], &catalog.ensembles[..], &inventory.ensembles[..]);
    let order = |v: &Version<EnsemblePart>| (named(base, inventory, &v.link), v.part.members.len());
    take(work, parts, order, (LostKind::Ensemble, remedy))
}

/// Whether a feature of an ensemble that came back in an older version has losses of other members than that
/// has at its places, as far as can be told: after a revert others get the places. They are the same if a
/// snapshot that is known has them with the feature.
pub(super) fn has_others(
    inventory: &Inventory,
    ensembles: &Taken<EnsemblePart>,
    feature: &FeaturePart,
) -> bool {
    let is_its = |(e, link): &&(EnsemblePart, Option<PartLink>)| {
        link.is_none() && feature.desc.ensemble == Some(e.uuid)
    };
    let stripe = Stripe::of(&feature.desc).ok().flatten().map(|stripe| stripe.part);
    let (Some((taken, _)), Some(StripePart::Members { range, .. })) = (ensembles.iter().find(is_its), stripe)
    else {
        return false;
    };
    let roots = inventory.roots.iter().map(|r| &r.part);
    let with_feature = roots.filter(|r| r.features.iter().any(|l| l.number == feature.number));
    let links: HashSet<&str> =
        with_feature.flat_map(|r| &r.ensembles).map(|l| l.link.file.as_str()).collect();
    let known = inventory.ensembles.iter().filter(|v| links.contains(v.link.file.as_str()));
    let mut known = known.map(|v| &v.part).filter(|e| e.uuid == taken.uuid).peekable();
    let is_same = |e: &EnsemblePart| {
        range.clone().all(|place| match (e.members.get(place), taken.members.get(place)) {
            (Some(own), Some(other)) => own.is_same(other),
            _ => false,
        })
    };
    known.peek().is_none() || !known.all(is_same)
}

/// The newest root before the base that names a version of a part.
fn named(base: &Base, inventory: &Inventory, link: &Link) -> Option<(u64, u64)> {
    inventory.named(link, base.number.unwrap_or(u64::MAX))
}

/// The parts of some links: those that are whole, and of the others the last version in an order.
fn take<T: Numbered, K: Ord>(
    work: &mut Repair<'_>,
    (links, whole, versions): (&[PartLink], &[T], &[Version<T>]),
    order: impl Fn(&Version<T>) -> K,
    (kind, remedy): (LostKind, &str),
) -> Taken<T> {
    let mut taken = Vec::new();
    for link in links {
        let of = format!("{} {}", T::KIND, link.name);
        let own = versions.iter().filter(|v| v.part.number() == link.number);
        if let Some(part) = whole.iter().find(|part| part.number() == link.number) {
            taken.push((part.clone(), Some(link.clone())));
        } else if let Some(v) = own.max_by_key(|&v| order(v)) {
            work.report.rebuilt(of, format!("manifests/{}", v.link.file));
            taken.push((v.part.clone(), None));
        } else {
            work.report.lost.push(Loss::new(kind, &of, &RowSet::new(), remedy));
        }
    }
    taken
}

/// The features of the base, without the segments that are damaged.
pub(super) fn features(
    work: &mut Repair<'_>,
    base: &Base,
    catalog: &Catalog,
    datasets: &[DatasetWork],
) -> Result<Taken<FeaturePart>, VerifyError> {
    let mut out = Vec::new();
    for found in catalog.features.iter().take(catalog.current_features).filter(|f| f.whole) {
        let mut part = found.part.clone();
        let link = base.root.features.iter().find(|l| l.link.file == found.file).cloned();
        let bad =
            part.segments.iter().any(|s| work.is_bad(&crate::layout::segment_file(part.number, s.uuid)));
        if bad {
            let live = live_rows(datasets, &part.desc.dataset);
            feature::repair(work, catalog, &mut part, &live)?;
        }
        out.push((part, link.filter(|_| !bad)));
    }
    Ok(out)
}
