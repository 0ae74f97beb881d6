//! Steps that delete, drop, purge, merge, collect, name something, or revert.

use super::content::{artifact_file, artifact_text, label};
use super::ensemble::{self, ENSEMBLE};
use super::state::State;
use super::step::Step;
use crate::Failure;
use gstore_store::*;
use serde_json::json;

/// The name of an artifact's file.
const FILE: &str = "factors.bin";

/// Runs one of them.
pub(super) fn run(step: &Step, store: &Store) -> Result<(), Failure> {
    let seen = store.snapshot()?;
    match step {
        Step::Delete { dataset, rows, purge } => {
            let options =
                DeleteOptions { command: "delete".into(), purge: *purge, ..DeleteOptions::default() };
            let rows = RowSet::from_rows(rows.iter().copied());
            store.delete(seen.dataset(dataset)?, &rows, options)?;
            Ok(())
        }
        Step::DropFeature(i) => {
            take(store, seen.feature(&label(*i)), |part| store.drop_feature(part, "drop"))
        }
        Step::DropDataset(name) => take(store, seen.dataset(name), |part| store.drop_dataset(part, "drop")),
        Step::DropRun => take(store, seen.run("warmup"), |part| store.drop_run(part, "drop")),
        Step::Compact { target } => {
            let options =
                CompactOptions { target_bytes: *target, max_dead_share: 0.1, ..CompactOptions::default() };
            store.compact(options, &mut |_| {})?;
            Ok(())
        }
        Step::Collect { keep } => {
            let options = GcOptions { command: "gc".into(), keep: *keep, ..GcOptions::default() };
            store.collect(options)?;
            Ok(())
        }
        Step::Tag(name) => loop {
            match store.tag(&tag(name)?, &*store.snapshot()?, TagOptions::default()) {
                // An earlier process had set it.
                Ok(_) | Err(ChangeError::TagExists { .. }) => break Ok(()),
                // A collector removed the snapshot first; there is a newer one.
                Err(ChangeError::Changed(_)) => {}
                Err(e) => break Err(e.into()),
            }
        },
        Step::Untag(name) => take(store, seen.tag(name), |tag| store.untag(&tag, "untag")),
        Step::DropEnsemble => take(store, seen.ensemble(ENSEMBLE), |part| store.drop_ensemble(part, "drop")),
        Step::Artifact { name, content } => {
            let artifact = ArtifactPart::new(name, "prefilter", Vec::new(), json!(content));
            let Some(bytes) = artifact_file(*content) else {
                return Ok(store.put_artifact(artifact, None, Some(&*seen), "fit").map(drop)?);
            };
            let mut files = store.artifact_files()?;
            files.write(FILE, |out| out.write_all(&bytes))?;
            Ok(store.put_artifact(artifact, Some(files), Some(&*seen), "fit").map(drop)?)
        }
        Step::DropArtifact(name) => match seen.artifacts()?.contains(name) {
            true => Ok(store.drop_artifact(&seen, name, "drop").map(drop)?),
            false => settled(store),
        },
        Step::View { name, sql } => {
            let name = DatasetName::try_from(name.as_str()).map_err(|e| e.to_string())?;
            let options = ViewOptions { command: "view".into(), replace: true };
            Ok(store.create_view(None, &name, sql, options).map(drop)?)
        }
        Step::DropView(name) => take(store, seen.view(name), |view| store.drop_view(view, "view")),
        Step::Revert(name) => {
            let target = store.snapshot_named(&SnapshotName::Tag(tag(name)?))?;
            let options = RevertOptions { command: "revert".into(), dry_run: false };
            Ok(store.revert(&target, &options).map(drop)?)
        }
        Step::Create | Step::Append { .. } | Step::Job { .. } | Step::Members(_) | Step::Losses(_) => {
            Err("another kind of step".into())
        }
    }
}

/// Removes something; what an earlier process removed is gone already.
fn take<P, T, E: Into<Failure>>(
    store: &Store,
    found: Result<P, LookupError>,
    away: impl FnOnce(P) -> Result<T, E>,
) -> Result<(), Failure> {
    found.map_or_else(|_| settled(store), |part| away(part).map(drop).map_err(Into::into))
}

fn tag(name: &str) -> Result<TagName, Failure> {
    name.parse::<TagName>().map_err(|e| e.to_string().into())
}

/// Ensures that what is visible survives a power loss: the next holder of the writer lock flushes it.
fn settled(store: &Store) -> Result<(), Failure> {
    let options = GcOptions { keep: u64::MAX, dry_run: true, ..GcOptions::default() };
    Ok(store.collect(options).map(drop)?)
}

/// Applies it to the model.
pub(super) fn apply(step: &Step, state: &mut State) {
    match step {
        Step::Delete { dataset, rows, purge } => {
            let part = state.datasets.get(dataset);
            let ids = part.into_iter().flat_map(|d| rows.iter().filter_map(|row| d.rows.get(row)));
            let ids: Vec<String> = ids.map(|(id, _)| id.clone()).collect();
            state.deleted.entry(dataset.clone()).or_default().extend(ids);
            bury(state, dataset, rows);
            state.touch(dataset);
            if *purge {
                // What was tagged had the rows.
                state.tags.clear();
                state.let_go(None);
            }
        }
        Step::DropFeature(i) => {
            state.features.remove(&label(*i));
        }
        Step::DropDataset(name) => {
            state.forget(name);
            state.datasets.remove(name);
            state.deleted.remove(name);
            state.features.retain(|_, f| f.dataset != *name);
        }
        Step::DropRun => {
            state.runs.clear();
        }
        Step::Tag(name) => {
            state.tags.insert(name.clone());
            state.keep(name);
        }
        Step::Untag(name) => {
            state.tags.remove(name);
            state.let_go(Some(name));
        }
        Step::DropEnsemble => ensemble::apply_drop(state),
        Step::Artifact { name, content } => {
            let files: Vec<_> =
                artifact_file(*content).map(|bytes| (FILE.to_owned(), bytes)).into_iter().collect();
            state.artifacts.insert(name.clone(), artifact_text(&json!(content), &files));
        }
        Step::DropArtifact(name) => {
            state.artifacts.remove(name);
        }
        Step::View { name, sql } => {
            state.views.insert(name.clone(), sql.clone());
        }
        Step::DropView(name) => {
            state.views.remove(name);
        }
        Step::Revert(name) => {
            if let Some(then) = state.tagged(name) {
                state.go_back(&then);
            }
        }
        Step::Compact { .. } => {
            let datasets: Vec<String> = state.datasets.keys().cloned().collect();
            datasets.iter().for_each(|dataset| state.touch(dataset));
        }
        Step::Collect { .. } => state.past.collections += 1,
        Step::Create | Step::Append { .. } | Step::Job { .. } | Step::Members(_) | Step::Losses(_) => {}
    }
}

/// Deletes rows of a dataset, with their vectors and token counts.
pub(super) fn bury(state: &mut State, dataset: &str, rows: &[u64]) {
    if let Some(part) = state.datasets.get_mut(dataset) {
        part.rows.retain(|row, _| !rows.contains(row));
        part.counts.retain(|row, _| !rows.contains(row));
    }
    for feature in state.features.values_mut().filter(|feature| feature.dataset == dataset) {
        feature.rows.retain(|row, _| !rows.contains(row));
    }
}
