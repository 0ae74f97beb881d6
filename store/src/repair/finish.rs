//! The end of a repair: its snapshot is published, and what the next writer or build makes again is removed.

use super::base::Base;
use super::history;
use super::publish::{self, RepairedSnapshot};
use super::report::{Loss, LostKind, RepairReport};
use super::take::Taken;
use super::work::{DatasetWork, Repair};
use crate::error::{StorageError, VerifyError};
use crate::layout::Env;
use crate::layout::names::{INDEXES, LEDGER, SUMS};
use crate::ledger::Ledger;
use crate::manifest::{ArtifactPart, EnsemblePart, FeaturePart, PartLink, RunPart};
use crate::verify::{Catalog, artifact_files, dataset_files, feature_files};
use crate::vfs::if_there;
use gstore_core::{Remedy, RowSet};

/// What a repair found or made.
pub(super) struct Repaired {
    pub datasets: Vec<DatasetWork>,
    pub runs: Taken<RunPart>,
    pub ensembles: Taken<EnsemblePart>,
    pub features: Taken<FeaturePart>,
}

/// The artifacts that can be read, with all of their files. Nothing tells what was in the others.
fn sound_artifacts(base: &Base, work: &mut Repair<'_>) -> Vec<PartLink> {
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

pub(super) fn finish(
    base: &Base,
    catalog: &Catalog,
    mut work: Repair<'_>,
    repaired: Repaired,
) -> Result<RepairReport, VerifyError> {
    let Repaired { datasets, runs, ensembles, features } = repaired;
    let used = datasets.iter().flat_map(|d| dataset_files(&d.part));
    let used = used.chain(features.iter().flat_map(|(f, _)| feature_files(f)));
    let mut left: Vec<String> =
        used.map(|f| f.0).filter(|f| work.is_bad(f) && !work.handled.contains(f)).collect();
    left.sort_unstable();
    left.dedup();
    for file in left.iter().filter(|f| !f.ends_with(".roaring")) {
        let detail = format!(
            "{file} has values that cannot be right, and nothing says what they should be; restore a backup"
        );
        work.report.unrepaired.push(detail);
    }
    let (oldest, tags) = history::keep(base, catalog, &left, &mut work);
    let artifacts = sound_artifacts(base, &mut work);
    history::add_commands(base, work.env, &mut work.report.lost);
    let root = &base.root;
    let new_samples = !base.certain || datasets.iter().any(|d| d.link.is_none());
    let changed = new_samples
        || is_changed(&runs, &root.runs)
        || is_changed(&ensembles, &root.ensembles)
        || is_changed(&features, &root.features)
        || artifacts.len() != root.artifacts.len()
        || oldest != root.oldest
        || tags.len() != root.tags.len();
    work.report.base = base.number;
    let damaged = damaged_indexes(&mut work);
    if changed {
        work.report.snapshot = Some(base.next);
    }
    if work.options.dry_run {
        return Ok(std::mem::take(&mut work.report));
    }
    if changed {
        let given = work.options.command.as_str();
        let outcome = RepairedSnapshot {
            datasets: datasets.into_iter().map(|d| (d.part, d.link)).collect(),
            runs,
            ensembles,
            features,
            artifacts,
            tags,
            oldest,
            command: if given.is_empty() { "repair" } else { given }.to_owned(),
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
    if work.ledger_bad || new_samples {
        // The next writer rebuilds it from the samples. A folder in its place was reported, and stays.
        let in_the_way = |name: &str| work.env.vfs().list(&work.env.at(name)).is_ok();
        if !in_the_way(LEDGER) && !in_the_way(SUMS) {
            Ledger::remove(&work.env.shared_vfs(), work.env.path())?;
        }
        if work.ledger_bad {
            work.report.rebuilt("ledger.redb", "the samples, by the next writer");
        }
    }
    remove_indexes(&work, &damaged)?;
    Ok(std::mem::take(&mut work.report))
}

/// Whether parts are others than those of some links.
fn is_changed<T>(parts: &[(T, Option<PartLink>)], links: &[PartLink]) -> bool {
    parts.len() != links.len() || parts.iter().any(|(_, link)| link.is_none())
}

/// Damaged indexes. They go: who looks for one finds none, and builds it.
fn damaged_indexes(work: &mut Repair<'_>) -> Vec<String> {
    let is_index = |f: &&String| f.strip_prefix(INDEXES).is_some_and(|rest| rest.starts_with('/'));
    let mut damaged: Vec<String> = work.bad.iter().filter(is_index).cloned().collect();
    damaged.sort_unstable();
    for file in &damaged {
        let from = format!("its segment by the next {}; until then there is none", Remedy::INDEX);
        work.report.rebuilt(file, from);
    }
    damaged
}

fn remove_indexes(work: &Repair<'_>, damaged: &[String]) -> Result<(), VerifyError> {
    for file in damaged {
        if_there(work.env.vfs().remove(&work.env.at(file))).map_err(Env::io("remove", file))?;
    }
    if damaged.is_empty() { Ok(()) } else { Ok(work.env.sync_folder(INDEXES)?) }
}
