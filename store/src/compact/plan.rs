//! Compaction plan, the files to merge: adjacent small ones, and those with too many rows that are not live.

use super::group::{Candidate, Limits, Merge, grouped};
use super::options::{CompactOptions, CompactedPart};
use crate::encodings::GAP_ROWS;
use crate::error::{ChangeError, ReadError};
use crate::layout::{Env, encoding_file, sample_file, segment_file};
use crate::manifest::{DatasetPart, EncodingEntry, FeaturePart, FileEntry, SegmentEntry};
use crate::rewrite::{has_counts, rows_of};
use crate::samples::FILE_BYTES;
use crate::segment::SegmentFile;
use crate::store::{Snapshot, Store};
use crate::table::TableFile;
use crate::tombstones::ids::salt_of;
use gstore_core::RowSet;
use std::ops::Range;
use std::sync::Arc;
use uuid::Uuid;

/// What is published together: the files of a dataset, or of a feature.
pub(super) struct Unit {
    /// `dataset pool`, `feature pool/grad-adam@checkpoint-112`
    pub name: String,
    pub files: Files,
    /// Live rows of the dataset.
    pub live: Arc<RowSet>,
    /// Deleted rows whose ids are remembered once the rows are in no file any more; of a feature none.
    pub deleted: RowSet,
    pub groups: Vec<Group>,
}

impl Unit {
    /// What the ids of its deleted rows are hashed with.
    pub(super) fn salt(&self) -> Uuid {
        match &self.files {
            Files::Dataset(part) => salt_of(part),
            Files::Feature(_) => Uuid::nil(),
        }
    }
}

pub(super) enum Files {
    Dataset(Arc<DatasetPart>),
    Feature(Arc<FeaturePart>),
}

/// Files that become one.
pub(super) enum Group {
    Samples(Arc<DatasetPart>, Merge<FileEntry>),
    Counts(Arc<DatasetPart>, Box<EncodingEntry>, Merge<FileEntry>),
    Segments(Arc<FeaturePart>, Merge<SegmentEntry>),
}

impl Group {
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Group::Samples(_, merge) | Group::Counts(_, _, merge) => merge.bytes(),
            Group::Segments(_, merge) => merge.bytes(),
        }
    }

    /// The files, relative to the store.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Group::Samples(part, merge) => merge.files().map(|f| sample_file(part.number, f.uuid)).collect(),
            Group::Counts(_, e, merge) => merge.files().map(|f| encoding_file(e.number, f.uuid)).collect(),
            Group::Segments(part, merge) => {
                merge.files().map(|s| segment_file(part.number, s.uuid)).collect()
            }
        }
    }

    /// What becomes of the files, about. Reads the footer of one.
    pub(super) fn expected(&self, env: &Env) -> CompactedPart {
        match self {
            Group::Samples(part, merge) => {
                merge.expected(|f| fixed_bytes(env, sample_file(part.number, f.uuid), f))
            }
            Group::Counts(_, e, merge) => {
                let part = merge.expected(|f| fixed_bytes(env, encoding_file(e.number, f.uuid), f));
                // Rows of token counts are rows of samples, and counted there.
                CompactedPart { rows_dropped: 0, ..part }
            }
            Group::Segments(part, merge) => {
                merge.expected(|s| SegmentFile::open_of(env, part, s).map_or(0, |file| file.fixed_bytes()))
            }
        }
    }
}

/// The units that have something to do; `None` if it is told to stop, which it asks before each file. Reads
/// segments with gaps, of datasets with deleted rows.
pub(super) fn plan(
    store: &Store,
    base: &Snapshot,
    options: &CompactOptions,
) -> Result<Option<Vec<Unit>>, ChangeError> {
    let all = options.datasets.is_empty() && options.features.is_empty();
    for name in &options.datasets {
        base.dataset(name)?;
    }
    let mut features = Vec::new();
    for name in &options.features {
        features.push(base.feature(name)?.number);
    }
    let mut units = Vec::new();
    for part in base.datasets().iter().filter(|d| all || options.datasets.contains(&d.name)) {
        units.push(dataset(store.env(), base, part, options)?);
        if options.is_stopped() {
            return Ok(None);
        }
    }
    for part in base.features() {
        if all || options.datasets.contains(&part.desc.dataset) || features.contains(&part.number) {
            units.push(feature(store.env(), base, part, options)?);
        }
        if options.is_stopped() {
            return Ok(None);
        }
    }
    units.retain(|u| !u.groups.is_empty());
    Ok(Some(units))
}

fn dataset(
    env: &Env,
    base: &Snapshot,
    part: &Arc<DatasetPart>,
    options: &CompactOptions,
) -> Result<Unit, ReadError> {
    let rows = base.rows_of(part)?;
    let mut groups = Vec::new();
    let limits = Limits::new(options, FILE_BYTES);
    let mut end = None;
    let samples = part.files.iter().map(|f| {
        // Rows that are shells already cost nothing.
        let dead = rows.deleted.within(f.range()).map(|r| r.end - r.start).sum::<u64>();
        let gap = end.map_or(0, |end| f.first_row.saturating_sub(end));
        end = Some(f.end_row);
        Candidate::new(f.clone(), (f.len, 0), f.rows, dead, gap <= GAP_ROWS)
    });
    let of = |merge| Group::Samples(Arc::clone(part), merge);
    groups.extend(grouped(samples, &limits).into_iter().map(of));
    for encoding in &part.encodings {
        let counts = counts(env, encoding, &rows.live, options);
        let of = |merge| Group::Counts(Arc::clone(part), Box::new(encoding.clone()), merge);
        groups.extend(grouped(counts, &limits).into_iter().map(of));
    }
    let deleted = rows.without_successor();
    Ok(Unit {
        name: format!("dataset {}", part.name),
        files: Files::Dataset(Arc::clone(part)),
        live: rows.live,
        deleted,
        groups,
    })
}

/// Bytes of a Parquet file that belong to no row. One that cannot be read is found out when it is merged.
fn fixed_bytes(env: &Env, name: String, entry: &FileEntry) -> u64 {
    TableFile::new(env.file(name), entry).fixed_bytes().unwrap_or(0)
}

fn counts(
    env: &Env,
    encoding: &EncodingEntry,
    live: &RowSet,
    options: &CompactOptions,
) -> Vec<Candidate<FileEntry>> {
    let mut files = encoding.files.clone();
    files.sort_by_key(|f| (f.first_row, f.end_row));
    let mut end: Option<u64> = None;
    let mut out = Vec::new();
    for f in files.into_iter().take_while(|_| !options.is_stopped()) {
        let dead = RowSet::from_range(f.range()).difference(live);
        let ends = dead.contains(f.first_row) || dead.contains(f.end_row - 1);
        // Rows inside that have no counts already cost nothing. A file that cannot be read is
        // found out when it is merged.
        let costs = !dead.is_empty() && (ends || has_counts(env, encoding, &f, &dead).unwrap_or(true));
        let joins = end.is_none_or(|end| {
            let gap: Range<u64> = end..f.first_row.max(end);
            gap.is_empty() || (gap.end - gap.start <= GAP_ROWS && live.within(gap).next().is_none())
        });
        end = Some(end.map_or(f.end_row, |e| e.max(f.end_row)));
        let dead = if costs { dead.len() } else { 0 };
        out.push(Candidate::new(f.clone(), (f.len, 0), f.rows, dead, joins));
    }
    out
}

fn feature(
    env: &Env,
    base: &Snapshot,
    part: &Arc<FeaturePart>,
    options: &CompactOptions,
) -> Result<Unit, ChangeError> {
    let dataset = base.dataset(&part.desc.dataset)?;
    let live = base.live_rows(dataset)?;
    let segments = part.segments.iter().take_while(|_| !options.is_stopped()).map(|s| {
        let dead = if live.covers(s.range()) {
            0
        } else {
            // One that cannot be read is found out when it is merged.
            let own = env.file(segment_file(part.number, s.uuid));
            rows_of(own, part, s).map_or(0, |rows| rows.difference(&live).len())
        };
        Candidate::new(s.clone(), (s.len, s.tail_len), s.rows, dead, true)
    });
    let merges = grouped(segments, &Limits::new(options, u64::MAX));
    Ok(Unit {
        name: format!("feature {}", part.display_name()),
        files: Files::Feature(Arc::clone(part)),
        live,
        deleted: RowSet::new(),
        groups: merges.into_iter().map(|merge| Group::Segments(Arc::clone(part), merge)).collect(),
    })
}
