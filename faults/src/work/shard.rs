//! A shard of a feature: computed in a separate folder, attached later.

use super::content::{FEATURES, label};
use super::state::State;
use super::step::{apply_job, compute, contents, plan, run_update};
use crate::Failure;
use gstore_store::*;
use std::path::Path;

/// Computes the only shard of a feature, and records the checkpoint in a run.
pub(crate) fn make(store: &Store, feature: usize, checkpoint: u8, out: &Path) -> Result<(), Failure> {
    let dataset = FEATURES.get(feature).ok_or("no such feature")?.dataset;
    let snapshot = store.snapshot()?;
    let contents = contents(&snapshot, dataset, u64::MAX)?;
    let shard = ShardPlan::new(snapshot, dataset, "1/1".parse()?, out)?;
    let ShardStart::Job(mut job) = store.start_shard(plan(&[feature])?, shard)? else {
        return Err("the shard is there".into());
    };
    let rows = job.plan().rows().clone();
    compute(&mut job, &[feature], dataset, &rows, &contents)?;
    job.finish(Some(run_update(checkpoint)?))?;
    Ok(())
}

/// Attaches it in the model. The shard has the rows before `upto`.
pub(crate) fn apply(state: &mut State, feature: usize, checkpoint: u8, upto: u64) {
    apply_job(state, &[feature], upto, Some(checkpoint));
    let dataset = FEATURES.get(feature).and_then(|f| state.datasets.get(f.dataset));
    let complete = dataset.is_some_and(|d| d.rows.range(upto..).next().is_none());
    if let Some(part) = state.features.get_mut(&label(feature)) {
        part.complete = complete;
    }
}
