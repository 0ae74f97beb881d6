//! Labels of a prefilter: scores of the rows whose gradients are there, and how noisy they are.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use gstore_core::{MIX_STEP, mix};
use gstore_learn::Matrix;
use gstore_learn::judge::Reliability;
use gstore_query::influence::{InfluenceSpec, Missing, Prepared, Scored, TargetRef};
use gstore_store::Snapshot;
use serde_json::{Map, Value};

use super::scored::scored;
use crate::answer::{AnswerError, CHUNK, tell_notes};
use crate::ceiling::noise_of;
use crate::work::Work;

/// Where labels come from.
#[derive(Debug, Clone)]
pub struct LabelRequest {
    /// How rows are scored; its pools, targets and treatment of rows without all checkpoints are not looked
    /// at.
    pub spec: InfluenceSpec,
    /// The dataset whose rows with gradients are labelled: the pool, or a sample of it with the same ids.
    pub dataset: String,
    /// A dataset or `dataset:subtask` each.
    pub targets: Vec<String>,
    /// About how many rows are taken at most; which is drawn by the seed.
    pub most: u64,
    /// Seed of the draw.
    pub seed: u64,
}

/// Scores by id.
pub(super) struct Labels {
    pub(super) ids: Vec<String>,
    /// A row for each id, a column for each target; NaN where a row has no score.
    pub(super) scores: Matrix,
    pub(super) reliability: Vec<Option<Reliability>>,
    /// How the rows were scored for each target.
    pub(super) scored: Vec<Map<String, Value>>,
    /// Checkpoints of the gradients.
    pub(super) checkpoints: usize,
}

/// Scores the rows of the dataset for each target.
pub(super) fn labels(
    snapshot: &Arc<Snapshot>,
    request: &LabelRequest,
    work: &mut Work<'_>,
) -> Result<Labels, AnswerError> {
    if request.targets.is_empty() {
        return Err(AnswerError::Refused("labels need a target".to_owned()));
    }
    if let Some(twice) = request.targets.iter().enumerate().find(|(i, t)| request.targets[..*i].contains(t)) {
        return Err(AnswerError::Refused(format!("the target `{}` is named twice", twice.1)));
    }
    let mut by_row: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    let mut noise = Vec::with_capacity(request.targets.len());
    let mut questions = Vec::with_capacity(request.targets.len());
    let mut checkpoints = 1;
    for (number, target) in request.targets.iter().enumerate() {
        let spec = InfluenceSpec {
            pools: vec![request.dataset.clone()],
            targets: vec![TargetRef::parse(target)],
            given: Vec::new(),
            missing: Missing::Exclude,
            partial: true,
            ..request.spec.clone()
        };
        let prepared = Prepared::new(snapshot, &spec)?;
        tell_notes(&prepared, work);
        questions.push(scored(&prepared));
        checkpoints = prepared.checkpoints().len().max(1);
        let share = request.most as f64 / prepared.live().max(1) as f64;
        let mut own: Vec<Scored> = Vec::new();
        prepared.scores(None, work.threads, work.cancel, |rows| {
            own.extend(rows.iter().filter(|scored| drawn(request.seed, scored.row, share)));
            ControlFlow::Continue(())
        })?;
        for scored in &own {
            let scores = by_row.entry(scored.row).or_insert_with(|| vec![f64::NAN; request.targets.len()]);
            scores[number] = f64::from(scored.score);
        }
        noise.push(noise_of(&prepared, &own, request.seed, work)?);
    }
    let samples = snapshot.samples(snapshot.dataset(&request.dataset)?)?;
    let rows: Vec<u64> = by_row.keys().copied().collect();
    let mut ids = Vec::with_capacity(rows.len());
    for chunk in rows.chunks(CHUNK) {
        let batch = samples.get(chunk, &["id"])?;
        let texts = batch.column(0).as_string::<i32>();
        ids.extend((0..texts.len()).map(|i| texts.value(i).to_owned()));
    }
    let scores = Matrix::new(request.targets.len(), by_row.into_values().flatten().collect());
    Ok(Labels { ids, scores, reliability: noise, scored: questions, checkpoints })
}

/// Whether a row is among those taken: the same for every target.
fn drawn(seed: u64, row: u64, share: f64) -> bool {
    let bits = mix(mix(seed.wrapping_add(MIX_STEP)) ^ row.wrapping_add(1).wrapping_mul(MIX_STEP));
    share >= 1.0 || ((bits >> 11) as f64) < share * (1u64 << 53) as f64
}

/// The rows of a pool with the labelled ids, ascending, each with the place of its id.
///
/// # Errors
/// A pool that has none of them.
pub(super) fn rows_of(
    snapshot: &Snapshot,
    pool: &str,
    (ids, dataset): (&[String], &str),
) -> Result<Vec<(u64, usize)>, AnswerError> {
    let places: HashMap<&str, usize> = ids.iter().enumerate().map(|(i, id)| (id.as_str(), i)).collect();
    let samples = snapshot.samples(snapshot.dataset(pool)?)?;
    let mut found = Vec::with_capacity(ids.len());
    samples.each_id(|row, id| found.extend(places.get(id).map(|place| (row, *place))))?;
    if found.is_empty() && !ids.is_empty() {
        return Err(AnswerError::Refused(format!(
            "none of the {} labelled ids of `{dataset}` is in `{pool}`: rows are joined by id",
            ids.len()
        )));
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_the_share_is_drawn() {
        let count = (0..10_000).filter(|row| drawn(3, *row, 0.2)).count();
        assert!((1800..2200).contains(&count), "{count}");
        assert!((0..100).all(|row| drawn(3, row, 1.0)));
    }
}
