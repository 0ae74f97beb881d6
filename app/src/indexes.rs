//! Sketch refresh: sketches of the segments that a job has just published or rewritten.

use std::collections::BTreeSet;

use gstore_core::{TotalProgress, Unit};
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
    let built = build(
        store,
        reader,
        &options,
        &mut |done| progress.at(done.coded, done.vectors - done.kept),
        work.cancel,
    );
    progress.finish();
    Ok(built?.coded)
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
    #[error("stopped; what was published stays, and so do sketches that are finished")]
    Stopped { dataset: String },
    #[error("the vectors are published, but the sketch of {feature} is not made")]
    Failed { dataset: String, feature: String, source: QueryError },
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Makes the sketches that some features of the newest snapshot lack, with these planes, by default those of
/// most sketches that they have, which stay as they are.
///
/// # Errors
/// See [`SketchError`].
pub fn complete(
    store: &Store,
    wanted: impl Fn(&FeaturePart) -> bool,
    planes: Option<Planes>,
    work: &mut JobContext<'_>,
) -> Result<SketchReport, SketchError> {
    make(store, |part| wanted(part).then(|| refresh_missing(planes)), work)
}

/// Makes sketches of the features of the newest snapshot that are to have some.
fn make(
    store: &Store,
    wanted: impl Fn(&FeaturePart) -> Option<SketchOptions>,
    work: &mut JobContext<'_>,
) -> Result<SketchReport, SketchError> {
    let (snapshot, _lease) = store.snapshot_leased(None, work.command)?;
    let mut done = SketchReport::default();
    for part in snapshot.features() {
        let Some(options) = wanted(part) else { continue };
        let made = snapshot.open_feature(part).map_err(QueryError::from).and_then(|reader| {
            check(&reader)?;
            sketch(store, &reader, &options, work)
        });
        let dataset = || part.desc.dataset.clone();
        match made {
            Ok(vectors) => done.coded += vectors,
            Err(QueryError::Sketch(why)) => done.refused.push(why),
            Err(QueryError::Cancelled) => return Err(SketchError::Stopped { dataset: dataset() }),
            Err(source) => {
                let feature = part.display_name();
                return Err(SketchError::Failed { dataset: dataset(), feature, source });
            }
        }
    }
    Ok(done)
}

/// The indexes that a store has before a job rewrites some of its files. An index belongs to one
/// file, so it goes with it.
#[derive(Debug)]
pub struct ExistingIndexes(Vec<IndexedFeature>);

/// What is known of a feature with indexes.
#[derive(Debug)]
struct IndexedFeature {
    feature: u32,
    segments: BTreeSet<String>,
    kinds: BTreeSet<String>,
    /// Those of its sketch.
    planes: Option<Planes>,
}

/// An index that went with its file and is not made again without being asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostIndex {
    /// The feature.
    pub feature: String,
    /// The kind of the index.
    pub kind: String,
}

impl ExistingIndexes {
    /// Those of all features.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn new(snapshot: &Snapshot) -> Result<Self, ReadError> {
        let mut known = Vec::new();
        for part in snapshot.features() {
            let kinds: BTreeSet<String> = snapshot.indexes(part)?.into_iter().map(|note| note.kind).collect();
            if !kinds.is_empty() {
                let planes = kinds.contains(KIND).then(|| planes(snapshot, part)).flatten();
                known.push(IndexedFeature { feature: part.number, segments: segments(part), kinds, planes });
            }
        }
        Ok(Self(known))
    }

    /// The indexes of rewritten files that are not sketches.
    ///
    /// # Errors
    /// The state of the store could not be read.
    pub fn gone(&self, store: &Store) -> Result<Vec<LostIndex>, OpenError> {
        let snapshot = store.snapshot()?;
        let rewritten = snapshot.features().iter().flat_map(|part| {
            let known = self.0.iter().filter(move |known| known.is_rewritten(part));
            known.map(move |known| (part, known))
        });
        let gone = rewritten.flat_map(|(part, known)| {
            let others = known.kinds.iter().filter(|kind| *kind != KIND);
            others.map(move |kind| LostIndex { feature: part.display_name(), kind: kind.clone() })
        });
        Ok(gone.collect())
    }

    /// Makes the sketches of the new files of features that had some, with the same planes.
    ///
    /// # Errors
    /// As [`complete`].
    pub fn restore(&self, store: &Store, work: &mut JobContext<'_>) -> Result<SketchReport, SketchError> {
        let had = |part: &FeaturePart| {
            let mut known = self.0.iter().filter(|known| known.kinds.contains(KIND));
            let own = known.find(|known| known.is_rewritten(part))?;
            Some(refresh_missing(own.planes))
        };
        make(store, had, work)
    }
}

impl IndexedFeature {
    fn is_rewritten(&self, part: &FeaturePart) -> bool {
        self.feature == part.number && segments(part).difference(&self.segments).next().is_some()
    }
}

/// An automatic refresh leaves usable sketches as they are: a change of planes may be under way.
fn refresh_missing(planes: Option<Planes>) -> SketchOptions {
    SketchOptions { planes, again: RebuildScope::Unusable, ..SketchOptions::default() }
}

/// The planes of most of a feature's sketches, if it has some and can be opened.
pub fn planes(snapshot: &Snapshot, part: &FeaturePart) -> Option<Planes> {
    most_kept(&snapshot.open_feature(part).ok()?)
}

fn segments(part: &FeaturePart) -> BTreeSet<String> {
    part.segments.iter().map(|segment| segment.uuid.to_string()).collect()
}
