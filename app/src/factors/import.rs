//! Import of factors that were fitted elsewhere.

use std::path::Path;
use std::sync::Arc;

use gstore_core::{Cancel, Remedy, RowSet};
use gstore_curvature::{Damping, Module, ModuleFactors, Strategy};
use gstore_ingest::gradient::ModuleSelection;
use gstore_ingest::pipeline::{IngestRequest, RowBatches};
use gstore_store::{EncodingSpec, Snapshot, Store};
use serde_json::{Map, json};

use super::begun::places;
use super::engine;
use super::error::FactorJobError;
use super::folder::{FactorError, FactorFolder, FactorStage, check_blocks};
use super::parts::first;
use super::publish::publish;
use super::sealed::check_seal;
use super::stamp::{FactorStamp, rows_digest};
use crate::work::JobContext;

/// Imports factors that were fitted elsewhere: a finished folder in Kronfluence's layout, or an exported one,
/// which records what its factors belong to. Otherwise `of` names the model and its checkpoint, which are
/// loaded for their identity and the shapes of the modules, and, unless its dataset is empty, the rows and
/// text options of the fit: these are counted, and can be extended. Returns the snapshot that has them, and
/// what they are.
///
/// # Errors
/// A folder that holds no factors, or whose factors are unfinished, belong to another model, or count other
/// samples or tokens; files that changed after the folder was written; a name that is taken; being told to
/// stop, which leaves the store as it was.
pub fn import_factors(
    store: &Store,
    (folder, name): (&Path, &str),
    of: Option<&IngestRequest>,
    replace: bool,
    work: &mut JobContext<'_>,
) -> Result<(Arc<Snapshot>, FactorStamp), FactorJobError> {
    let seen = store.snapshot()?;
    let opened = FactorFolder::open(folder)?;
    let stamp = match (FactorStamp::read(folder)?, of) {
        (Some(stamp), of) => {
            check_seal(folder, work.cancel)?;
            of.map_or(Ok(()), |request| check_model(&stamp, request))?;
            stamp
        }
        (None, Some(request)) => foreign(&opened, request, &seen, work)?,
        (None, None) => {
            return Err(FactorJobError::Option(format!(
                "{} does not say which model its factors are of: name it with {}",
                folder.display(),
                Remedy::Option("model", "")
            )));
        }
    };
    // Missing or torn files show now, not when the factors are used.
    if opened.arguments.strategy() != Strategy::Identity {
        let checked = check(&opened, &stamp, work.cancel)?;
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
    provenance.insert("command".to_owned(), json!(work.command));
    provenance.insert("folder".to_owned(), json!(folder.display().to_string()));
    let over = replace.then_some(&*seen);
    let snapshot = publish(store, name, folder, (&stamp, provenance), (over, work.command), work.cancel)?;
    Ok((snapshot, stamp))
}

/// Refuses factors of modules that cannot be used; returns the number of modules.
fn check(folder: &FactorFolder, stamp: &FactorStamp, cancel: &Cancel) -> Result<usize, FactorJobError> {
    let strategy = folder.arguments.strategy();
    let reader = folder.reader()?;
    let names: Vec<String> =
        stamp.modules.iter().map(|module| reader.name_in_files(&module.name).to_owned()).collect();
    let chosen = reader.chosen(Some(&names))?;
    for name in &chosen {
        cancel.check()?;
        let (module, factors) = reader.module(name)?;
        reader.check_counts(name)?;
        check_blocks(&folder.path, name, &factors, stamp.max_block)?;
        reader.check_bases(name, &factors)?;
        reader.check_eigenvalues(name, &factors)?;
        reader.check_squares(name, &factors)?;
        // With a damping, which each scoring chooses, eigenvalues of 0 have an inverse too.
        factors
            .inverse(&module, strategy, Damping::Value(1.0))
            .map_err(|error| FactorError::File { path: folder.path.clone(), detail: error.to_string() })?;
    }
    Ok(chosen.len())
}

/// Refuses a model at another checkpoint than the factors', and rows for factors that record their own.
fn check_model(stamp: &FactorStamp, request: &IngestRequest) -> Result<(), FactorJobError> {
    if !request.dataset.is_empty() {
        let text = "the folder says itself which rows its factors are of: leave";
        return Err(FactorJobError::Option(format!("{text} {} out", Remedy::Option("dataset", ""))));
    }
    let id = engine::checkpoint(request)?;
    if stamp.checkpoint == id.to_string() {
        return Ok(());
    }
    Err(FactorJobError::Refused(format!(
        "the folder says that its factors are of checkpoint {}, but the one that is named is {}: name theirs, or none",
        stamp.checkpoint.get(..8).unwrap_or(&stamp.checkpoint),
        id.short()
    )))
}

/// What foreign factors are said to be fitted on.
struct FittedOn {
    rows: RowSet,
    digest: String,
    encoding: EncodingSpec,
    tokens: u64,
}

impl FittedOn {
    /// The first rows of the request's dataset, as its text options make tokens of them.
    fn new(
        snapshot: &Snapshot,
        request: &IngestRequest,
        work: &mut JobContext<'_>,
    ) -> Result<Self, FactorJobError> {
        let request = IngestRequest { threads: work.threads, ..request.clone() };
        let dataset = snapshot.dataset(&request.dataset)?;
        let rows = first(&*snapshot.live_rows(dataset)?, request.limit);
        let tell = &mut |note: &str| work.progress.note(note);
        let batches = RowBatches::new(snapshot, dataset, &request, 0, tell)?;
        let mut tokens = 0;
        batches.each(&rows, work.cancel, &mut |batch| {
            tokens += batch.iter().map(|row| row.encoded.ids.len() as u64).sum::<u64>();
            true
        })?;
        let digest = rows_digest(batches.samples(), &rows, work.cancel)?;
        Ok(Self { rows, digest, encoding: batches.encoding(), tokens })
    }

    /// Refuses factors of a module that count other samples or tokens.
    fn check(&self, folder: &Path, module: &Module, factors: &ModuleFactors) -> Result<(), FactorError> {
        let squares = [&factors.lambda, &factors.diagonal].into_iter().flatten();
        let sums = [&factors.activation, &factors.gradient].into_iter().flatten();
        let samples = squares.map(|squares| (squares.count, self.rows.len(), "samples"));
        let tokens = sums.map(|sums| (sums.count, self.tokens, "tokens"));
        let Some((found, due, what)) = samples.chain(tokens).find(|(found, due, _)| found != due) else {
            return Ok(());
        };
        let detail = format!(
            "module `{}`: its factors are of {found} {what}, and the rows that are named have {due}: name those that they \
             were fitted on, and the text options that they were fitted with",
            module.name
        );
        Err(FactorError::File { path: folder.to_owned(), detail })
    }
}

/// What foreign factors belong to: the modules of the folder at the checkpoint of a request, and its rows.
fn foreign(
    folder: &FactorFolder,
    request: &IngestRequest,
    snapshot: &Snapshot,
    work: &mut JobContext<'_>,
) -> Result<FactorStamp, FactorJobError> {
    folder.check_files()?;
    engine::folder(request)?.unused_note().iter().for_each(|note| work.progress.note(note));
    let is_named = !request.dataset.is_empty();
    let fitted_on = is_named.then(|| FittedOn::new(snapshot, request, work)).transpose()?;
    if is_named && !folder.has_sums() {
        let note = "the folder has no covariances: tokens of the rows are not counted, and no fit can extend the factors";
        work.progress.note(note);
    }
    let mut found = Vec::new();
    let reader = folder.reader()?;
    for name in reader.chosen(None)? {
        work.cancel.check()?;
        let (module, factors) = reader.module(&name)?;
        if let Some(fitted_on) = &fitted_on {
            fitted_on.check(&folder.path, &module, &factors)?;
        }
        found.push(module);
    }
    let none_of_model = |Module { name, out, input, .. }: &Module| {
        FactorJobError::Refused(format!(
            "the model has no module `{name}` with {out} outputs and {input} inputs: the factors are of another model"
        ))
    };
    if let Some(module) = engine::unknown_module(request, &found)? {
        return Err(none_of_model(module));
    }
    let patterns = found.iter().map(|module| module.name.clone()).collect();
    let engine = engine::load(request, &ModuleSelection { patterns, biases: false })?;
    let modules = engine.modules().to_vec();
    for module in &found {
        let same = |known: &Module| {
            (reader.name_in_files(&known.name), known.out, known.input)
                == (module.name.as_str(), module.out, module.input)
        };
        if !modules.iter().any(same) {
            return Err(none_of_model(module));
        }
    }
    let arguments = &folder.arguments;
    let (data, parts) = arguments.partitions_of(FactorStage::Covariance);
    let on = fitted_on.as_ref();
    Ok(FactorStamp {
        strategy: arguments.strategy().name().to_owned(),
        checkpoint: engine.checkpoint_id().to_string(),
        averaged: Vec::new(),
        compute: request.compute.name().to_owned(),
        dataset: on.map(|_| request.dataset.clone()),
        rows: on.map_or_else(Vec::new, |on| on.rows.pairs()),
        rows_digest: on.map_or_else(String::new, |on| on.digest.clone()),
        encoding: on.map(|on| on.encoding.clone()),
        fisher: if arguments.is_empirical() { "empirical" } else { "true" }.to_owned(),
        seed: None,
        modules,
        partitions: [data, parts],
        batch_tokens: request.batch_tokens,
        extends: None,
        extended: None,
        max_block: None,
        backend: request.device.name().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::factors::sealed::{finished_files, seal};
    use crate::factors::stamp::tests::stamp;

    fn repository(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
    }

    #[test]
    fn an_import_that_is_told_to_stop_publishes_nothing() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::create(place.path().join("store")).unwrap();
        // Factors that Kronfluence wrote: without a stamp.
        let (given, folder) = (repository("tests/kronfluence/factors_mlp"), place.path().join("factors_mlp"));
        fs_err::create_dir(&folder).unwrap();
        for name in finished_files(&given).unwrap() {
            fs_err::copy(given.join(&name), folder.join(&name)).unwrap();
        }
        let stop = Cancel::raised();
        let import = |of: Option<&IngestRequest>, cancel: &Cancel| {
            let work = &mut JobContext { cancel, ..JobContext::silent("test") };
            import_factors(&store, (folder.as_path(), "f"), of, false, work).map(drop)
        };
        let is_stopped = |result: Result<(), FactorJobError>| {
            assert!(matches!(result, Err(FactorJobError::Stopped(_))), "{result:?}");
        };
        // Before it finds that the modules are not those of the model.
        is_stopped(import(Some(&IngestRequest::new("", repository("../demo/model"))), &stop));

        let opened = FactorFolder::open(&folder).unwrap();
        let modules = opened.factors(None).unwrap().into_iter().map(|(module, _)| module).collect();
        let stamp = FactorStamp { modules, ..stamp() };
        seal(&folder, &stamp, &Cancel::new()).unwrap();
        is_stopped(import(None, &stop));
        // So does each of its later steps.
        is_stopped(check(&opened, &stamp, &stop).map(drop));
        let to_publish = (&stamp, Map::new());
        is_stopped(publish(&store, "f", &folder, to_publish, (None, "test"), &stop).map(drop));
        let artifacts = || store.snapshot().unwrap().artifacts().unwrap();
        assert!(artifacts().is_empty());

        import(None, &Cancel::new()).unwrap();
        assert_eq!(artifacts(), ["f"]);
    }
}
