//! Pool rows that occur in the target.
//!
//! A row occurs in the target if its content is that of a target sample: the same `text`, or the same
//! conversation, role by role and word by word. A prompt with its completion is the conversation of a user
//! and an assistant who say these. Ids, metadata and other keys do not count. A row without a stored record
//! occurs only in a target that has that very row. A record whose content cannot be read is an error: it may
//! be one of the target's. Content is compared by XXH3-128.

use std::collections::{BTreeMap, HashSet};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use gstore_core::content::{Content, ContentError};
use gstore_core::{Cancel, Digest};
use gstore_store::{DatasetPart, RowSet, Snapshot};

use super::Prepared;
use super::target_rows::target_rows;
use crate::error::QueryError;
use crate::influence::spec::GIVEN;

/// Rows whose records are fetched at once.
const CHUNK: usize = 1024;

/// Digest of what a record says, whatever else is in it; an error of one without a text.
fn record_digest(record: &[u8]) -> Result<Digest, ContentError> {
    Ok(Content::read(record)?.digest())
}

/// The same of a row of a dataset; `None` if it was stored without its record.
fn digest_of_row(dataset: &str, row: u64, record: Option<&[u8]>) -> Result<Option<Digest>, QueryError> {
    let refused = |source| QueryError::Content { place: format!("row {row} of dataset `{dataset}`"), source };
    record.map(record_digest).transpose().map_err(refused)
}

/// The target's samples, as far as they can be recognised. Memory: about 40 bytes for each.
pub(super) struct TargetContents {
    digests: HashSet<Digest>,
    /// The target rows of each dataset.
    rows: BTreeMap<String, RowSet>,
}

/// Whether a row occurs in any of some targets; its record is read once.
fn occurs(
    targets: &[&TargetContents],
    dataset: &str,
    (row, record): (u64, Option<&[u8]>),
) -> Result<bool, QueryError> {
    let has_row = |target: &&TargetContents| target.rows.get(dataset).is_some_and(|rows| rows.contains(row));
    if targets.iter().any(has_row) {
        return Ok(true);
    }
    let digest = digest_of_row(dataset, row, record)?;
    Ok(digest.is_some_and(|digest| targets.iter().any(|target| target.digests.contains(&digest))))
}

/// The rows of a dataset that occur in the target of any of some questions about one snapshot, be it one of
/// their pools or not. Reads all its records, once.
///
/// # Errors
/// As [`Prepared::in_target`].
pub fn rows_in_targets(
    questions: &[&Prepared],
    dataset: &DatasetPart,
    cancel: &Cancel,
) -> Result<RowSet, QueryError> {
    let Some(first) = questions.first() else { return Ok(RowSet::new()) };
    let targets = questions.iter().map(|prepared| contents(prepared, cancel));
    let targets = targets.collect::<Result<Vec<&TargetContents>, QueryError>>()?;
    let mut found = Vec::new();
    each_record(first.snapshot(), dataset, cancel, |row, record| {
        if occurs(&targets, &dataset.name, (row, record))? {
            found.push(row);
        }
        Ok(())
    })?;
    Ok(RowSet::from_rows(found))
}

impl Prepared {
    /// Whether rows of a pool occur in the target, in their order: their content is that of a target sample,
    /// whatever their ids and metadata. Reads the target's records at the first call, and those of the rows.
    ///
    /// # Errors
    /// Records that cannot be read, or that have no content.
    pub fn in_target(&self, pool: usize, rows: &[u64], cancel: &Cancel) -> Result<Vec<bool>, QueryError> {
        let target = contents(self, cancel)?;
        let Some(side) = self.pools().get(pool) else { return Ok(Vec::new()) };
        let samples = self.snapshot().samples(&side.dataset)?;
        let mut found = Vec::with_capacity(rows.len());
        for chunk in rows.chunks(CHUNK) {
            cancel.check()?;
            let batch = samples.get(chunk, &["record"])?;
            for (row, record) in chunk.iter().zip(records(&batch)?) {
                found.push(occurs(&[target], &side.dataset.name, (*row, record))?);
            }
        }
        Ok(found)
    }
}

/// The content of the target, read at the first call.
fn contents<'a>(prepared: &'a Prepared, cancel: &Cancel) -> Result<&'a TargetContents, QueryError> {
    prepared.inputs.contents.get_or_try_init(|| {
        let snapshot = prepared.snapshot();
        let mut digests = HashSet::new();
        for (i, record) in prepared.spec().given.iter().enumerate() {
            let refused = |source| QueryError::Content { place: format!("{GIVEN} sample {}", i + 1), source };
            digests.insert(record_digest(record.as_bytes()).map_err(refused)?);
        }
        let mut rows: BTreeMap<String, RowSet> = BTreeMap::new();
        let members = target_rows(prepared)?;
        for (t, target) in prepared.targets().iter().enumerate() {
            let own = members.rows.iter().filter(|row| row.target as usize == t).map(|row| row.row);
            let own = RowSet::from_rows(own.collect::<Vec<_>>());
            digests.extend(digests_of(snapshot, &target.dataset, &own, cancel)?);
            let known = rows.entry(target.dataset.name.clone()).or_default();
            *known = known.union(&own);
        }
        Ok(TargetContents { digests, rows })
    })
}

fn digests_of(
    snapshot: &Snapshot,
    dataset: &DatasetPart,
    rows: &RowSet,
    cancel: &Cancel,
) -> Result<HashSet<Digest>, QueryError> {
    let mut digests = HashSet::new();
    each_record(snapshot, dataset, cancel, |row, record| {
        if rows.contains(row) {
            digests.extend(digest_of_row(&dataset.name, row, record)?);
        }
        Ok(())
    })?;
    Ok(digests)
}

fn each_record(
    snapshot: &Snapshot,
    dataset: &DatasetPart,
    cancel: &Cancel,
    mut take: impl FnMut(u64, Option<&[u8]>) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    for batch in snapshot.samples(dataset)?.scan(&["row", "record"], None) {
        cancel.check()?;
        let batch = batch?;
        let rows = batch.column_by_name("row").and_then(|c| c.as_primitive_opt::<UInt64Type>());
        let rows = rows.ok_or_else(|| unexpected("row"))?.values();
        rows.iter().zip(records(&batch)?).try_for_each(|(row, record)| take(*row, record))?;
    }
    Ok(())
}

fn records(batch: &RecordBatch) -> Result<&arrow_array::BinaryArray, QueryError> {
    batch.column_by_name("record").and_then(|c| c.as_binary_opt::<i32>()).ok_or_else(|| unexpected("record"))
}

fn unexpected(column: &str) -> QueryError {
    QueryError::Arrow(arrow_schema::ArrowError::SchemaError(format!("samples have no column `{column}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        record_digest(a.as_bytes()).unwrap() == record_digest(b.as_bytes()).unwrap()
    }

    #[test]
    fn only_the_text_counts() {
        let pair = r#"{"id":"a","prompt":"1+1?","completion":"2","n":3}"#;
        assert!(same(pair, r#"{"completion":"2","id":"b","prompt":"1+1?"}"#));
        let talk =
            r#"{"messages":[{"role":"user","content":"1+1?"},{"role":"assistant","content":"2","x":1}]}"#;
        assert!(same(pair, talk));
        let with_prompt = r#"{"prompt":[{"role":"user"}],"messages":[{"role":"user","content":"1+1?"},{"role":"assistant","content":"2"}]}"#;
        assert!(same(pair, with_prompt));
        assert!(same(r#"{"text":"a","completion":3}"#, r#"{"text":"a"}"#));
        assert!(same(r#"{"text":"\u0061"}"#, r#"{"text":"a","id":"z"}"#));
        for other in [
            r#"{"prompt":"1+1?","completion":"3"}"#,
            r#"{"prompt":"1+1","completion":"?2"}"#,
            r#"{"text":"1+1?2"}"#,
            r#"{"messages":[{"role":"user","content":"1+1?"}]}"#,
            r#"{"messages":[{"role":"system","content":"1+1?"},{"role":"assistant","content":"2"}]}"#,
        ] {
            assert!(!same(pair, other), "{other}");
        }
    }

    #[test]
    fn what_is_no_record_is_an_error() {
        for bad in ["", "{", "[]", "{}", r#"{"prompt":"x"}"#, r#"{"messages":3}"#, r#"{"text":null}"#] {
            assert!(record_digest(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
