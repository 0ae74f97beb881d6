//! Numbers of samples read from features: losses, entropies and norms, as columns of these names.

use std::sync::{Arc, OnceLock};

use arrow_array::{ArrayRef, Float32Array};
use gstore_core::Kind;
use gstore_query::influence::Plan;
use gstore_store::{Block, BlockBuffer, FeaturePart, FeatureReader, Granularity, RowFlags, Snapshot, Values};

use super::distinct::DistinctRows;
use super::error::SqlError;
use super::virtuals::VirtualColumn;

/// What a question has to do with a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PartInQuestion {
    None,
    OfItsRun,
    Used,
}

impl PartInQuestion {
    fn of(feature: &FeaturePart, snapshot: &Snapshot, question: &Plan) -> Self {
        let checkpoint = feature.desc.checkpoint.as_ref();
        let run = question.run().and_then(|name| snapshot.run(name).ok());
        if question.checkpoints().iter().any(|used| Some(&used.id) == checkpoint) {
            Self::Used
        } else if run.is_some_and(|run| run.checkpoints.iter().any(|c| Some(&c.checkpoint) == checkpoint)) {
            Self::OfItsRun
        } else {
            Self::None
        }
    }
}

/// The feature that `loss`, `entropy` or `norm` is of: that of the newest checkpoint, by the steps of the
/// runs; of equal steps, and without any, the one that was made last. For `norm` plain gradients go before
/// preconditioned ones.
/// Next to a question's scores its own checkpoints go first, then the others of its run.
pub(crate) fn feature(
    snapshot: &Snapshot,
    dataset: &str,
    column: VirtualColumn,
    question: Option<&Plan>,
) -> Option<Arc<FeaturePart>> {
    let fits = |feature: &&Arc<FeaturePart>| {
        let wanted = column.kinds().iter().any(|kind| kind.name() == feature.desc.kind.name);
        wanted && feature.desc.granularity == Granularity::Sample && feature.desc.dataset == dataset
    };
    let step = |feature: &FeaturePart| snapshot.step_of(feature.desc.checkpoint.as_ref()?);
    let plain = |feature: &FeaturePart| feature.desc.kind.name == Kind::GradSgd.name();
    let part = |feature: &FeaturePart| question.map(|plan| PartInQuestion::of(feature, snapshot, plan));
    snapshot.features().iter().filter(fits).max_by_key(|f| (part(f), step(f), plain(f), f.number)).cloned()
}

/// A number of each row, read from a feature.
#[derive(Debug)]
pub(crate) struct FeatureNumbers {
    pub(crate) column: VirtualColumn,
    feature: Arc<FeaturePart>,
    /// Kept open: rows are asked for in many small requests.
    reader: OnceLock<FeatureReader>,
}

impl FeatureNumbers {
    pub(crate) fn new(column: VirtualColumn, feature: Arc<FeaturePart>) -> Self {
        Self { column, feature, reader: OnceLock::new() }
    }

    pub(crate) fn unopened(&self) -> Self {
        Self::new(self.column, Arc::clone(&self.feature))
    }

    /// What is said next to the scores of a question that has nothing to do with the feature's checkpoint.
    pub(crate) fn note(&self, snapshot: &Snapshot, question: &Plan) -> Option<String> {
        let FeaturePart { desc, attrs, .. } = &*self.feature;
        let strange = PartInQuestion::of(&self.feature, snapshot, question) == PartInQuestion::None;
        (strange && !question.checkpoints().is_empty()).then(|| {
            format!(
                "`{}` of dataset `{}` is that of `{}`, of no checkpoint of the question's run",
                self.column.name(),
                desc.dataset,
                attrs.label
            )
        })
    }

    /// The numbers of some rows; null for a row that the feature lacks, that has nothing to score, or whose
    /// values are not finite.
    pub(crate) fn of_rows(&self, snapshot: &Snapshot, rows: &[u64]) -> Result<ArrayRef, SqlError> {
        let reader = match self.reader.get() {
            Some(open) => open,
            None => {
                let reader = snapshot.open_feature(&self.feature)?;
                self.reader.get_or_init(|| reader)
            }
        };
        let distinct = DistinctRows::new(rows);
        let wanted = distinct.rows();
        let mut values = vec![None; wanted.len()];
        let mut buffer = BlockBuffer::default();
        for place in reader.blocks() {
            let range = place.range();
            let first = wanted.partition_point(|row| *row < range.start);
            if wanted.get(first).is_none_or(|row| *row >= range.end) {
                continue;
            }
            let block = reader.read_block(*place, &mut buffer)?;
            for (i, row) in block.rows.iter().enumerate() {
                if let Ok(at) = wanted.binary_search(row)
                    && reader.live().contains(*row)
                    && let Some(value) = self.value(&block, i)
                {
                    values[at] = Some(value);
                }
            }
        }
        Ok(Arc::new(distinct.places().iter().map(|place| values[*place]).collect::<Float32Array>()))
    }

    fn value(&self, block: &Block<'_>, i: usize) -> Option<f32> {
        // The stored values of what is not finite are zeros.
        let without = RowFlags::NO_SCORED.union(RowFlags::NON_FINITE);
        if RowFlags::from_bits(*block.flags.get(i)?).intersects(without) {
            return None;
        }
        Some(match self.column {
            VirtualColumn::Norm => norm(block, i, self.feature.attrs.groups.len()),
            _ => {
                // Losses and entropies are stored as f32, whose scale is 1.
                let Values::F32(values) = block.values else { return None };
                *values.get(i * self.feature.desc.dim() as usize)?
            }
        })
    }
}

/// The L2 norm of a vector before it was rounded, over all its groups.
pub(crate) fn norm(block: &Block<'_>, i: usize, groups: usize) -> f32 {
    let norms = block.norm.get(i * groups..(i + 1) * groups).unwrap_or_default();
    let squared: f64 = norms.iter().map(|norm| f64::from(*norm) * f64::from(*norm)).sum();
    squared.sqrt() as f32
}
