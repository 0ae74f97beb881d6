//! An ingest whose losses become a column of an ensemble.

use std::sync::Arc;

use gstore_core::{Cancel, Kind};
use gstore_store::{FeaturePart, JobFeature, RowSet, Store};

use super::column::EnsembleColumn;
use super::plan::IngestPlan;
use super::{IngestError, IngestReport, Progress, compute_and_publish};

impl IngestPlan {
    /// The same plan, whose losses become this feature of an ensemble rather than one of the checkpoint:
    /// differences to `offset`, or with none the losses themselves. `done`: rows that some other
    /// feature has already. Rows that `offset` lacks wait until it has them.
    ///
    /// # Errors
    /// A plan of anything but the losses of one checkpoint; damage.
    pub fn into_column(
        mut self,
        column: JobFeature,
        offset: Option<&FeaturePart>,
        done: &RowSet,
    ) -> Result<Self, IngestError> {
        let [checkpoint] = self.checkpoints.as_mut_slice() else { return Err(IngestError::NoColumn) };
        let [feature] = checkpoint.features.as_mut_slice() else { return Err(IngestError::NoColumn) };
        if feature.kind != Kind::Loss || column.desc.granularity != feature.desc.granularity {
            return Err(IngestError::NoColumn);
        }
        let published = match self.snapshot.feature_by_key(&column.desc.key()) {
            Some(part) => self.snapshot.open_feature(part)?.row_set()?,
            None => RowSet::new(),
        };
        feature.complete = false;
        (feature.desc, feature.attrs) = (column.desc, column.attrs);
        let offset = offset.map(|part| self.snapshot.open_feature(part)).transpose()?.map(Arc::new);
        let waiting = match &offset {
            // A value relative to nothing would count as relative to the offset that comes later.
            Some(reader) => self.rows.difference(&reader.row_set()?),
            None => RowSet::new(),
        };
        feature.published = published.union(done).union(&waiting);
        self.column = Some(EnsembleColumn { checkpoint: checkpoint.arg.name.clone(), offset });
        Ok(self)
    }
}

/// Computes what a column of an ensemble lacks, and publishes it. No run gets the checkpoint.
///
/// `cancel` stops after the current batch; sealed windows are kept for the next run of the same request.
///
/// # Errors
/// The first failure; what was sealed before it is kept, and the store is as it was.
pub fn ingest_column(
    store: &Store,
    plan: &IngestPlan,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<IngestReport, IngestError> {
    if plan.column.is_none() {
        return Err(IngestError::NoColumn);
    }
    compute_and_publish(store, plan, progress, cancel)
}
