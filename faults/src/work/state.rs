//! The model: expected content of a store at a point of the workload, and reading the same from a store.

use super::content::{artifact_text, count_digest, sample_digest, vector_digest};
use super::index;
use super::past::Past;
use crate::Failure;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use gstore_store::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The content of a store, by names, rows and digests.
///
/// A feature without live rows is not shown: a job that continues after its rows were deleted publishes one,
/// a job that starts later does not. Both are right, so states that differ only in such features are equal.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Datasets by name.
    pub datasets: BTreeMap<String, Samples>,
    /// Features by label.
    pub features: BTreeMap<String, Rows>,
    /// Checkpoints of runs: names and steps.
    pub runs: BTreeMap<String, Vec<(String, Option<u64>)>>,
    /// Ids of the members of ensembles, by name.
    pub ensembles: BTreeMap<String, Vec<String>>,
    /// Contents of artifacts and their files, by name.
    pub artifacts: BTreeMap<String, String>,
    /// Statements of views, by name.
    pub views: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeSet<String>,
    /// Deleted ids, by dataset. No reader shows them, so they are not compared: the next append shows whether
    /// the store knows them.
    pub deleted: BTreeMap<String, BTreeSet<String>>,
    /// Other state that is not compared.
    pub past: Past,
}

/// A dataset.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Samples {
    /// The row of the next sample.
    pub next_row: u64,
    /// Id and digest of the content of every live row.
    pub rows: BTreeMap<u64, (String, u64)>,
    /// Digest of the token counts of every live row that has any.
    pub counts: BTreeMap<u64, u64>,
}

/// A feature.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rows {
    /// Its dataset.
    pub dataset: String,
    /// Whether it is complete.
    pub complete: bool,
    /// Digests of the vectors of every live row.
    pub rows: BTreeMap<u64, Vec<u64>>,
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        self.same_content(other) && self.tags == other.tags
    }
}

impl State {
    /// The features that are shown.
    fn shown(&self) -> impl Iterator<Item = (&String, &Rows)> {
        self.features.iter().filter(|(_, feature)| !feature.rows.is_empty())
    }

    /// Whether there are vectors of live rows.
    pub fn has_vectors(&self) -> bool {
        self.shown().next().is_some()
    }

    /// Whether everything except the tags is equal: tags belong to the store and not to a snapshot.
    pub fn same_content(&self, other: &State) -> bool {
        self.datasets == other.datasets
            && self.shown().eq(other.shown())
            && self.runs == other.runs
            && self.ensembles == other.ensembles
            && self.artifacts == other.artifacts
            && self.views == other.views
    }

    /// The first difference, in words; `self` is what is expected.
    pub fn difference(&self, found: &State) -> Option<String> {
        if self == found {
            return None;
        }
        let names = |s: &State| {
            let datasets = s.datasets.iter().map(|(name, d)| format!("{name} ({} rows)", d.rows.len()));
            let features = s.features.iter().map(|(name, f)| format!("{name} ({} rows)", f.rows.len()));
            let all = datasets.chain(features).chain(s.runs.keys().cloned());
            all.collect::<Vec<_>>().join(", ")
        };
        let same = self.datasets.keys().eq(found.datasets.keys())
            && self.shown().map(|(name, _)| name).eq(found.shown().map(|(name, _)| name))
            && self.runs.keys().eq(found.runs.keys());
        if !same {
            return Some(format!("expected {}; found {}", names(self), names(found)));
        }
        for (name, a) in &self.datasets {
            let Some(b) = found.datasets.get(name) else { continue };
            if a.next_row != b.next_row {
                return Some(format!("{name}: expected next row {}, found {}", a.next_row, b.next_row));
            }
            if let Some(d) = maps(&a.rows, &b.rows).or_else(|| maps(&a.counts, &b.counts)) {
                return Some(format!("dataset {name}: {d}"));
            }
        }
        for (name, a) in self.shown() {
            let Some(b) = found.features.get(name) else { continue };
            if a.complete != b.complete {
                return Some(format!("feature {name}: expected complete {}", a.complete));
            }
            if let Some(d) = maps(&a.rows, &b.rows) {
                return Some(format!("feature {name}: {d}"));
            }
        }
        if self.tags != found.tags {
            return Some(format!("tags: expected {:?}, found {:?}", self.tags, found.tags));
        }
        let named = |s: &State| {
            let State { runs, ensembles, artifacts, views, .. } = s;
            format!("runs {runs:?}, ensembles {ensembles:?}, artifacts {artifacts:?}, views {views:?}")
        };
        Some(format!("expected {}; found {}", named(self), named(found)))
    }

    /// Content of the current snapshot, or of an older one, through the public readers.
    pub fn read(snapshot: &Snapshot) -> Result<State, Failure> {
        let tags = snapshot.tags().into_iter().map(|t| t.name).collect();
        let mut out = State { tags, ..State::default() };
        for part in snapshot.datasets() {
            out.datasets.insert(part.name.clone(), read_dataset(snapshot, part)?);
        }
        for part in snapshot.features() {
            let rows = read_feature(snapshot, part)?;
            out.features.insert(part.attrs.label.clone(), rows);
        }
        for run in snapshot.runs() {
            let checkpoints = run.checkpoints.iter().map(|c| (c.name.clone(), c.step)).collect();
            out.runs.insert(run.name.clone(), checkpoints);
        }
        for ensemble in snapshot.ensembles() {
            let members = ensemble.members.iter().map(|member| member.id.clone()).collect();
            out.ensembles.insert(ensemble.name.clone(), members);
        }
        for name in snapshot.artifacts()? {
            let part = snapshot.artifact(&name)?;
            let mut files = Vec::new();
            for file in &part.files {
                let bytes = snapshot.artifact_file(&part, &file.name)?.as_bytes().to_vec();
                files.push((file.name.clone(), bytes));
            }
            out.artifacts.insert(name, artifact_text(&part.content, &files));
        }
        for view in snapshot.views() {
            out.views.insert(view.name.clone(), view.sql.clone());
        }
        Ok(out)
    }
}

fn maps<V: PartialEq + std::fmt::Debug>(a: &BTreeMap<u64, V>, b: &BTreeMap<u64, V>) -> Option<String> {
    let rows = || a.keys().chain(b.keys());
    let row = rows().find(|r| a.get(r) != b.get(r))?;
    Some(format!(
        "row {row}: expected {:?}, found {:?} ({} and {} rows in all)",
        a.get(row),
        b.get(row),
        a.len(),
        b.len()
    ))
}

fn read_dataset(snapshot: &Snapshot, part: &DatasetPart) -> Result<Samples, Failure> {
    let mut out = Samples { next_row: part.next_row, ..Samples::default() };
    let reader = snapshot.samples(part)?;
    for batch in reader.scan(&COLUMNS, None) {
        read_batch(&batch?, &mut out.rows)?;
    }
    if out.rows.len() as u64 != part.rows {
        let name = &part.name;
        return Err(
            format!("{name}: the catalog says {} rows, {} were read", part.rows, out.rows.len()).into()
        );
    }
    let live = snapshot.live_rows(part)?;
    if !live.iter().eq(out.rows.keys().copied()) {
        return Err(format!("{}: {live} are live, others were read", part.name).into());
    }
    // A few rows once more by number, in another order.
    let few: Vec<u64> = out.rows.keys().rev().step_by(5).copied().collect();
    if !few.is_empty() {
        let mut again = BTreeMap::new();
        read_batch(&reader.get(&few, &COLUMNS)?, &mut again)?;
        if again.iter().any(|(row, sample)| out.rows.get(row) != Some(sample)) || again.len() != few.len() {
            return Err(format!("{}: rows by number differ from the scan", part.name).into());
        }
    }
    for encoding in &part.encodings {
        for count in snapshot.encoding(encoding)?.counts(0..u64::MAX)? {
            if out.rows.contains_key(&count.row) {
                out.counts.insert(count.row, count_digest(&count));
            }
        }
    }
    Ok(out)
}

/// The columns that form a sample.
pub(super) const COLUMNS: [&str; 5] = ["row", "id", "record", "subtask", "n"];

/// Id and digest of the content of every row of a batch of these columns.
pub(super) fn read_batch(
    batch: &RecordBatch,
    rows: &mut BTreeMap<u64, (String, u64)>,
) -> Result<(), Failure> {
    let [row, id, record, subtask, n] = batch.columns() else { return Err("columns are missing".into()) };
    let (row, id) = (row.as_primitive::<UInt64Type>(), id.as_string::<i32>());
    let (record, subtask, n) =
        (record.as_binary::<i32>(), subtask.as_string::<i32>(), n.as_primitive::<Int64Type>());
    for i in 0..batch.num_rows() {
        if record.is_null(i) || subtask.is_null(i) || n.is_null(i) {
            return Err(format!("row {} has a null", row.value(i)).into());
        }
        let content = sample_digest(record.value(i), &(subtask.value(i).to_owned(), n.value(i)));
        if rows.insert(row.value(i), (id.value(i).to_owned(), content)).is_some() {
            return Err(format!("row {} was read twice", row.value(i)).into());
        }
    }
    Ok(())
}

/// A buffer with what is wanted, as far as it can be read ahead.
pub(super) fn read_ahead(wants: SpanRequests<'_>) -> BlockBuffer {
    let (mut ahead, mut scratch) = (ReadAhead::default(), BlockBuffer::new());
    ahead.read(wants);
    scratch.see(Some(&Arc::new(ahead)));
    scratch
}

fn read_feature(snapshot: &Snapshot, part: &FeaturePart) -> Result<Rows, Failure> {
    let reader = snapshot.open_feature(part)?;
    let live = reader.row_set()?;
    let dataset = part.desc.dataset.clone();
    let mut out = Rows { dataset, complete: part.state == FeatureState::Complete, ..Rows::default() };
    let range = |group: &ModuleGroup| group.start as usize..(group.start + group.len) as usize;
    let groups: Vec<_> = part.attrs.groups.iter().map(range).collect();
    let mut wants = SpanRequests::new();
    reader.blocks().iter().for_each(|block| reader.want(*block, &mut wants));
    let mut scratch = read_ahead(wants);
    for b in reader.blocks() {
        let block = reader.read_block(*b, &mut scratch)?;
        for (i, row) in block.rows.iter().enumerate().filter(|(_, row)| live.contains(**row)) {
            let mut values = vec![0.0; part.desc.dim() as usize];
            block.vector(i, &groups, &mut values);
            let flags = block.flags.get(i).copied().unwrap_or_default();
            let first = i == 0 || block.rows.get(i - 1) != Some(row);
            let digests = out.rows.entry(*row).or_default();
            if first && !digests.is_empty() {
                return Err(format!("{}: row {row} is in two blocks", part.display_name()).into());
            }
            digests.push(vector_digest(block.pos.get(i).copied(), &values, flags));
        }
    }
    if out.rows.len() as u64 != live.len() {
        return Err(format!("{}: {} rows read of {live}", part.display_name(), out.rows.len()).into());
    }
    index::check(&reader)?;
    for row in out.rows.keys().step_by(7) {
        let one = reader.row_vectors(*row)?;
        let one: Vec<u64> = one.iter().map(|r| vector_digest(r.pos, &r.vector, r.flags.bits())).collect();
        if Some(&one) != out.rows.get(row) {
            return Err(format!("{}: row {row} by itself differs", part.display_name()).into());
        }
    }
    Ok(out)
}
