//! The steps that take something away, or only move it.

use super::content::{FEATURES, label};
use super::state::State;
use super::step::Step;
use crate::Failure;
use gstore_store::*;

/// Does one of them.
pub(super) fn run(step: &Step, store: &Store) -> Result<(), Failure> {
    match step {
        Step::Delete { dataset, rows, purge } => {
            let options = DeleteOptions { command: "delete".into(), purge: *purge };
            store.delete(dataset, &RowSet::from_rows(rows.iter().copied()), options)?;
            Ok(())
        }
        Step::DropFeature(i) => gone(store.drop_feature(&label(*i), "drop")),
        Step::DropDataset(name) => gone(store.drop_dataset(name, "drop")),
        Step::DropRun => gone(store.drop_run("warmup", "drop")),
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
        Step::Tag(name) => match store.tag(&tag(name)?, TagOptions::default()) {
            // An earlier process had set it.
            Ok(_) | Err(TagError::Exists { .. }) => Ok(()),
            Err(e) => Err(e.into()),
        },
        Step::Untag(name) => match store.untag(&tag(name)?, "untag") {
            // What an earlier process had removed is not there. Any other error acknowledges nothing, also where the tag is gone.
            Ok(_) | Err(TagError::Lookup(_)) => Ok(()),
            Err(e) => Err(e.into()),
        },
        Step::Create | Step::Append { .. } | Step::Job { .. } => Err("another kind of step".into()),
    }
}

fn tag(name: &str) -> Result<TagName, Failure> {
    name.parse::<TagName>().map_err(|e| e.to_string().into())
}

/// What an earlier process had dropped is not there.
fn gone(dropped: Result<DropReport, ChangeError>) -> Result<(), Failure> {
    match dropped {
        Ok(_) | Err(ChangeError::Lookup(_)) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Does it to the model.
pub(super) fn apply(step: &Step, state: &mut State) {
    match step {
        Step::Delete { dataset, rows, purge } => {
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

/// Rows of a dataset are live no more, nor what features and encodings say of them.
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
