//! Factors as artifacts of a store: publishing, listing, and folders that they go to.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use gstore_core::Cancel;
use gstore_model::architectures::transformers_name;
use gstore_query::eigen::FACTORS;
use gstore_query::gram;
use gstore_store::{ArtifactPart, Snapshot, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::FactorJobError;
use super::folder::{FactorFolder, FactorParts, check_room, matrices, renamed_header};
use super::sealed::{finished_files, seal};
use super::stamp::FactorStamp;

/// Description of factors in their artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FactorContent {
    /// What they are of.
    #[serde(flatten)]
    pub stamp: FactorStamp,
    /// Samples that they were fitted on.
    pub samples: u64,
}

/// Factors of a store, in a line of a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FactorNote {
    /// Their name.
    pub name: String,
    /// How curvature is approximated.
    pub strategy: String,
    /// Modules.
    pub modules: usize,
    /// The dataset that they were fitted on, where it is known.
    pub dataset: Option<String>,
    /// Samples of it, where that is known.
    pub samples: Option<u64>,
    /// Id of the checkpoint.
    pub checkpoint: String,
    /// Further ones over which the sums are.
    pub averaged: usize,
    /// Bytes of the files.
    pub bytes: u64,
}

pub(super) fn read_content(part: &ArtifactPart) -> Result<FactorContent, FactorJobError> {
    if part.kind != FACTORS {
        let (name, kind) = (&part.name, &part.kind);
        return Err(FactorJobError::Refused(format!(
            "artifact `{name}` is of the kind {kind}, not factors of curvature"
        )));
    }
    serde_json::from_value(part.content.clone())
        .map_err(|error| FactorJobError::Refused(format!("artifact `{}`: {error}", part.name)))
}

/// The factors of a snapshot, by name, and how many Gram matrices of stored vectors there are.
///
/// # Errors
/// Damage, and artifacts that a newer program wrote.
pub fn list_factors(snapshot: &Snapshot) -> Result<(Vec<FactorNote>, u64), FactorJobError> {
    let (mut notes, mut grams) = (Vec::new(), 0);
    let mut names = snapshot.artifacts()?;
    names.sort();
    for name in names {
        let part = snapshot.artifact(&name)?;
        if part.kind != FACTORS {
            grams += u64::from(part.kind == gram::KIND);
            continue;
        }
        let FactorContent { stamp, samples } = read_content(&part)?;
        notes.push(FactorNote {
            name,
            strategy: stamp.strategy,
            modules: stamp.modules.len(),
            samples: stamp.dataset.is_some().then_some(samples),
            dataset: stamp.dataset,
            checkpoint: stamp.checkpoint,
            averaged: stamp.averaged.len(),
            bytes: part.files.iter().map(|file| file.len).sum(),
        });
    }
    Ok((notes, grams))
}

/// Publishes the finished factors of a folder: all its files but those of partitions, with the names of the
/// stamp for modules that transformers names otherwise. They take the place of what `over` has under the name.
/// Told to stop, it leaves the store as it was.
pub(super) fn publish(
    store: &Store,
    name: &str,
    folder: &Path,
    (stamp, provenance): (&FactorStamp, Map<String, Value>),
    (over, command): (Option<&Snapshot>, &str),
    cancel: &Cancel,
) -> Result<Arc<Snapshot>, FactorJobError> {
    let samples = stamp.row_set().len();
    let content = FactorContent { stamp: stamp.clone(), samples };
    let content = serde_json::to_value(content).map_err(std::io::Error::other)?;
    let mut files = store.artifact_files()?;
    let own = |name: &str| {
        let mut modules = stamp.modules.iter().map(|module| module.name.as_str());
        modules.find(|own| [*own, transformers_name(own)].contains(&name)).unwrap_or(name).to_owned()
    };
    for name in finished_files(folder)? {
        cancel.check()?;
        let path = folder.join(&name);
        let copy = |out: &mut dyn Write| {
            let mut file = fs_err::File::open(&path)?;
            if has_modules(&name) {
                let named = |error: std::io::Error| {
                    std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                };
                out.write_all(&renamed_header(&mut file, &own).map_err(named)?)?;
            }
            std::io::copy(&mut file, out).map(drop)
        };
        files.write(&name, copy)?;
    }
    // Factors that were exported from another store may be of a dataset that this one does not have.
    let snapshot = store.snapshot()?;
    let known = |dataset: &&String| snapshot.dataset(dataset).is_ok();
    let datasets = stamp.dataset.iter().filter(known).cloned().collect();
    let mut part = ArtifactPart::new(name, FACTORS, datasets, content);
    part.provenance = provenance;
    cancel.check()?;
    Ok(store.put_artifact(part, Some(files), over, command)?)
}

/// Whether a file of factors has tensors by the names of modules. Files that others put there are copied as
/// they are.
fn has_modules(file: &str) -> bool {
    file.ends_with(".safetensors") && FactorParts::ALL.files().iter().any(|known| known == file)
}

/// Writes the files of factors into a folder, which is made: one that Kronfluence reads. Modules have the names
/// that transformers gives them. Matrices in blocks are written whole, with the zeros outside of these.
///
/// # Errors
/// A folder that is there and not empty, too little room for whole matrices, files that cannot be written,
/// damage, being told to stop.
pub fn export_factors(
    snapshot: &Snapshot,
    name: &str,
    folder: &Path,
    cancel: &Cancel,
) -> Result<FactorContent, FactorJobError> {
    let part = snapshot.artifact(name)?;
    let content = read_content(&part)?;
    fs_err::create_dir_all(folder)?;
    if fs_err::read_dir(folder)?.next().is_some() {
        return Err(FactorJobError::Refused(format!("{} exists and is not empty", folder.display())));
    }
    let is_cut = content.stamp.max_block.is_some();
    if is_cut {
        check_room(folder, &content.stamp.modules)?;
    }
    for file in part.files.iter().filter(|file| !is_cut || matrices(&file.name).is_none()) {
        cancel.check()?;
        let map = snapshot.artifact_file(&part, &file.name)?;
        let (mut from, mut to) = (map.as_bytes(), fs_err::File::create(folder.join(&file.name))?);
        if has_modules(&file.name) {
            to.write_all(&renamed_header(&mut from, &|name| transformers_name(name).to_owned())?)?;
        }
        to.write_all(from)?;
        to.sync_all()?;
    }
    for file in part.files.iter().filter(|_| is_cut) {
        let Some(what) = matrices(&file.name) else { continue };
        cancel.check()?;
        let map = snapshot.artifact_file(&part, &file.name)?;
        // Its arguments are there by now.
        let opened = FactorFolder::open(folder)?;
        opened.write_whole(what, map)?;
    }
    seal(folder, &content.stamp, cancel)?;
    Ok(content)
}
