//! The losses of retrained models as an ensemble of the store.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};
use gstore::daunce::{DaunceError, ImportRequest, import as import_losses};
use gstore_core::{Cancel, Remedy};
use gstore_data::{Reading, SampleSource};
use gstore_evaluate::EvaluateError;
use gstore_evaluate::attribution::TruthFolder;
use gstore_store::{EnsemblePart, JobError, Snapshot};

use crate::args::EvaluateRetrainArgs;
use crate::commands::import;
use crate::context::Context;
use crate::wording::shell_word;

/// Pauses before losses are taken in again that met those of another job of the same array.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(9), Duration::from_secs(27)];

/// The ensemble, and the dataset of its queries.
fn wanted(args: &EvaluateRetrainArgs) -> Option<(&str, &str)> {
    Some((args.ensemble.as_deref()?, args.draw.of.query_dataset.as_deref()?))
}

/// Refuses a dataset that does not have the queries as they are asked, and an ensemble of other models.
pub fn check(
    context: &Context,
    args: &EvaluateRetrainArgs,
    truth: &TruthFolder,
    cancel: &Cancel,
) -> Result<()> {
    let Some(to) = wanted(args) else { return Ok(()) };
    let snapshot = context.open()?.snapshot()?;
    check_queries(&snapshot, to.1, truth, cancel)?;
    Ok(truth.check_ensemble(&snapshot, to, cancel)?)
}

fn check_queries(
    snapshot: &Arc<Snapshot>,
    dataset: &str,
    truth: &TruthFolder,
    cancel: &Cancel,
) -> Result<()> {
    let source = SampleSource::of_dataset(Arc::clone(snapshot), dataset)?;
    let is_query = |_: u64, id: &str| truth.queries().place(id).is_some();
    let (samples, _) = source.read(Reading::Whole, &is_query, cancel)?;
    Ok(truth.check_queries(dataset, &samples)?)
}

/// The same of a ground truth that is to take the place of another one; with the ensemble of the old one, if
/// all of its members are: it is to be dropped.
pub fn check_replacing(
    context: &Context,
    args: &EvaluateRetrainArgs,
    (old, new): (&TruthFolder, &TruthFolder),
    cancel: &Cancel,
) -> Result<Option<Arc<EnsemblePart>>> {
    let Some(to) = wanted(args) else { return Ok(None) };
    let snapshot = context.open()?.snapshot()?;
    check_queries(&snapshot, to.1, new, cancel)?;
    if old.made_all_of(&snapshot, to.0, cancel)? {
        return Ok(Some(Arc::clone(snapshot.ensemble(to.0)?)));
    }
    // Without a recipe nothing is trained yet that the ensemble would take.
    if args.model.is_some() && !args.draw_only {
        new.check_ensemble(&snapshot, to, cancel)?;
    }
    Ok(None)
}

/// Takes the runs that are done into the store, which may have some of them already.
pub fn keep(
    context: &Context,
    args: &EvaluateRetrainArgs,
    truth: &TruthFolder,
    cancel: &Cancel,
) -> Result<()> {
    let Some(to) = wanted(args) else { return Ok(()) };
    if truth.remaining(0..truth.runs()).len() == truth.runs() {
        context.say(&format!("no run is finished, so there is nothing to store in ensemble {}", to.0));
        return Ok(());
    }
    let taken = patiently(&PAUSES, cancel, || {
        check(context, args, truth, cancel)?;
        take_in(context, args, truth, to, cancel)
    });
    match taken {
        Err(error) if is_met(&error) => {
            let (at_store, folder, (ensemble, dataset)) = (context.at_store(), args.truth.display(), to);
            Err(error.context(format!(
                "other processes keep adding to ensemble {ensemble:?}: the finished runs are in {folder}, and `gstore evaluate retrain{at_store} --truth {} --draw-only --ensemble {ensemble} --query-dataset {dataset}` takes them in",
                shell_word(&args.truth)
            )))
        }
        taken => taken,
    }
}

fn take_in(
    context: &Context,
    args: &EvaluateRetrainArgs,
    truth: &TruthFolder,
    to: (&str, &str),
    cancel: &Cancel,
) -> Result<()> {
    let store = context.open()?;
    let folder = tempfile::tempdir()?;
    let manifest = truth.export((&store, context.command.as_str()), to, folder.path(), cancel)?;
    let request = ImportRequest { manifest: Some(manifest), ..ImportRequest::default() };
    let report = import_losses(&store, &request, &mut context.work(&mut context.reporter(), cancel))
        .map_err(|error| of_folder(error, &args.truth.display().to_string(), to.0))?;
    import::print(context, &report);
    Ok(())
}

/// Does what another process may be in the way of, again after each of the pauses.
fn patiently(pauses: &[Duration], cancel: &Cancel, mut work: impl FnMut() -> Result<()>) -> Result<()> {
    for pause in pauses {
        match work() {
            Err(error) if is_met(&error) => {}
            done => return done,
        }
        let begun = Instant::now();
        while let Some(left) = pause.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            cancel.check().map_err(EvaluateError::from)?;
            sleep(left.min(Duration::from_millis(50)));
        }
        cancel.check().map_err(EvaluateError::from)?;
    }
    work()
}

/// Whether another process wrote the same losses at the same time.
fn is_met(error: &Error) -> bool {
    use DaunceError::{Importing, Job, Meanwhile};
    matches!(
        error.downcast_ref(),
        Some(Meanwhile(_) | Importing { .. } | Job(JobError::Busy { .. } | JobError::Changed(_)))
    )
}

/// An error of the import in words of the folder and its runs: the files of the export are gone with it.
fn of_folder(error: DaunceError, folder: &str, ensemble: &str) -> Error {
    let drop = Remedy::DropEnsemble(ensemble);
    match error {
        DaunceError::Differs { id, model, stored, given, .. } => {
            // Members are called after their runs.
            let run = model.rsplit_once('.').and_then(|(_, run)| run.parse::<usize>().ok());
            let run = run.map_or(model, |run| format!("run {run}"));
            anyhow!(
                "{run} of {folder} has a loss of {given} for query {id:?}, and its member of ensemble {ensemble:?} has {stored}: it was retrained since; run {drop} and then the same command again to take in the folder's losses"
            )
        }
        DaunceError::NoOffset { id, .. } => anyhow!(
            "ensemble {ensemble:?} has losses of query {id:?} but has lost the losses that they are relative to; run {drop} and then the same command again to take in those of {folder}"
        ),
        DaunceError::NoIds { dataset, first, .. } => {
            anyhow!("dataset {dataset:?} no longer has sample {first:?}, which is a query of {folder}")
        }
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn met() -> Error {
        DaunceError::Meanwhile("queries".into()).into()
    }

    #[test]
    fn what_another_process_was_in_the_way_of_is_tried_again() {
        let (none, cancel) = ([Duration::ZERO; 3], Cancel::new());
        for (failures, tried, is_done) in [(0, 1, true), (2, 3, true), (3, 4, true), (4, 4, false)] {
            let mut count = 0;
            let done = patiently(&none, &cancel, || {
                count += 1;
                if count > failures { Ok(()) } else { Err(met()) }
            });
            assert_eq!((count, done.is_ok()), (tried, is_done));
        }
        let (ensemble, dataset) = ("e".into(), "queries".into());
        assert!(is_met(&DaunceError::Importing { ensemble, dataset, pid: 7 }.into()));
        let mut count = 0;
        let other = patiently(&none, &cancel, || {
            count += 1;
            Err(anyhow!("of another kind"))
        });
        assert_eq!((count, other.unwrap_err().to_string().as_str()), (1, "of another kind"));
        let stopped = patiently(&PAUSES, &Cancel::raised(), || Err(met())).unwrap_err();
        assert!(matches!(stopped.downcast_ref(), Some(EvaluateError::Stopped(_))), "{stopped}");
    }

    #[test]
    fn errors_speak_of_the_folder() {
        let error = DaunceError::Differs {
            path: PathBuf::from("/tmp/export/losses.bin"),
            id: "q1".into(),
            model: "6f1c.00007".into(),
            stored: 1.5,
            given: 1.25,
        };
        let says = of_folder(error, "truth", "retrained").to_string();
        assert!(says.starts_with("run 7 of truth has a loss of 1.25 for query \"q1\""), "{says}");
        assert!(says.contains("has 1.5") && says.contains("drop") && !says.contains("losses.bin"), "{says}");
    }
}
