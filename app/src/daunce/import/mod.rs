//! Import of losses that were computed elsewhere, by any models that score a text, with or without weights.
//!
//! Everything is read, checked and compared with what the store has, and the tables of a dataset with each
//! other, before anything is written. Then members are registered in one commit, and the losses of each table
//! published in one more.
//!
//! Memory: about 200 bytes for each id, and a cell of rows x models. Losses of a table of records are in an
//! unnamed file on the store's disk meanwhile.

mod cells;
mod lock;
mod manifest;
mod matrix;
mod records;
mod rows;
mod sink;
mod source;
mod window;
mod write;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gstore_core::{Remedy, first_of, many};
use gstore_store::{EnsembleUpdate, Member, Snapshot, Store};
use serde::Serialize;

use super::DaunceError;
use crate::work::JobContext;
use lock::ImportLock;
use manifest::{Manifest, Signal, TableRecord};
use source::LossSource;

/// Losses to take in.
#[derive(Debug, Clone, Default)]
pub struct ImportRequest {
    /// What the losses are; needed for matrices, which do not say it themselves.
    pub manifest: Option<PathBuf>,
    /// Name of the ensemble, in place of the manifest's.
    pub ensemble: Option<String>,
    /// Id of theta_0, in place of the manifest's.
    pub base: Option<String>,
    /// Tables without a manifest: a dataset, and the file with the losses of its samples.
    pub tables: Vec<(String, PathBuf)>,
    /// Take losses that differ from those of the store, or from earlier records of their file, in their place.
    pub replace: bool,
}

/// What was taken in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// The ensemble.
    pub ensemble: String,
    /// Members it has now.
    pub members: usize,
    /// Members that are new.
    #[serde(rename = "new_members")]
    pub added: usize,
    /// One entry for each table.
    pub tables: Vec<TableReport>,
    /// The state of the store with all of it.
    pub snapshot: u64,
}

/// What was taken in of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// The dataset.
    pub dataset: String,
    /// Samples of it that have losses in the file.
    pub rows: u64,
    /// Live samples of the dataset.
    pub of: u64,
    /// Cells that are new.
    pub added: u64,
    /// Cells that were replaced.
    pub replaced: u64,
    /// Cells that the store has already.
    pub unchanged: u64,
    /// Cells that the file does not have.
    pub missing: u64,
}

/// Takes losses into a store.
///
/// # Errors
/// A file or manifest that cannot be understood, ids that the dataset does not have, too few losses, too
/// little room on the disk, a loss that is no number, one that differs from that of the store or of a table
/// before it. Nothing is written then. Where another process changes a dataset meanwhile, or the work is
/// stopped while it writes, members and the tables before may be there, which is noted.
pub fn import(
    store: &Store,
    request: &ImportRequest,
    work: &mut JobContext<'_>,
) -> Result<ImportReport, DaunceError> {
    let mut manifest = match &request.manifest {
        Some(path) => Manifest::read(path)?,
        None => Manifest::default(),
    };
    let file = request.tables.first().map(|(_, losses)| losses);
    let about = request.manifest.as_ref().or(file).cloned().unwrap_or_default();
    let wrong = |detail: &str| DaunceError::file(&about, detail);
    if let Some(table) = manifest.tables.iter().find(|table| !table.losses.exists()) {
        let (file, dataset) = (table.losses.display(), &table.dataset);
        return Err(wrong(&format!("the losses of {dataset:?} should be in {file}, which does not exist")));
    }
    let given = request.tables.iter().cloned();
    manifest.tables.extend(given.map(|(dataset, losses)| TableRecord::of_file(dataset, losses)));
    let name = request.ensemble.clone().or_else(|| manifest.ensemble.clone());
    let name = name.ok_or_else(|| {
        let option = Remedy::Option("ensemble", "NAME");
        wrong(&format!("the ensemble needs a name: {option}, or `ensemble` in the manifest"))
    })?;
    let seen = store.snapshot()?;
    let known = seen.ensembles().iter().find(|e| e.name == name);
    let base = request.base.clone().or_else(|| manifest.base.clone());
    let base = base.or_else(|| known.map(|e| e.base.id.clone()));
    let base = base.ok_or_else(|| {
        let option = Remedy::Option("base", "NAME");
        wrong(&format!(
            "which model do the others come from? name it with {option}, or as `base` in the manifest"
        ))
    })?;
    if manifest.tables.is_empty() {
        return Err(wrong("the manifest names no file of losses"));
    }
    let sources = open_sources((&seen, store.path()), &manifest, request.replace, work)?;
    let _lock = ImportLock::take(store, &name, &sources, work.command)?;
    let now = store.snapshot()?;
    for source in &sources {
        if now.same_dataset(seen.dataset(&source.dataset)?).is_err() {
            return Err(DaunceError::Meanwhile(source.dataset.clone()));
        }
    }
    let there = now.ensembles().iter().find(|e| e.name == name).map(|e| e.members.as_slice());
    let update = EnsembleUpdate::new(&name, &base, members(&manifest, &sources, &base, there));
    let (is_new, before) = (there.is_none(), there.map_or(0, <[Member]>::len));
    let planned = now.updated_ensemble(&update)?;
    for source in &sources {
        write::compare(&now, &planned, source, request.replace, work)?;
    }
    write::compare_tables(&now, &planned, &sources, request.replace, work)?;
    let snapshot = store.update_ensemble(&update, work.command)?;
    let ensemble = snapshot.ensemble(&name)?;
    let mut report = ImportReport {
        ensemble: name.clone(),
        members: ensemble.members.len(),
        added: ensemble.members.len().saturating_sub(before),
        tables: Vec::new(),
        snapshot: snapshot.number(),
    };
    for source in &sources {
        let written = write::write(store, (&seen, ensemble), source, request.replace, work);
        let (table, snapshot) = written.inspect_err(|_| {
            if report.snapshot != now.number() {
                work.progress.note(&what_is_left(&report, is_new));
            }
        })?;
        report.tables.push(table);
        report.snapshot = snapshot;
    }
    Ok(report)
}

/// Opens the tables, with temporary files in the folder `scratch`, makes sure that each can be taken, and
/// notes what they lack.
fn open_sources(
    (snapshot, scratch): (&Snapshot, &Path),
    manifest: &Manifest,
    replace: bool,
    work: &mut JobContext<'_>,
) -> Result<Vec<LossSource>, DaunceError> {
    let signal = manifest.signal.unwrap_or(Signal::Loss);
    let mut sources = Vec::with_capacity(manifest.tables.len());
    for table in &manifest.tables {
        let source = LossSource::open(snapshot, manifest, (table, scratch), (signal, replace), work)?;
        source.check(work)?;
        sources.push(source);
    }
    note_absent(&sources, work);
    Ok(sources)
}

/// Notes models of the manifest that no table of a dataset has a column for.
fn note_absent(sources: &[LossSource], work: &mut JobContext<'_>) {
    let datasets: BTreeSet<&str> = sources.iter().map(|source| source.dataset.as_str()).collect();
    for dataset in datasets {
        let tables: Vec<&LossSource> = sources.iter().filter(|source| source.dataset == dataset).collect();
        let Some((first, others)) = tables.split_first() else { continue };
        let lack = |model: &&String| others.iter().all(|table| table.absent.contains(model));
        let absent: Vec<&String> = first.absent.iter().filter(lack).collect();
        if !absent.is_empty() {
            work.progress.note(&format!(
                "{dataset}: no column has the losses of {}, which the manifest names; a column of losses is named by the id of its model",
                first_of(absent, 10)
            ));
        }
    }
}

/// What the store has of an import that did not end.
fn what_is_left(report: &ImportReport, is_new: bool) -> String {
    let ImportReport { ensemble, members, added, tables, .. } = report;
    let tables: Vec<&str> = tables.iter().map(|table| table.dataset.as_str()).collect();
    let losses = match tables.is_empty() {
        true => "none of these losses".to_owned(),
        false => format!("the losses of {}", tables.join(", ")),
    };
    let members = many(*members as u64, "member");
    let left = format!(
        "ensemble {ensemble:?} is left with {members}, {added} of them new, and with {losses}: run the same \
         command again to continue"
    );
    match is_new {
        true => format!("{left}; {} removes it", Remedy::DropEnsemble(ensemble)),
        // What it had before would go too.
        false => left,
    }
}

/// The members that are described, or that the tables name and the ensemble does not have.
fn members(manifest: &Manifest, sources: &[LossSource], base: &str, there: Option<&[Member]>) -> Vec<Member> {
    if !manifest.models.is_empty() {
        return manifest.models.iter().map(|model| model.member(base)).collect();
    }
    let mut new: Vec<Member> = Vec::new();
    for id in sources.iter().flat_map(|source| &source.models) {
        let known = there.is_some_and(|there| there.iter().any(|member| member.id == *id));
        if !known && new.iter().all(|member| member.id != *id) {
            new.push(Member::new(id.clone(), base));
        }
    }
    new
}
