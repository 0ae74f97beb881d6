//! Sketch refresh: sketches of the segments that a job has just published or rewritten.

use std::collections::{BTreeSet, HashSet};

use gstore_core::{Cancelled, TotalProgress, Unit};
use gstore_query::QueryError;
use gstore_query::sketch::{KIND, Planes, RebuildScope, SketchOptions, build, check, most_kept};
use gstore_store::{FeaturePart, FeatureReader, OpenError, ReadError, Snapshot, Store};

use crate::work::JobContext;

/// Makes the sketch of a feature as the options say, on the threads of the work; returns how many vectors
/// were coded.
///
/// # Errors
/// As [`build`].
pub fn sketch(
    store: &Store,
    reader: &FeatureReader,
    options: &SketchOptions,
    work: &mut JobContext<'_>,
) -> Result<u64, QueryError> {
    let options = SketchOptions { threads: work.threads, ..options.clone() };
    let name = format!("sketch {}", reader.part().display_name());
    let mut progress = TotalProgress::new(work.progress, &name, Unit::Rows);
    let built =
        build(store, reader, &options, &mut |now| progress.at(now.done, now.vectors - now.kept), work.cancel);
    progress.finish();
    Ok(built?.done)
}

/// Outcome of the requested sketches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SketchReport {
    /// Vectors that were coded.
    pub coded: u64,
    /// Why some features can have no sketch.
    pub refused: Vec<String>,
}

/// Why sketches are not complete. What was published before stays, and so do sketches that are finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum SketchError {
    #[error("stopped; published vectors and finished sketches are kept")]
    Stopped { dataset: String, source: Cancelled },
    #[error("the vectors are published, but the sketch of {feature} was not built")]
    Failed { dataset: String, feature: String, source: QueryError },
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Makes the sketches that some features of the newest snapshot lack, with these planes, by default those of
/// most sketches that they have, which stay as they are: a change of planes may be under way.
///
/// # Errors
/// See [`SketchError`].
pub fn complete(
    store: &Store,
    wanted: impl Fn(&FeaturePart) -> bool,
    planes: Option<Planes>,
    work: &mut JobContext<'_>,
) -> Result<SketchReport, SketchError> {
    let options = SketchOptions { planes, again: RebuildScope::Unusable, ..SketchOptions::default() };
    let (snapshot, _lease) = store.snapshot_leased(None, work.command)?;
    let mut done = SketchReport::default();
    for part in snapshot.features().iter().filter(|part| wanted(part)) {
        let made = snapshot.open_feature(part).map_err(QueryError::from).and_then(|reader| {
            check(&reader)?;
            sketch(store, &reader, &options, work)
        });
        let dataset = || part.desc.dataset.clone();
        match made {
            Ok(vectors) => done.coded += vectors,
            Err(QueryError::Sketch(why)) => done.refused.push(why),
            Err(QueryError::Cancelled(source)) => {
                return Err(SketchError::Stopped { dataset: dataset(), source });
            }
            Err(source) => {
                let feature = part.display_name();
                return Err(SketchError::Failed { dataset: dataset(), feature, source });
            }
        }
    }
    Ok(done)
}

/// An index that went with a file that was written again, and that the new one lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostIndex {
    /// Number of the feature.
    number: u32,
    /// The feature.
    pub feature: String,
    /// The kind of the index.
    pub kind: String,
}

/// The indexes that features lack since some of their files were written again, whenever that was: those of
/// a dataset, or all.
///
/// # Errors
/// A folder that cannot be listed.
pub fn lost(snapshot: &Snapshot, dataset: Option<&str>) -> Result<Vec<LostIndex>, ReadError> {
    let mut lost = Vec::new();
    for part in snapshot.features() {
        let is_meant = dataset.is_none_or(|name| part.desc.dataset == name);
        if !is_meant || part.segments.iter().all(|segment| segment.indexes_before().is_none()) {
            continue;
        }
        let notes = snapshot.indexes(part)?;
        let there: HashSet<_> = notes.iter().map(|note| (note.segment, note.kind.as_str())).collect();
        let mut kinds = BTreeSet::new();
        for segment in &part.segments {
            let before = segment.indexes_before().into_iter().flat_map(|headers| headers.keys());
            kinds.extend(before.filter(|kind| !there.contains(&(segment.uuid, kind.as_str()))));
        }
        lost.extend(kinds.into_iter().map(|kind| LostIndex {
            number: part.number,
            feature: part.display_name(),
            kind: kind.clone(),
        }));
    }
    Ok(lost)
}

/// Makes the sketches among indexes that are lost, with the planes that they had.
///
/// # Errors
/// As [`complete`].
pub fn restore(
    store: &Store,
    lost: &[LostIndex],
    work: &mut JobContext<'_>,
) -> Result<SketchReport, SketchError> {
    let sketches: BTreeSet<u32> =
        lost.iter().filter(|lost| lost.kind == KIND).map(|lost| lost.number).collect();
    complete(store, |part| sketches.contains(&part.number), None, work)
}

/// The planes of most of a feature's sketches, if it has some, or had before files were written again, and
/// can be opened.
pub fn planes(snapshot: &Snapshot, part: &FeaturePart) -> Option<Planes> {
    most_kept(&snapshot.open_feature(part).ok()?)
}
