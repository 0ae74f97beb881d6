//! Steps that delete, drop, purge, merge or collect.

use super::content::{FEATURES, label};
use super::state::State;
use super::step::Step;
use crate::Failure;
use gstore_store::*;

/// Does one of them.
pub(super) fn run(step: &Step, store: &Store) -> Result<(), Failure> {
    match step {
        Step::Delete { dataset, rows, purge } => {
            let options =
                DeleteOptions { command: "delete".into(), purge: *purge, ..DeleteOptions::default() };
            let snapshot = store.snapshot()?;
            let rows = RowSet::from_rows(rows.iter().copied());
            store.delete(snapshot.dataset(dataset)?, &rows, options)?;
            Ok(())
        }
        // What an earlier process had dropped is not there.
        Step::DropFeature(i) => match store.snapshot()?.feature(&label(*i)) {
            Ok(part) => Ok(store.drop_feature(part, "drop").map(drop)?),
            Err(_) => settled(store),
        },
        Step::DropDataset(name) => match store.snapshot()?.dataset(name) {
            Ok(part) => Ok(store.drop_dataset(part, "drop").map(drop)?),
            Err(_) => settled(store),
        },
        Step::DropRun => match store.snapshot()?.run("warmup") {
            Ok(part) => Ok(store.drop_run(part, "drop").map(drop)?),
            Err(_) => settled(store),
        },
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
        Step::Tag(name) => match store.tag(&tag(name)?, &*store.snapshot()?, TagOptions::default()) {
            // An earlier process had set it.
            Ok(_) | Err(TagError::Exists { .. }) => Ok(()),
            Err(e) => Err(e.into()),
        },
        // An earlier process had removed it.
        Step::Untag(name) => match store.snapshot()?.tag(name) {
            Ok(tag) => Ok(store.untag(&tag, "untag").map(drop)?),
            Err(_) => settled(store),
        },
        Step::Create | Step::Append { .. } | Step::Job { .. } => Err("another kind of step".into()),
    }
}

fn tag(name: &str) -> Result<TagName, Failure> {
    name.parse::<TagName>().map_err(|e| e.to_string().into())
}

/// Makes sure that what is visible survives a loss of power: the next holder of the writer lock flushes it.
fn settled(store: &Store) -> Result<(), Failure> {
    let options = GcOptions { keep: u64::MAX, dry_run: true, ..GcOptions::default() };
    Ok(store.collect(options).map(drop)?)
}

/// Does it to the model.
pub(super) fn apply(step: &Step, state: &mut State) {
    match step {
        Step::Delete { dataset, rows, purge } => {
            let part = state.datasets.get(dataset);
            let ids = part.into_iter().flat_map(|d| rows.iter().filter_map(|row| d.rows.get(row)));
            let ids: Vec<String> = ids.map(|(id, _)| id.clone()).collect();
            state.deleted.entry(dataset.clone()).or_default().extend(ids);
            bury(state, dataset, rows);
            if *purge {
                // What was tagged had the rows.
                state.tags.clear();
            }
        }
        Step::DropFeature(i) => {
            state.features.remove(&label(*i));
        }
        Step::DropDataset(name) => {
            state.datasets.remove(name);
            state.deleted.remove(name);
            state.features.retain(|_, f| f.dataset != *name);
        }
        Step::DropRun => {
            state.runs.clear();
        }
        Step::Tag(name) => {
            state.tags.insert(name.clone());
        }
        Step::Untag(name) => {
            state.tags.remove(name);
        }
        Step::Compact { .. }
        | Step::Collect { .. }
        | Step::Create
        | Step::Append { .. }
        | Step::Job { .. } => {}
    }
}

/// Deletes rows of a dataset, with their vectors and token counts.
pub(super) fn bury(state: &mut State, dataset: &str, rows: &[u64]) {
    if let Some(part) = state.datasets.get_mut(dataset) {
        part.rows.retain(|row, _| !rows.contains(row));
        part.counts.retain(|row, _| !rows.contains(row));
    }
    let labels = (0..FEATURES.len()).map(label);
    for label in labels {
        if let Some(feature) = state.features.get_mut(&label).filter(|f| f.dataset == dataset) {
            feature.rows.retain(|row, _| !rows.contains(row));
        }
    }
}
