//! Steps of an ensemble: members, and their losses on a dataset.

use super::content::{encoding, vector_digest};
use super::state::State;
use super::step::contents;
use crate::{Failure, Random};
use gstore_store::*;
use serde_json::Value;

/// Name of the ensemble.
pub(crate) const ENSEMBLE: &str = "e";

/// The dataset of the losses.
pub(super) const DATASET: &str = "pool";

/// Id of theta_0.
const BASE: &str = "theta";

fn id_of(member: usize) -> String {
    format!("m{member}")
}

/// Label of the losses of a member, or of theta_0.
fn label(member: Option<usize>) -> String {
    let column = member.map_or_else(|| "base".to_owned(), |member| member.to_string());
    format!("loss@{ENSEMBLE}:{column}")
}

/// The loss of a sample with this content under theta_0, or how much that of a member differs. NaN: none.
fn loss(member: Option<usize>, content: u64) -> f32 {
    let model = member.map_or(0, |member| member as u64 + 1);
    let value = Random::of(&[model, content, 41]).below(512);
    if member.is_some() && value.is_multiple_of(7) { f32::NAN } else { value as f32 / 64.0 }
}

/// Registers the members up to an index. Existing ones stay.
pub(crate) fn register(store: &Store, members: usize) -> Result<(), Failure> {
    let members = (0..members).map(|member| Member::new(id_of(member), BASE));
    store.update_ensemble(&EnsembleUpdate::new(ENSEMBLE, BASE, members), "train")?;
    Ok(())
}

/// Applies it to the model.
pub(super) fn apply_members(state: &mut State, members: usize) {
    let known = state.ensembles.entry(ENSEMBLE.to_owned()).or_default();
    for id in (0..members).map(id_of) {
        if !known.contains(&id) {
            known.push(id);
        }
    }
}

/// Computes the missing losses of theta_0 and of a member, and publishes them.
pub(crate) fn losses(store: &Store, member: usize) -> Result<(), Failure> {
    let (snapshot, _lease) = store.snapshot_leased(None, "losses")?;
    let columns = LossColumns::new(snapshot.ensemble(ENSEMBLE)?, DATASET, encoding().key());
    let features = vec![columns.offset(OffsetOf::Base), columns.members(member..member + 1, 0)];
    let mut job = store.start_job(LossColumns::plan("losses", features, &Value::Null))?;
    let contents = contents(&snapshot, DATASET, u64::MAX)?;
    let live = RowSet::from_rows(contents.keys().copied());
    for (i, model) in [None, Some(member)].into_iter().enumerate() {
        let missing = live.difference(&job.rows_done(i));
        if missing.is_empty() {
            continue;
        }
        let mut writer = job.segment_writer(i)?;
        for row in missing.iter() {
            let content = contents.get(&row).copied().unwrap_or_default();
            writer.push(row, &[loss(model, content)], RowFlags::empty())?;
        }
        job.seal(i, writer)?;
    }
    job.publish(None, true)?;
    Ok(())
}

/// Applies it to the model. The job saw the rows before `upto`.
pub(crate) fn apply_losses(state: &mut State, member: usize, upto: u64) {
    let Some(part) = state.datasets.get(DATASET) else { return };
    let rows: Vec<(u64, u64)> = part.rows.range(..upto).map(|(row, (_, content))| (*row, *content)).collect();
    for model in [None, Some(member)] {
        if rows.is_empty() && !state.features.contains_key(&label(model)) {
            continue;
        }
        let feature = state.features.entry(label(model)).or_default();
        (feature.dataset, feature.complete) = (DATASET.to_owned(), true);
        for (row, content) in &rows {
            let loss = loss(model, *content);
            let flags = if loss.is_nan() { RowFlags::MISSING } else { RowFlags::empty() };
            feature.rows.insert(*row, vec![vector_digest(None, &[loss], flags.bits())]);
        }
    }
}

/// Drops the ensemble from the model.
pub(super) fn apply_drop(state: &mut State) {
    state.ensembles.remove(ENSEMBLE);
    let own = format!("loss@{ENSEMBLE}:");
    state.features.retain(|label, _| !label.starts_with(&own));
}
