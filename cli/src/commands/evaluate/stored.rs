//! The losses of retrained models as an ensemble of the store.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use gstore::daunce::{ImportRequest, import as import_losses};
use gstore_core::Cancel;
use gstore_data::{Reading, SampleSource};
use gstore_evaluate::attribution::TruthFolder;

use crate::args::EvaluateRetrainArgs;
use crate::commands::import;
use crate::context::{Context, command_line};

/// The ensemble, and the dataset of its queries.
fn wanted(args: &EvaluateRetrainArgs) -> Option<(&str, &str)> {
    Some((args.ensemble.as_deref()?, args.draw.query_dataset.as_deref()?))
}

/// Refuses a dataset that does not have the queries as they are asked, and an ensemble of other models.
pub fn check(
    context: &Context,
    args: &EvaluateRetrainArgs,
    truth: &TruthFolder,
    cancel: &Cancel,
) -> Result<()> {
    let Some((ensemble, dataset)) = wanted(args) else { return Ok(()) };
    let snapshot = context.open()?.snapshot()?;
    let part = Arc::clone(snapshot.dataset(dataset)?);
    let source = SampleSource::Dataset { snapshot: Arc::clone(&snapshot), part, rows: None };
    let is_query = |_: u64, id: &str| truth.queries().place(id).is_some();
    let (samples, _) = source.read(Reading::Whole, &is_query, cancel)?;
    truth.check_queries(dataset, &samples)?;
    Ok(truth.check_ensemble(&snapshot, (ensemble, dataset))?)
}

/// Takes the runs that are done into the store, which may have some of them already.
pub fn keep(
    context: &Context,
    args: &EvaluateRetrainArgs,
    truth: &TruthFolder,
    cancel: &Cancel,
) -> Result<ExitCode> {
    let Some((ensemble, dataset)) = wanted(args) else { return Ok(ExitCode::SUCCESS) };
    if truth.remaining(0..truth.runs()).len() == truth.runs() {
        context.say(&format!("no run is done, so that there is nothing to keep in ensemble {ensemble}"));
        return Ok(ExitCode::SUCCESS);
    }
    check(context, args, truth, cancel)?;
    let store = context.open()?;
    let folder = tempfile::tempdir()?;
    let command = command_line();
    let manifest = truth.export((&store, command.as_str()), (ensemble, dataset), folder.path(), cancel)?;
    let request = ImportRequest { manifest: Some(manifest), ..ImportRequest::default() };
    let mut reporter = context.reporter();
    let report = import_losses(&store, &request, &mut context.work(&command, &mut reporter, cancel))?;
    import::print(context, &report);
    Ok(ExitCode::SUCCESS)
}
