//! Columns that are known of rows at a stage: its own and those of the stages before it.

use std::ops::ControlFlow;
use std::sync::Arc;

use gstore_learn::{FeatureSet, Matrix, OpenFeatures};
use gstore_query::influence::{InfluenceSpec, Order, Prepared, RowFilter};
use gstore_store::{RowSet, Snapshot};

use super::source::CascadeSource;
use crate::answer::AnswerError;
use crate::ceiling::{ScoreReliability, noise_of};
use crate::work::JobContext;

#[derive(Debug, Clone, Default)]
pub(super) struct StageColumns {
    /// Stored features, token counts and metadata.
    pub(super) set: Option<FeatureSet>,
    /// The score at so many checkpoints; 0: none.
    pub(super) checkpoints: usize,
}

impl StageColumns {
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = self.set.as_ref().map(FeatureSet::columns).unwrap_or_default();
        names.extend((self.checkpoints > 0).then(|| format!("score at {}", self.checkpoints)));
        names
    }
}

pub(super) struct OpenStageColumns {
    stages: Vec<(Option<OpenFeatures>, Option<Prepared>)>,
}

impl OpenStageColumns {
    /// Opens the columns of stages in their order.
    pub(super) fn open<'a>(
        snapshot: &Arc<Snapshot>,
        source: &CascadeSource,
        stages: impl Iterator<Item = &'a StageColumns>,
    ) -> Result<Self, AnswerError> {
        let open = |columns: &StageColumns| -> Result<_, AnswerError> {
            let set = columns.set.as_ref().map(|set| set.open(snapshot, source.pool())).transpose()?;
            let scores = match columns.checkpoints {
                0 => None,
                count => Some(Prepared::new(snapshot, &source.spec_at(count))?),
            };
            Ok((set, scores))
        };
        Ok(Self { stages: stages.map(open).collect::<Result<_, _>>()? })
    }

    /// What is known of some rows, which ascend: a row for each, NaN where a value is missing.
    pub(super) fn read(&self, rows: &[u64], work: &JobContext<'_>) -> Result<Matrix, AnswerError> {
        let mut parts = Vec::with_capacity(2 * self.stages.len());
        for (set, prepared) in &self.stages {
            parts.extend(set.as_ref().map(|set| set.read(rows)).transpose()?);
            if let Some(prepared) = prepared {
                parts.push(Matrix::new(1, scores(prepared, rows, work)?));
            }
        }
        let width = parts.iter().map(Matrix::cols).sum();
        let values = (0..rows.len()).flat_map(|row| parts.iter().flat_map(move |part| part.row(row)));
        Ok(Matrix::new(width, values.copied().collect()))
    }
}

/// The scores of some rows, which ascend; NaN of one that has none.
fn scores(prepared: &Prepared, rows: &[u64], work: &JobContext<'_>) -> Result<Vec<f64>, AnswerError> {
    let filter = RowFilter::new().with(0, rows.iter().copied().collect());
    let mut found = vec![f64::NAN; rows.len()];
    prepared.scores(Some(&filter), work.threads, work.cancel, |scored| {
        for one in scored {
            if let Ok(place) = rows.binary_search(&one.row) {
                found[place] = f64::from(one.score);
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// What is learned of some rows: their scores to a question, those that are selected first the largest.
pub(super) fn labels_of(
    snapshot: &Arc<Snapshot>,
    (spec, order): (&InfluenceSpec, Order),
    rows: &[u64],
    work: &JobContext<'_>,
) -> Result<Vec<f64>, AnswerError> {
    let mut labels = scores(&Prepared::new(snapshot, spec)?, rows, work)?;
    if order == Order::Worst {
        labels.iter_mut().for_each(|label| *label = -*label);
    }
    Ok(labels)
}

/// How much of the scores of some rows is not noise.
pub(super) fn reliability_of(
    snapshot: &Arc<Snapshot>,
    spec: &InfluenceSpec,
    (rows, seed): (&RowSet, u64),
    work: &JobContext<'_>,
) -> Result<ScoreReliability, AnswerError> {
    let prepared = Prepared::new(snapshot, spec)?;
    let filter = RowFilter::new().with(0, rows.iter().collect());
    let mut scored = Vec::new();
    prepared.scores(Some(&filter), work.threads, work.cancel, |found| {
        scored.extend_from_slice(found);
        ControlFlow::Continue(())
    })?;
    noise_of(&prepared, &scored, seed, work)
}
