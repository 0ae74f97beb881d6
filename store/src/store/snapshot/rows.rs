//! The rows of a snapshot's datasets: which are there, and what is stored of them.

use super::{LiveCell, Snapshot};
use crate::encodings::EncodingReader;
use crate::error::{Damage, ReadError, StorageError};
use crate::index::{self, IndexNote};
use crate::manifest::{DatasetPart, EncodingEntry, FeaturePart};
use crate::samples::SampleReader;
use crate::store::coverage::Coverage;
use crate::tombstones::{DeletedIdLookup, LiveRows};
use gstore_core::RowSet;
use std::sync::Arc;

impl Snapshot {
    pub(crate) fn live_cell(&self, part: &Arc<DatasetPart>) -> Option<LiveCell> {
        let i = self.parts.datasets.iter().position(|d| Arc::ptr_eq(d, part))?;
        self.parts.live.get(i).cloned()
    }

    /// Which rows of a dataset are there, deleted and purged.
    pub(crate) fn rows_of(&self, dataset: &DatasetPart) -> Result<LiveRows, StorageError> {
        // Mostly it is the very part; comparing two takes time for each file.
        let is_own = |d: &Arc<DatasetPart>| {
            std::ptr::eq(&**d, dataset) || (d.number == dataset.number && **d == *dataset)
        };
        let own = self.parts.datasets.iter().position(is_own);
        match own.and_then(|i| self.parts.live.get(i)) {
            Some(cell) => match cell.get() {
                Some(rows) => Ok(rows.clone()),
                None => {
                    let rows = LiveRows::read(&self.env, dataset)?;
                    Ok(cell.get_or_init(|| rows).clone())
                }
            },
            None => LiveRows::read(&self.env, dataset),
        }
    }

    /// The live rows of a dataset: stored and not deleted. Reads the bitmaps of deleted rows once.
    ///
    /// Memory: 16 bytes for each run of consecutive live rows, so at most 16 bytes for each deleted row.
    pub fn live_rows(&self, dataset: &DatasetPart) -> Result<Arc<RowSet>, ReadError> {
        Ok(self.rows_of(dataset)?.live)
    }

    /// Which ids were deleted from a dataset, so that an append leaves them out. Reads the
    /// ids of the deleted rows.
    pub fn deleted_ids(&self, dataset: &DatasetPart) -> Result<DeletedIdLookup, ReadError> {
        let deleted = self.rows_of(dataset)?.without_successor();
        Ok(DeletedIdLookup::open(&self.env, dataset, &deleted)?)
    }

    /// How much of its dataset a feature has. Reads blocks only if the feature has gaps and rows of
    /// the dataset were deleted.
    pub fn coverage(&self, part: &FeaturePart) -> Result<Coverage, ReadError> {
        let dataset = self.dataset_of(part)?;
        let rows =
            if dataset.rows == dataset.next_row { part.rows() } else { self.feature_rows(part)?.len() };
        Ok(Coverage::new(part.state, rows, dataset.rows))
    }

    /// The live rows that a feature has. Opens its files and reads blocks only if it has gaps.
    pub fn feature_rows(&self, part: &FeaturePart) -> Result<RowSet, ReadError> {
        match part.has_gaps() {
            true => self.open_feature(part)?.row_set(),
            false => Ok(part.row_ranges().intersection(&*self.live_rows(self.dataset_of(part)?)?)),
        }
    }

    pub(super) fn dataset_of(&self, part: &FeaturePart) -> Result<&Arc<DatasetPart>, ReadError> {
        let found = self.parts.datasets.iter().find(|d| d.name == part.desc.dataset);
        found.ok_or_else(|| {
            let what = format!("dataset of feature {}", part.number);
            Damage::new("the catalog", what, "one of the snapshot", &part.desc.dataset).into()
        })
    }

    /// The samples of a dataset of this snapshot. Reads nothing yet.
    pub fn samples(&self, dataset: &DatasetPart) -> Result<SampleReader, ReadError> {
        Ok(SampleReader::open(&self.env, dataset, self.live_rows(dataset)?, &dataset.files))
    }

    /// What an encoding says of the samples. Reads nothing yet.
    pub fn encoding(&self, encoding: &EncodingEntry) -> Result<EncodingReader, ReadError> {
        Ok(EncodingReader::open(&self.env, encoding.clone()))
    }

    /// The indexes of a feature's segments, by segment and kind. Lists the folder of indexes
    /// and opens none of them.
    pub fn indexes(&self, part: &FeaturePart) -> Result<Vec<IndexNote>, ReadError> {
        Ok(index::notes(&self.env, &part.segments)?)
    }
}
