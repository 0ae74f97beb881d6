//! A feature of a job: what it is, and which of its rows are done.

use super::folder::{JobFolder, segment_name};
use super::plan::JobFeature;
use super::rows::published_rows;
use crate::error::{ReadError, StorageError};
use crate::segment::SealedSegment;
use crate::store::Snapshot;
use gstore_core::RowSet;
use std::path::PathBuf;
use uuid::Uuid;

/// A feature that a job writes, with its progress.
#[derive(Debug)]
pub(crate) struct FeatureWork {
    pub feature: JobFeature,
    /// Its place in the plan: names of its files have it.
    place: usize,
    /// Rows that were published when the job started.
    pub published: RowSet,
    pub sealed: Vec<SealedSegment>,
}

impl FeatureWork {
    /// The features of a plan, none of them begun.
    pub(crate) fn all(features: Vec<JobFeature>, base: &Snapshot) -> Result<Vec<FeatureWork>, ReadError> {
        let work = |(place, feature): (usize, JobFeature)| {
            let published = published_rows(base, &feature.desc.key())?;
            Ok(FeatureWork { feature, place, published, sealed: Vec::new() })
        };
        features.into_iter().enumerate().map(work).collect()
    }

    /// Name of a sealed segment in the job's folder.
    pub(crate) fn name_of(&self, uuid: Uuid) -> String {
        segment_name(self.place, uuid)
    }

    /// Place of a segment in the job's folder until it is sealed.
    pub(crate) fn unfinished(&self, folder: &JobFolder, uuid: Uuid) -> PathBuf {
        folder.path_of(&super::unfinished(&self.name_of(uuid)))
    }

    /// Rows that need not be computed: published ones and sealed ones.
    pub(crate) fn rows_done(&self) -> RowSet {
        let sealed = self.sealed.iter().flat_map(|segment| segment.rows.ranges());
        RowSet::from_ranges(self.published.ranges().iter().chain(sealed).cloned())
    }

    /// Makes a finished segment part of the progress. It lies in the job's folder, under its unfinished name.
    pub(crate) fn adopt(
        &mut self,
        folder: &JobFolder,
        mut segment: SealedSegment,
    ) -> Result<(), StorageError> {
        let name = self.name_of(segment.uuid());
        folder.seal(&name)?;
        segment.path = folder.path_of(&name);
        self.sealed.push(segment);
        Ok(())
    }
}
