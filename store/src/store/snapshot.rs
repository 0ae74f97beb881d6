//! A snapshot: one published, immutable state of a store.

use super::coverage::Coverage;
use crate::layout::{Env, encoding_file, sample_file};

use super::load::Chain;
use crate::encodings::EncodingReader;
use crate::error::{Damage, LookupError, OpenError, ReadError, StorageError};
use crate::index::{self, IndexNote};
use crate::manifest::{
    DatasetPart, EncodingEntry, EnsemblePart, FeaturePart, FileEntry, Link, Root, RunPart, SegmentEntry, Tag,
    View, root_number,
};
use crate::samples::SampleReader;
use crate::segment::{Checks, FeatureReader, SegmentFile, open_all};
use crate::table::TableFile;
use crate::tombstones::{DeletedIdLookup, LiveRows};
use gstore_core::{Digest, Granularity, RowSet, nearest};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use uuid::Uuid;

/// What is known of a snapshot without loading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// Its number.
    pub number: u64,
    /// When it was published, in milliseconds since 1970.
    pub created: u64,
    /// The command that made it.
    pub command: String,
    /// What it changed, in words.
    pub changes: Vec<String>,
    /// The number of the one before it.
    pub parent: Option<u64>,
    /// Digest of its root.
    pub digest: Digest,
    /// Id of the store.
    pub store: Uuid,
    /// Names of the tags that keep it.
    pub tags: Vec<String>,
}

impl SnapshotInfo {
    /// With the tags of the newest root that is known: older ones do not have those that came later.
    pub(crate) fn new(link: &Link, root: &Root, tags: &[Tag]) -> Self {
        SnapshotInfo {
            number: root.snapshot,
            created: root.created,
            command: root.command.clone(),
            changes: root.changes.clone(),
            parent: root.parent.as_ref().and_then(|p| root_number(&p.file)),
            digest: link.digest,
            store: root.store,
            tags: tags.iter().filter(|t| t.root == *link).map(|t| t.name.clone()).collect(),
        }
    }
}

/// A tag and the snapshot that it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TagInfo {
    /// Its name.
    pub name: String,
    /// Number of the snapshot.
    pub snapshot: u64,
    /// When it was made, in milliseconds since 1970.
    pub created: u64,
}

impl TagInfo {
    fn new(tag: &Tag) -> Self {
        TagInfo { name: tag.name.clone(), snapshot: tag.snapshot, created: tag.created }
    }
}

/// A state of a store. Holds the catalog in memory and no file open, but for the maps of
/// features that are shared.
#[derive(Debug)]
pub struct Snapshot {
    env: Arc<Env>,
    link: Link,
    root: Root,
    parts: Parts,
    checks: Checks,
    opened: Opened,
    /// Whether all datasets are seen.
    whole: bool,
}

/// Features that take more of the memory than this are not kept in it.
const MEMORY_SHARE: f64 = 0.75;

/// The segments that are shared.
type Opened = Arc<Mutex<HashMap<Uuid, (SegmentEntry, Arc<SegmentFile>)>>>;

/// Filled at the first request; snapshots with the same part share it.
type LiveCell = Arc<OnceLock<LiveRows>>;

/// What a root refers to.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub datasets: Vec<Arc<DatasetPart>>,
    pub runs: Vec<Arc<RunPart>>,
    pub ensembles: Vec<Arc<EnsemblePart>>,
    pub features: Vec<Arc<FeaturePart>>,
    /// Live rows of the datasets, in their order.
    pub live: Vec<LiveCell>,
    /// First snapshot of the history, as far as it is known.
    pub oldest: u64,
    /// Tags, as far as they are known.
    pub tags: Vec<Tag>,
}

impl Snapshot {
    pub(crate) fn new(env: Arc<Env>, link: Link, root: Root, parts: Parts) -> Self {
        Snapshot {
            env,
            link,
            root,
            parts,
            checks: Checks::FirstTouch,
            opened: Opened::default(),
            whole: true,
        }
    }

    /// The same snapshot, whose features are opened with another choice of checks. Shares what is loaded.
    pub fn with_checks(&self, checks: Checks) -> Snapshot {
        let (env, link, root) = (Arc::clone(&self.env), self.link.clone(), self.root.clone());
        let (parts, opened) = (self.parts.clone(), Arc::clone(&self.opened));
        Snapshot { env, link, root, parts, checks, opened, whole: self.whole }
    }

    /// The same snapshot for a client that may only see some datasets: without the others and their features,
    /// and without what may name them: commands and changes of its history, and views whose statement has the
    /// name of one of them, or of such a view, as a word. Shares what is loaded.
    pub fn only(&self, sees: impl Fn(&str) -> bool) -> Snapshot {
        let mut seen = Snapshot { whole: false, ..self.with_checks(self.checks) };
        let shown: Vec<bool> = self.parts.datasets.iter().map(|d| sees(&d.name)).collect();
        let hidden = self.parts.datasets.iter().zip(&shown).filter(|(_, shown)| !**shown);
        hide_views(&mut seen.root.views, hidden.map(|(d, _)| d.name.clone()).collect());
        let mut keep = shown.iter();
        seen.parts.datasets.retain(|_| keep.next().copied().unwrap_or(false));
        let mut keep = shown.iter();
        seen.parts.live.retain(|_| keep.next().copied().unwrap_or(false));
        seen.parts.features.retain(|f| sees(&f.desc.dataset));
        let shown: HashSet<Option<Uuid>> = seen.parts.features.iter().map(|f| f.desc.ensemble).collect();
        seen.parts.ensembles.retain(|e| shown.contains(&Some(e.uuid)));
        seen
    }

    /// The same snapshot without the views of these names. Shares what is loaded.
    pub fn without_views(&self, hidden: &[String]) -> Snapshot {
        let mut seen = self.with_checks(self.checks);
        seen.root.views.retain(|view| !hidden.contains(&view.name));
        seen
    }

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
        let rows = if dataset.rows == dataset.next_row {
            part.rows()
        } else if part.has_gaps() {
            self.open_feature(part)?.row_set()?.len()
        } else {
            part.row_ranges().intersection(&*self.live_rows(dataset)?).len()
        };
        Ok(Coverage::new(part.state, rows, dataset.rows))
    }

    fn dataset_of(&self, part: &FeaturePart) -> Result<&Arc<DatasetPart>, ReadError> {
        let found = self.parts.datasets.iter().find(|d| d.name == part.desc.dataset);
        found.ok_or_else(|| {
            let what = format!("dataset of feature {}", part.number);
            Damage::new("the catalog", what, "one of the snapshot", &part.desc.dataset).into()
        })
    }

    /// Number of the first snapshot of the history.
    pub fn oldest(&self) -> u64 {
        self.parts.oldest
    }

    /// The tags, by name.
    pub fn tags(&self) -> Vec<TagInfo> {
        self.parts.tags.iter().map(TagInfo::new).collect()
    }

    pub(crate) fn all_tags(&self) -> &[Tag] {
        &self.parts.tags
    }

    /// The saved queries, by name.
    pub fn views(&self) -> &[View] {
        &self.root.views
    }

    /// The saved query of a name.
    pub fn view(&self, name: &str) -> Result<&View, LookupError> {
        let names = || self.views().iter().map(|view| view.name.as_str());
        self.views().iter().find(|v| v.name == name).ok_or_else(|| unknown("view", name, names().collect()))
    }

    /// The tag of a name.
    pub fn tag(&self, name: &str) -> Result<TagInfo, LookupError> {
        self.tag_entry(name).map(TagInfo::new)
    }

    pub(crate) fn tag_entry(&self, name: &str) -> Result<&Tag, LookupError> {
        let tags = &self.parts.tags;
        let names = || tags.iter().map(|t| t.name.as_str());
        tags.iter().find(|t| t.name == name).ok_or_else(|| unknown("tag", name, names().collect()))
    }

    /// The store's folder as a reader of this snapshot sees it.
    pub(crate) fn env(&self) -> &Arc<Env> {
        &self.env
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// Whether all datasets are seen.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.root.snapshot
    }

    /// Number, time, command and changes.
    pub fn info(&self) -> SnapshotInfo {
        SnapshotInfo::new(&self.link, &self.root, &self.parts.tags)
    }

    /// This snapshot and those before it, newest first, then older ones that tags keep. Reads their roots.
    pub fn history(&self) -> Result<Vec<SnapshotInfo>, OpenError> {
        let mut all = self.whole_history()?;
        if !self.whole {
            for info in &mut all {
                (info.command, info.changes) = (String::new(), Vec::new());
            }
        }
        Ok(all)
    }

    fn whole_history(&self) -> Result<Vec<SnapshotInfo>, OpenError> {
        let tags = &self.parts.tags;
        let mut out = vec![self.info()];
        for link in Chain::new(&self.env, self) {
            let (link, root) = link?;
            out.push(SnapshotInfo::new(&link, &root, tags));
        }
        let mut older: Vec<&Tag> = tags.iter().filter(|t| t.snapshot < self.oldest()).collect();
        older.sort_by_key(|t| std::cmp::Reverse(t.snapshot));
        older.dedup_by_key(|t| t.snapshot);
        for tag in older {
            let root: Root = self.env.manifests().read(&tag.root)?;
            out.push(SnapshotInfo::new(&tag.root, &root, tags));
        }
        Ok(out)
    }

    /// The datasets, by number.
    pub fn datasets(&self) -> &[Arc<DatasetPart>] {
        &self.parts.datasets
    }

    /// The dataset of a name.
    pub fn dataset(&self, name: &str) -> Result<&Arc<DatasetPart>, LookupError> {
        let names = || self.parts.datasets.iter().map(|d| d.name.as_str());
        self.parts
            .datasets
            .iter()
            .find(|d| d.name == name)
            .ok_or_else(|| unknown("dataset", name, names().collect()))
    }

    /// The runs, by number.
    pub fn runs(&self) -> &[Arc<RunPart>] {
        &self.parts.runs
    }

    /// The run of a name.
    pub fn run(&self, name: &str) -> Result<&Arc<RunPart>, LookupError> {
        let names = || self.parts.runs.iter().map(|r| r.name.as_str());
        self.parts.runs.iter().find(|r| r.name == name).ok_or_else(|| unknown("run", name, names().collect()))
    }

    /// The ensembles, by number.
    pub fn ensembles(&self) -> &[Arc<EnsemblePart>] {
        &self.parts.ensembles
    }

    /// The ensemble of a name or uuid.
    pub fn ensemble(&self, name: &str) -> Result<&Arc<EnsemblePart>, LookupError> {
        let names = || self.parts.ensembles.iter().map(|e| e.name.as_str());
        let uuid = name.parse::<Uuid>().ok();
        let named = |e: &&Arc<EnsemblePart>| e.name == name || Some(e.uuid) == uuid;
        let found = self.parts.ensembles.iter().find(named);
        found.ok_or_else(|| unknown("ensemble", name, names().collect()))
    }

    /// The features, by number.
    pub fn features(&self) -> &[Arc<FeaturePart>] {
        &self.parts.features
    }

    /// The features of a dataset, by number.
    pub fn features_of(&self, dataset: &str) -> Vec<&Arc<FeaturePart>> {
        self.parts.features.iter().filter(|f| f.desc.dataset == dataset).collect()
    }

    /// The feature of a key.
    pub fn feature_by_key(&self, key: &str) -> Option<&Arc<FeaturePart>> {
        self.parts.features.iter().find(|f| f.key == key)
    }

    /// A feature by its label, `dataset/label`, number, or the first eight or more digits of its key.
    pub fn feature(&self, name: &str) -> Result<&Arc<FeaturePart>, LookupError> {
        let by_key = name.len() >= 8 && name.bytes().all(|b| b.is_ascii_hexdigit());
        let number: Option<u32> = name.parse().ok();
        let found: Vec<&Arc<FeaturePart>> = self
            .parts
            .features
            .iter()
            .filter(|f| {
                f.attrs.label == name
                    || f.display_name() == name
                    || Some(f.number) == number
                    || (by_key && f.key.starts_with(name))
            })
            .collect();
        match found.as_slice() {
            [one] => Ok(one),
            [] => Err(unknown_feature(name, &self.parts.features)),
            several => Err(LookupError::Ambiguous {
                what: "feature",
                name: name.to_owned(),
                candidates: several
                    .iter()
                    .map(|f| format!("{} (number {}, key {:.12})", f.display_name(), f.number, f.key))
                    .collect(),
            }),
        }
    }

    /// The samples of a dataset of this snapshot. Reads nothing yet.
    pub fn samples(&self, dataset: &DatasetPart) -> Result<SampleReader, ReadError> {
        let file = |entry: &FileEntry| {
            let name = sample_file(dataset.number, entry.uuid);
            TableFile::new(self.env.shared_vfs(), self.env.at(&name), name, entry)
        };
        let live = self.live_rows(dataset)?;
        Ok(SampleReader::new(Arc::new(dataset.clone()), live, dataset.files.iter().map(file).collect()))
    }

    /// What an encoding says of the samples. Reads nothing yet.
    pub fn encoding(&self, encoding: &EncodingEntry) -> Result<EncodingReader, ReadError> {
        let file = |entry: &FileEntry| {
            let name = encoding_file(encoding.number, entry.uuid);
            TableFile::new(self.env.shared_vfs(), self.env.at(&name), name, entry)
        };
        Ok(EncodingReader::new(encoding.clone(), encoding.files.iter().map(file).collect()))
    }

    /// The indexes of a feature's segments, by segment and kind. Lists the folder of indexes
    /// and opens none of them.
    pub fn indexes(&self, part: &FeaturePart) -> Result<Vec<IndexNote>, ReadError> {
        Ok(index::notes(&self.env, &part.segments)?)
    }

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
        self.open_feature_with(part, self.checks)
    }

    /// The same with another choice of checks.
    pub fn open_feature_with(&self, part: &FeaturePart, checks: Checks) -> Result<FeatureReader, ReadError> {
        let transient = bytes(&part.segments) > memory_share();
        let segments =
            open_all(&part.segments, |entry| self.open_segment(part, entry, transient).map(Arc::new))?;
        self.reader(part, segments, checks)
    }

    /// The same as [`Snapshot::open_feature`], with what others who opened it so found of its blocks: those
    /// that were verified are not again, also where the file was changed since.
    pub fn open_feature_shared(&self, part: &FeaturePart) -> Result<FeatureReader, ReadError> {
        let opened = || self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let own: HashSet<Uuid> = part.segments.iter().map(|entry| entry.uuid).collect();
        let others = |(entry, _): &&(SegmentEntry, Arc<SegmentFile>)| !own.contains(&entry.uuid);
        let beside: f64 = opened().values().filter(others).map(|(entry, _)| entry.len as f64).sum();
        let transient = beside + bytes(&part.segments) > memory_share();
        let segments = open_all(&part.segments, |entry| {
            let known =
                opened().get(&entry.uuid).filter(|(known, _)| known == entry).map(|(_, f)| Arc::clone(f));
            if let Some(file) = known {
                return Ok(file);
            }
            let file = Arc::new(self.open_segment(part, entry, transient)?);
            opened().insert(entry.uuid, (entry.clone(), Arc::clone(&file)));
            Ok(file)
        })?;
        self.reader(part, segments, self.checks)
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
        checks: Checks,
    ) -> Result<FeatureReader, ReadError> {
        let live = self.live_rows(self.dataset_of(part)?)?;
        Ok(FeatureReader::new(Arc::clone(&self.env), Arc::new(part.clone()), segments, live, checks))
    }
}

/// Takes out the views that name something hidden, and those that name them in turn. A word that only looks
/// like such a name counts too: the store does not read statements.
fn hide_views(views: &mut Vec<View>, mut hidden: HashSet<String>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    loop {
        let names_one = |view: &View| {
            view.sql.split(|c: char| !is_word(c)).any(|word| hidden.contains(&word.to_ascii_lowercase()))
        };
        let gone: Vec<String> = views.iter().filter(|v| names_one(v)).map(|v| v.name.clone()).collect();
        if gone.is_empty() {
            return;
        }
        views.retain(|view| !gone.contains(&view.name));
        hidden.extend(gone);
    }
}

/// Bytes of vectors that may stay in memory; without end where the system does not say how much there is.
fn memory_share() -> f64 {
    gstore_core::total_memory().map_or(f64::INFINITY, |bytes| MEMORY_SHARE * bytes as f64)
}

fn bytes(segments: &[SegmentEntry]) -> f64 {
    segments.iter().map(|entry| entry.len as f64).sum()
}

/// The hint is a name that works, with its dataset: features of several often have one label.
fn unknown_feature(name: &str, features: &[Arc<FeaturePart>]) -> LookupError {
    let full: Vec<String> = features.iter().map(|f| f.display_name()).collect();
    let error = unknown("feature", name, full.iter().map(String::as_str).collect());
    if name.contains('/') {
        return error;
    }
    let by_label = nearest(name, features.iter().map(|f| f.attrs.label.as_str()));
    let found = features.iter().zip(&full).find(|(f, _)| Some(f.attrs.label.as_str()) == by_label);
    match (error, found) {
        (LookupError::Unknown { what, name, known, .. }, Some((_, full))) => {
            LookupError::Unknown { what, name, nearest: Some(full.clone()), known }
        }
        (error, _) => error,
    }
}

pub(crate) fn unknown(what: &'static str, name: &str, mut known: Vec<&str>) -> LookupError {
    const FEW: usize = 12;
    known.dedup();
    let more = known.len().checked_sub(FEW).filter(|more| *more > 0).map(|more| format!("and {more} more"));
    LookupError::Unknown {
        what,
        name: name.to_owned(),
        nearest: nearest(name, known.iter().copied()).map(str::to_owned),
        known: known.iter().take(FEW).map(|name| (*name).to_owned()).chain(more).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_many_names_are_listed() {
        let names: Vec<String> = (10..24).map(|n| format!("dataset-{n}")).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        let said = unknown("dataset", "nope", all.clone()).to_string();
        assert!(
            said.contains("available: dataset-10, ") && said.ends_with("dataset-21, and 2 more"),
            "{said}"
        );
        let few = unknown("dataset", "nope", all.into_iter().take(12).collect()).to_string();
        assert!(few.ends_with("dataset-20, dataset-21"), "{few}");
    }
}
