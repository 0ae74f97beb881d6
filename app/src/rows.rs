//! Rows of a dataset, named by their ids or by a condition.

use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;

use gstore_core::{Cancel, MIX_STEP, many, mix};
use gstore_query::QueryError;
use gstore_sql::{SqlError, SqlOptions, SqlRunner};
use gstore_store::{DatasetName, DatasetPart, NameError, ReadError, RowSet, Snapshot};

/// Which rows are meant: those with an id of the set, and those for which the condition is true.
#[derive(Debug, Clone, Default)]
pub struct RowNames {
    /// Ids.
    pub ids: HashSet<String>,
    /// An SQL condition over the dataset's columns.
    pub condition: Option<String>,
}

/// The live rows that were named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRows {
    /// The rows.
    pub rows: RowSet,
    /// Ids that no live row has.
    pub missing: Vec<String>,
}

/// Why rows could not be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum FindError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the condition is true for none of {}", many(*rows, "row"))]
    NoRow { rows: u64 },
    #[error("{0}")]
    Condition(#[from] SqlError),
}

/// The live rows of a dataset that ids and a condition name.
///
/// # Errors
/// An invalid condition, damage, and cancellation.
pub fn find_rows(
    snapshot: &Arc<Snapshot>,
    dataset: &DatasetPart,
    names: &RowNames,
    threads: usize,
    cancel: &Cancel,
) -> Result<NamedRows, FindError> {
    let mut missing: HashSet<&str> = names.ids.iter().map(String::as_str).collect();
    let mut rows = RowSet::new();
    if !missing.is_empty() {
        let mut hits = Vec::new();
        let visited = snapshot.samples(dataset)?.each_id(cancel, |row, id| {
            hits.extend(missing.remove(id).then_some(row));
        })?;
        visited.map_err(QueryError::from).map_err(SqlError::from)?;
        rows = RowSet::from_rows(hits);
    }
    if let Some(condition) = &names.condition {
        rows = rows.union(&matching(snapshot, &dataset.name, condition, threads, cancel)?);
    }
    let mut missing: Vec<String> = missing.into_iter().map(str::to_owned).collect();
    missing.sort_unstable();
    Ok(NamedRows { rows, missing })
}

/// Live rows for which a condition is true.
pub(crate) fn matching(
    snapshot: &Arc<Snapshot>,
    dataset: &str,
    condition: &str,
    threads: usize,
    cancel: &Cancel,
) -> Result<RowSet, FindError> {
    let name = DatasetName::try_from(dataset)?;
    let runner = SqlRunner::new(Arc::clone(snapshot), SqlOptions { threads, ..SqlOptions::default() })?;
    Ok(runner.matching(&name, condition, cancel)?)
}

/// What rows are drawn by: those with the smallest keys.
pub(crate) fn draw_key(seed: u64, row: u64) -> u64 {
    mix(mix(seed.wrapping_add(MIX_STEP)) ^ row.wrapping_add(1).wrapping_mul(MIX_STEP))
}

/// So many rows at random: which they are follows from the seed and their numbers alone. Memory: 16 bytes for
/// each.
pub(crate) fn random_rows(rows: &RowSet, count: u64, seed: u64) -> RowSet {
    let mut least = SmallestKeys::new(count);
    for row in rows.iter() {
        least.push(draw_key(seed, row), row);
    }
    least.rows()
}

/// The rows with the smallest keys, of equal ones the first. Memory: 16 bytes for each that is kept.
pub(crate) struct SmallestKeys {
    count: u64,
    kept: BinaryHeap<(u64, u64)>,
}

impl SmallestKeys {
    /// So many of the rows to come.
    pub(crate) fn new(count: u64) -> Self {
        Self { count, kept: BinaryHeap::new() }
    }

    pub(crate) fn push(&mut self, key: u64, row: u64) {
        self.kept.push((key, row));
        if self.kept.len() as u64 > self.count {
            self.kept.pop();
        }
    }

    pub(crate) fn rows(self) -> RowSet {
        RowSet::from_rows(self.kept.into_iter().map(|(_, row)| row))
    }
}

#[cfg(test)]
mod tests {
    use gstore_core::Cancel;
    use gstore_sql::SqlErrorKind;
    use gstore_store::{AppendOptions, DatasetName, NewSample, Store};

    use super::{FindError, RowNames, RowSet, find_rows, random_rows};

    #[test]
    fn rows_are_found_by_their_ids_until_told_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(folder.path().join("store")).unwrap();
        let name = DatasetName::try_from("pool").unwrap();
        let mut append = store.append(&name, Vec::new(), AppendOptions::default()).unwrap();
        for id in ["a", "b", "c"] {
            append.push(NewSample { id, record: None, metadata: Vec::new() }).unwrap();
        }
        append.finish().unwrap();
        let snapshot = store.snapshot().unwrap();
        let names = RowNames { ids: ["c", "x"].map(str::to_owned).into(), condition: None };
        let dataset = snapshot.dataset("pool").unwrap();
        let find = |cancel: &Cancel| find_rows(&snapshot, dataset, &names, 1, cancel);
        let found = find(&Cancel::new()).unwrap();
        assert_eq!((found.rows, found.missing), (RowSet::from_range(2..3), vec!["x".to_owned()]));
        let stopped = find(&Cancel::raised()).unwrap_err();
        assert!(matches!(stopped, FindError::Condition(e) if e.kind() == SqlErrorKind::Cancelled));
    }

    #[test]
    fn as_many_rows_are_drawn_as_asked_for() {
        let rows = RowSet::from_ranges([0..5000, 6000..11_000]);
        let found = random_rows(&rows, 1000, 7);
        assert_eq!((found.len(), found.difference(&rows).len()), (1000, 0));
        assert!((400..600).contains(&found.intersection(&RowSet::from_range(0..5000)).len()));
        assert_eq!(found, random_rows(&rows, 1000, 7));
        assert_ne!(found, random_rows(&rows, 1000, 8));
        assert_eq!(random_rows(&rows, 20_000, 7), rows);
    }
}
