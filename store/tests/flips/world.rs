//! Every way to read a store, as steps whose answers can be compared.

use crate::common::indexes;
use crate::common::overlay::{Fault, Overlay};
use gstore_store::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Results of a step, item by item: an answer, or an error with whether it is damage.
pub type Answers = Vec<Result<String, (bool, String)>>;

/// A way to read a part of a store. Numbers are places in the lists of [`World`].
///
/// The preparation of a step runs without the fault: it gives the same if it does not read the faulty place,
/// and is a step of its own if it does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// The current snapshot with all that it lists.
    Open,
    /// An older one, from an open store.
    Older(usize),
    History,
    /// Which rows of a dataset were deleted. A snapshot reads that once, so this takes a fresh one.
    LiveRows(usize, usize),
    /// Which ids of a dataset were deleted.
    DeletedIds(usize, usize),
    Samples(usize, usize),
    ScatteredSamples(usize, usize),
    Counts(usize, usize, usize),
    OpenFeature(usize, usize),
    /// From an open feature: content digest, exact rows and every value of every block.
    Blocks(usize, usize),
    /// From an open feature: every row by itself, without having checked a block.
    SingleRows(usize, usize),
    /// From an open feature: blocks without checks. Numbers may be wrong, but nothing panics.
    Unchecked(usize, usize),
    /// The indexes of a feature's segments, from an open feature.
    Indexes(usize, usize),
    /// The sections of indexes that are open.
    Sections(usize, usize),
}

pub struct World {
    pub overlay: Overlay,
    pub path: PathBuf,
    store: Store,
    /// Newest first.
    snapshots: Vec<Arc<Snapshot>>,
}

fn open_error(e: OpenError) -> (bool, String) {
    (e.is_damage(), e.to_string())
}

fn read_error(e: ReadError) -> (bool, String) {
    (e.is_damage(), e.to_string())
}

fn listing(s: Arc<Snapshot>) -> String {
    format!("{:?} {:?} {:?} {:?}", s.info(), s.datasets(), s.runs(), s.features())
}

impl World {
    pub fn new(overlay: Overlay, path: &Path) -> Self {
        let store = Store::open_on(Arc::new(overlay.clone()), path).unwrap();
        let numbers: Vec<u64> = store.history().unwrap().iter().map(|i| i.number).collect();
        let snapshots = numbers.into_iter().map(|n| store.snapshot_at(n).unwrap()).collect();
        World { overlay, path: path.to_owned(), store, snapshots }
    }

    /// Every way to read, without repeating parts that snapshots share.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = vec![Step::Open, Step::History];
        steps.extend((1..self.snapshots.len()).map(Step::Older));
        let indexed = self.overlay.files().keys().any(|f| f.starts_with(self.path.join("indexes")));
        let mut seen = Vec::new();
        let mut new = |part: String| {
            let is_new = !seen.contains(&part);
            seen.push(part);
            is_new
        };
        for (s, snapshot) in self.snapshots.iter().enumerate() {
            for (d, part) in snapshot.datasets().iter().enumerate() {
                if new(format!("{:?}", part.files)) {
                    steps.extend([Step::Samples(s, d), Step::ScatteredSamples(s, d)]);
                }
                if new(format!("{:?} {:?}", part.files, snapshot.live_rows(part))) {
                    steps.insert(0, Step::LiveRows(s, d));
                }
                if part.deleted_ids.is_some() && new(format!("{:?}", part.deleted_ids)) {
                    steps.push(Step::DeletedIds(s, d));
                }
                for (e, encoding) in part.encodings.iter().enumerate() {
                    if new(format!("{:?}", encoding.files)) {
                        steps.push(Step::Counts(s, d, e));
                    }
                }
            }
            for (f, part) in snapshot.features().iter().enumerate() {
                if new(format!("{:?}", part.segments)) {
                    steps.extend([Step::OpenFeature(s, f), Step::Blocks(s, f)]);
                    steps.extend([Step::SingleRows(s, f), Step::Unchecked(s, f)]);
                    if indexed {
                        steps.extend([Step::Indexes(s, f), Step::Sections(s, f)]);
                    }
                }
            }
        }
        steps
    }

    /// The answers of a step under a fault.
    pub fn answer(&self, step: Step, fault: Option<(&Path, Fault)>) -> Answers {
        let begin = || {
            self.overlay.reads();
            self.overlay.set(fault);
        };
        let feature = |s: usize, f: usize, checks: Checks| {
            let part = &self.snapshots[s].features()[f];
            let reader = self.snapshots[s].with_checks(checks).open_feature(part).unwrap();
            begin();
            reader
        };
        let answers = match step {
            Step::Blocks(s, f) => Ok(blocks(&feature(s, f, Checks::FirstTouch))),
            Step::SingleRows(s, f) => Ok(single_rows(&feature(s, f, Checks::FirstTouch))),
            Step::Unchecked(s, f) => {
                unchecked(&feature(s, f, Checks::Off));
                Ok(Vec::new())
            }
            Step::Indexes(s, f) => {
                let reader = feature(s, f, Checks::FirstTouch);
                Ok(reader.segments().iter().map(|segment| index(&reader, segment)).collect())
            }
            Step::Sections(s, f) => {
                let part = &self.snapshots[s].features()[f];
                let reader = self.snapshots[s].open_feature(part).unwrap();
                let open = |segment| reader.index(segment, indexes::KIND).unwrap().unwrap();
                let open: Vec<IndexFile> = reader.segments().iter().map(open).collect();
                begin();
                Ok(open.iter().map(|index| sections(index).map_err(read_error)).collect())
            }
            Step::LiveRows(s, d) => {
                let store = Store::open_on(Arc::new(self.overlay.clone()), &self.path).unwrap();
                let snapshot = store.snapshot_at(self.snapshots[s].number()).unwrap();
                begin();
                let rows = snapshot.live_rows(&snapshot.datasets()[d]);
                Ok(vec![rows.map(|r| r.to_string()).map_err(read_error)])
            }
            other => {
                begin();
                self.answer_here(other)
            }
        };
        self.overlay.set(None);
        answers.unwrap_or_else(|e| vec![Err(e)])
    }

    fn answer_here(&self, step: Step) -> Result<Answers, (bool, String)> {
        Ok(match step {
            Step::Open => {
                let store = Store::open_on(Arc::new(self.overlay.clone()), &self.path).map_err(open_error)?;
                vec![store.snapshot().map(listing).map_err(open_error)]
            }
            Step::Older(s) => {
                vec![self.store.snapshot_at(self.snapshots[s].number()).map(listing).map_err(open_error)]
            }
            Step::History => vec![self.store.history().map(|h| format!("{h:?}")).map_err(open_error)],
            Step::Samples(s, d) => self.samples(s, d).map_err(read_error)?,
            Step::ScatteredSamples(s, d) => self.scattered(s, d).map_err(read_error)?,
            Step::DeletedIds(s, d) => {
                let snapshot = &self.snapshots[s];
                let mut ids = snapshot.deleted_ids(&snapshot.datasets()[d]).map_err(read_error)?;
                let found = (0..100).map(|row| ids.contains(&format!("s{row}")));
                vec![found.collect::<Result<Vec<_>, _>>().map(|f| format!("{f:?}")).map_err(read_error)]
            }
            Step::Counts(s, d, e) => {
                let part = &self.snapshots[s].datasets()[d];
                let reader = self.snapshots[s].encoding(&part.encodings[e]).map_err(read_error)?;
                vec![reader.counts(0..u64::MAX).map(|c| format!("{c:?}")).map_err(read_error)]
            }
            Step::OpenFeature(s, f) => {
                let reader =
                    self.snapshots[s].open_feature(&self.snapshots[s].features()[f]).map_err(read_error)?;
                vec![Ok(format!("{:?}", reader.blocks()))]
            }
            Step::LiveRows(..)
            | Step::Blocks(..)
            | Step::SingleRows(..)
            | Step::Unchecked(..)
            | Step::Indexes(..)
            | Step::Sections(..) => Vec::new(),
        })
    }

    fn samples(&self, s: usize, d: usize) -> Result<Answers, ReadError> {
        let reader = self.snapshots[s].samples(&self.snapshots[s].datasets()[d])?;
        let schema = reader.schema();
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let batches = reader.scan(&names, None);
        Ok(batches.map(|b| b.map(|b| sha256_hex(format!("{b:?}").as_bytes())).map_err(read_error)).collect())
    }

    fn scattered(&self, s: usize, d: usize) -> Result<Answers, ReadError> {
        let part = &self.snapshots[s].datasets()[d];
        let reader = self.snapshots[s].samples(part)?;
        let live: Vec<u64> = self.snapshots[s].live_rows(part)?.iter().collect();
        let few: Vec<u64> = live.iter().rev().step_by(live.len().div_ceil(7)).copied().collect();
        let batch = reader.get(&few, &["row", "id", "record", "n"])?;
        Ok(vec![Ok(format!("{batch:?}"))])
    }
}

fn blocks(reader: &FeatureReader) -> Answers {
    let mut out: Answers = Vec::new();
    for b in reader.blocks() {
        let mut buffer = BlockBuffer::new();
        let block = reader.read_block(*b, &mut buffer);
        out.push(block.map(|b| sha256_hex(format!("{b:?}").as_bytes())).map_err(read_error));
    }
    out.push(reader.row_set().map(|r| r.to_string()).map_err(read_error));
    out.push(reader.content_digest().map_err(read_error));
    out
}

/// Header and sections of an index. That there is none is as good as damage: it can be rebuilt.
fn index(reader: &FeatureReader, segment: &SegmentRef) -> Result<String, (bool, String)> {
    match reader.index_state(segment, indexes::KIND).map_err(read_error)? {
        IndexState::Ready(index) => {
            Ok(format!("{} {}", index.header(), sections(&index).map_err(read_error)?))
        }
        other => Err((true, format!("{other:?}"))),
    }
}

/// Each section as it is read and as it is seen in the map.
fn sections(index: &IndexFile) -> Result<String, ReadError> {
    let mut text = format!("{:?}", indexes::read_all(index)?);
    for name in index.sections() {
        let section = index.section(name)?;
        text.push_str(&format!(" {name} {:?}", section.view(0..section.len())?));
    }
    Ok(sha256_hex(text.as_bytes()))
}

fn single_rows(reader: &FeatureReader) -> Answers {
    let spans = reader.part().row_ranges();
    let beyond = spans.ranges().last().map_or(0, |r| r.end);
    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let one = |row: u64| -> Result<String, ReadError> {
        let stored = reader.row(row)?;
        Ok(format!("{row} {:?}", stored.map(|r| (bits(&r.vector), bits(&r.norm), r.flags.bits()))))
    };
    spans.iter().chain([beyond]).map(|row| one(row).map_err(read_error)).collect()
}

fn unchecked(reader: &FeatureReader) {
    for b in reader.blocks() {
        let _ = reader.read_block(*b, &mut BlockBuffer::new());
    }
    for row in reader.part().row_ranges().iter() {
        let _ = reader.row(row);
    }
}
