//! The features of a snapshot, opened.

use super::Snapshot;
use crate::error::{ReadError, StorageError};
use crate::manifest::{FeaturePart, SegmentEntry};
use crate::segment::{FeatureReader, SegmentFile, open_all};
use gstore_core::{Granularity, locked};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// Features that take more of the memory than this are not kept in it.
const MEMORY_SHARE: f64 = 0.75;

pub(super) type SharedSegments = Arc<Mutex<HashMap<Uuid, (SegmentEntry, Arc<SegmentFile>)>>>;

impl Snapshot {
    /// How many vectors a feature has stored, those of deleted rows among them. Where they belong to tokens,
    /// reads the footers of its segments; `None` if one cannot be read.
    pub fn stored_vectors(&self, part: &FeaturePart) -> Option<u64> {
        match part.desc.granularity {
            Granularity::Sample => Some(part.rows()),
            Granularity::Token => self.open_feature(part).ok().map(|reader| reader.stored_vectors()),
        }
    }

    /// The vectors of a feature. Reads and checks the footers of its segments; blocks are checked as
    /// [`Snapshot::with_checks`] says.
    pub fn open_feature(&self, part: &FeaturePart) -> Result<FeatureReader, ReadError> {
        let transient = bytes(&part.segments) > memory_share();
        let segments =
            open_all(&part.segments, &|entry| self.open_segment(part, entry, transient).map(Arc::new))?;
        self.reader(part, segments)
    }

    /// The same as [`Snapshot::open_feature`], with what others who opened it so found of its blocks: those
    /// that were verified are not again, also where the file was changed since.
    pub fn open_feature_shared(&self, part: &FeaturePart) -> Result<FeatureReader, ReadError> {
        let opened = || locked(&self.opened);
        let own: HashSet<Uuid> = part.segments.iter().map(|entry| entry.uuid).collect();
        let others = |(entry, _): &&(SegmentEntry, Arc<SegmentFile>)| !own.contains(&entry.uuid);
        let beside: f64 = opened().values().filter(others).map(|(entry, _)| entry.len as f64).sum();
        let transient = beside + bytes(&part.segments) > memory_share();
        let segments = open_all(&part.segments, &|entry| {
            let known =
                opened().get(&entry.uuid).filter(|(known, _)| known == entry).map(|(_, f)| Arc::clone(f));
            if let Some(file) = known {
                return Ok(file);
            }
            let file = Arc::new(self.open_segment(part, entry, transient)?);
            opened().insert(entry.uuid, (entry.clone(), Arc::clone(&file)));
            Ok(file)
        })?;
        self.reader(part, segments)
    }

    fn open_segment(
        &self,
        part: &FeaturePart,
        entry: &SegmentEntry,
        transient: bool,
    ) -> Result<SegmentFile, StorageError> {
        let mut file = SegmentFile::open_of(&self.env, part, entry)?;
        file.transient = transient;
        Ok(file)
    }

    fn reader(
        &self,
        part: &FeaturePart,
        segments: Vec<Arc<SegmentFile>>,
    ) -> Result<FeatureReader, ReadError> {
        let live = self.live_rows(self.dataset_of(part)?)?;
        Ok(FeatureReader::new(Arc::clone(&self.env), Arc::new(part.clone()), segments, live, self.checks))
    }
}

/// Bytes of vectors that may stay in memory; without end where the system does not say how much there is.
fn memory_share() -> f64 {
    gstore_core::total_memory().map_or(f64::INFINITY, |bytes| MEMORY_SHARE * bytes as f64)
}

fn bytes(segments: &[SegmentEntry]) -> f64 {
    segments.iter().map(|entry| entry.len as f64).sum()
}
