//! Factors that were fitted elsewhere, taken into a store.

use std::path::Path;
use std::sync::Arc;

use gstore_curvature::{Damping, Module, ModuleFactors, Strategy};
use gstore_ingest::gradient::ModuleSelection;
use gstore_ingest::pipeline::IngestRequest;
use gstore_store::{Snapshot, Store};
use serde_json::{Map, json};

use super::begun::places;
use super::engine;
use super::error::FactorJobError;
use super::folder::{FactorError, FactorFolder, FactorStage, check_blocks};
use super::publish::publish;
use super::sealed::check_seal;
use super::stamp::{FactorStamp, backend};

/// Takes in factors that were fitted elsewhere: the finished ones of a folder of Kronfluence's, or one that was
/// exported, which says itself what they are of. Else `of` names the model and its checkpoint, which are loaded
/// for their identity and the shapes of the modules, and the dataset, if that is known.
///
/// # Errors
/// A folder that is not one, whose factors are not finished, or not of this model; files that were changed
/// since the folder was written; a name that is taken.
pub fn import_factors(
    store: &Store,
    (folder, name): (&Path, &str),
    of: Option<&IngestRequest>,
    replace: bool,
    command: &str,
) -> Result<Arc<Snapshot>, FactorJobError> {
    let seen = store.snapshot()?;
    let opened = FactorFolder::open(folder).map_err(FactorJobError::other)?;
    let stamp = match (FactorStamp::read(folder)?, of) {
        (Some(stamp), of) => {
            check_seal(folder)?;
            of.map_or(Ok(()), |request| check_model(&stamp, request))?;
            stamp
        }
        (None, Some(request)) => foreign(&opened, request)?,
        (None, None) => {
            let text = "the folder does not say which model its factors are of: name it".to_owned();
            return Err(FactorJobError::Option(text));
        }
    };
    // Missing or torn files show now, not when the factors are used.
    if opened.arguments().strategy() != Strategy::Identity {
        let checked = check(&opened, &stamp).map_err(FactorJobError::other)?;
        if checked != stamp.modules.len() {
            return Err(FactorJobError::Refused(format!(
                "{} has factors of {checked} modules",
                folder.display()
            )));
        }
    }
    let mut provenance = Map::new();
    if let Some(request) = of {
        provenance = places(request);
    }
    provenance.insert("command".to_owned(), json!(command));
    provenance.insert("folder".to_owned(), json!(folder.display().to_string()));
    publish(store, name, folder, (&stamp, provenance), (replace.then_some(&*seen), command))
}

/// Refuses factors of modules that cannot be used; how many modules there are.
fn check(folder: &FactorFolder, stamp: &FactorStamp) -> Result<usize, FactorError> {
    let strategy = folder.arguments().strategy();
    let names: Vec<String> = stamp.modules.iter().map(|module| module.name.clone()).collect();
    let reader = folder.reader()?;
    let chosen = reader.chosen(Some(&names))?;
    for name in &chosen {
        let (module, factors) = reader.module(name)?;
        check_blocks(folder.path(), name, &factors, stamp.max_block)?;
        reader.check_bases(name, &factors)?;
        factors.inverse(&module, strategy, Damping::OfMean)?;
    }
    Ok(chosen.len())
}

/// Refuses a model at another checkpoint than factors are of.
fn check_model(stamp: &FactorStamp, request: &IngestRequest) -> Result<(), FactorJobError> {
    let id = engine::checkpoint(request)?;
    if stamp.checkpoint == id.to_string() {
        return Ok(());
    }
    Err(FactorJobError::Refused(format!(
        "the folder says that its factors are of checkpoint {}, and the one that is named is {}: name theirs, or none",
        stamp.checkpoint.get(..8).unwrap_or(&stamp.checkpoint),
        id.short()
    )))
}

/// What foreign factors are of: the modules of the folder at the checkpoint of a request.
fn foreign(folder: &FactorFolder, request: &IngestRequest) -> Result<FactorStamp, FactorJobError> {
    let mut found = Vec::new();
    let collect = &mut |module: Module, _: ModuleFactors| -> Result<(), FactorError> {
        found.push(module);
        Ok(())
    };
    folder.each_factors(None, collect).map_err(FactorJobError::other)?;
    let patterns = found.iter().map(|module| module.name.clone()).collect();
    let engine = engine::load(request, &ModuleSelection { patterns, biases: false })?;
    let modules = engine.modules().to_vec();
    for Module { name, out, input, .. } in &found {
        let same = |module: &&Module| module.name == *name;
        if modules.iter().find(same).is_none_or(|module| (module.out, module.input) != (*out, *input)) {
            return Err(FactorJobError::Refused(format!(
                "module `{name}` of {out} outputs and {input} inputs is none of the model: the factors are of another one"
            )));
        }
    }
    let arguments = folder.arguments();
    let (data, parts) = arguments.partitions_of(FactorStage::Covariance);
    Ok(FactorStamp {
        strategy: arguments.strategy().name().to_owned(),
        checkpoint: engine.checkpoint_id().to_string(),
        averaged: Vec::new(),
        compute: request.compute.name().to_owned(),
        dataset: None,
        rows: Vec::new(),
        rows_digest: String::new(),
        encoding: None,
        fisher: if arguments.is_empirical() { "empirical" } else { "true" }.to_owned(),
        seed: None,
        modules,
        partitions: [data, parts],
        batch_tokens: request.batch_tokens,
        extends: None,
        max_block: None,
        backend: backend(request.device).to_owned(),
    })
}
