//! Pool rows that occur in the target.
//!
//! A row occurs in the target if its content is that of a target sample: the same `text`, or the same conversation, role by role and word by
//! word. A prompt with its completion is the conversation of a user and an assistant who say these. Ids, metadata and other keys do not
//! count. A row without a stored record occurs only in a target that has that very row. Content is compared by XXH3-128.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, RecordBatch};
use gstore_store::{RowSet, Snapshot, xxh3_hex};
use serde::Deserialize;

use super::Prepared;
use super::target_rows::target_rows;
use crate::error::QueryError;

/// Rows whose records are fetched at once.
const CHUNK: usize = 1024;

/// What of a record is text to train on.
#[derive(Deserialize)]
struct Record {
    text: Option<String>,
    prompt: Option<String>,
    completion: Option<String>,
    messages: Option<Vec<Message>>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: String,
}

/// Digest of a record's content; `None` for what is no record.
fn content(record: &[u8]) -> Option<String> {
    let record: Record = serde_json::from_slice(record).ok()?;
    // Lengths keep the parts apart, whatever is in them.
    let mut all = Vec::new();
    let mut part = |text: &str| {
        all.extend_from_slice(&(text.len() as u64).to_le_bytes());
        all.extend_from_slice(text.as_bytes());
    };
    match record {
        Record { text: Some(text), .. } => part(&text),
        Record { prompt: Some(prompt), completion: Some(completion), .. } => {
            for (role, text) in [("user", prompt), ("assistant", completion)] {
                part(role);
                part(&text);
            }
        }
        Record { messages: Some(messages), .. } => messages.iter().for_each(|message| {
            part(&message.role);
            part(&message.content);
        }),
        _ => return None,
    }
    Some(xxh3_hex(&all))
}

/// The target's samples, as far as they can be recognised. Memory: about 100 bytes for each.
pub(super) struct TargetContents {
    digests: HashSet<String>,
    /// For each pool the rows that are themselves target rows.
    rows: Vec<RowSet>,
}

impl TargetContents {
    fn has(&self, pool: usize, row: u64, record: Option<&[u8]>) -> bool {
        self.rows.get(pool).is_some_and(|rows| rows.contains(row))
            || record.and_then(content).is_some_and(|digest| self.digests.contains(&digest))
    }
}

impl Prepared {
    /// Whether rows of a pool occur in the target, in their order: their content is that of a target sample, whatever their ids and metadata.
    /// Reads the target's records at the first call, and those of the rows.
    ///
    /// # Errors
    /// Records that cannot be read.
    pub fn in_target(&self, pool: usize, rows: &[u64], cancel: &AtomicBool) -> Result<Vec<bool>, QueryError> {
        let target = contents(self, cancel)?;
        let Some(side) = self.pools().get(pool) else { return Ok(Vec::new()) };
        let samples = self.snapshot().samples(&side.dataset)?;
        let mut found = Vec::with_capacity(rows.len());
        for chunk in rows.chunks(CHUNK) {
            check(cancel)?;
            let batch = samples.get(chunk, &["record"])?;
            let records = records(&batch)?;
            let has = |(i, row): (usize, &u64)| target.has(pool, *row, value(records, i));
            found.extend(chunk.iter().enumerate().map(has));
        }
        Ok(found)
    }
}

/// The rows of a pool that occur in the target. Reads all its records.
pub(super) fn rows_in_target(
    prepared: &Prepared,
    pool: usize,
    cancel: &AtomicBool,
) -> Result<RowSet, QueryError> {
    let target = contents(prepared, cancel)?;
    let Some(side) = prepared.pools().get(pool) else { return Ok(RowSet::new()) };
    let mut found = Vec::new();
    for batch in prepared.snapshot().samples(&side.dataset)?.scan(&["row", "record"], None) {
        check(cancel)?;
        let batch = batch?;
        let (numbers, records) = (row_numbers(&batch)?, records(&batch)?);
        let has = |(i, row): &(usize, &u64)| target.has(pool, **row, value(records, *i));
        found.extend(numbers.iter().enumerate().filter(has).map(|(_, row)| *row));
    }
    Ok(RowSet::from_rows(found))
}

/// The content of the target, read at the first call.
fn contents<'a>(prepared: &'a Prepared, cancel: &AtomicBool) -> Result<&'a TargetContents, QueryError> {
    prepared.inputs.contents.get_or_try_init(|| {
        let snapshot = prepared.snapshot();
        let mut digests: HashSet<String> =
            prepared.spec().given.iter().filter_map(|record| content(record.as_bytes())).collect();
        let mut rows = vec![RowSet::new(); prepared.pools().len()];
        let members = target_rows(snapshot, &prepared.inputs.asked, prepared.spec().by)?;
        for (t, target) in prepared.inputs.asked.iter().enumerate() {
            let own = members.rows.iter().filter(|row| row.target as usize == t).map(|row| row.row);
            let own = RowSet::from_rows(own.collect::<Vec<_>>());
            digests.extend(digests_of(snapshot, &target.dataset, &own, cancel)?);
            for (pool, rows) in prepared.pools().iter().zip(&mut rows) {
                if pool.dataset.name == target.dataset.name {
                    *rows = rows.union(&own);
                }
            }
        }
        Ok(TargetContents { digests, rows })
    })
}

/// Digests of what some rows of a dataset say.
fn digests_of(
    snapshot: &Snapshot,
    dataset: &gstore_store::DatasetPart,
    rows: &RowSet,
    cancel: &AtomicBool,
) -> Result<HashSet<String>, QueryError> {
    let mut digests = HashSet::new();
    for batch in snapshot.samples(dataset)?.scan(&["row", "record"], None) {
        check(cancel)?;
        let batch = batch?;
        let (numbers, records) = (row_numbers(&batch)?, records(&batch)?);
        let wanted = numbers.iter().enumerate().filter(|(_, row)| rows.contains(**row));
        digests.extend(wanted.filter_map(|(i, _)| value(records, i).and_then(content)));
    }
    Ok(digests)
}

fn check(cancel: &AtomicBool) -> Result<(), QueryError> {
    if cancel.load(Ordering::Relaxed) { Err(QueryError::Cancelled) } else { Ok(()) }
}

fn row_numbers(batch: &RecordBatch) -> Result<&[u64], QueryError> {
    let rows = batch.column_by_name("row").and_then(|c| c.as_primitive_opt::<UInt64Type>());
    Ok(rows.ok_or_else(|| unexpected("row"))?.values())
}

fn records(batch: &RecordBatch) -> Result<&arrow_array::BinaryArray, QueryError> {
    batch.column_by_name("record").and_then(|c| c.as_binary_opt::<i32>()).ok_or_else(|| unexpected("record"))
}

fn value(records: &arrow_array::BinaryArray, i: usize) -> Option<&[u8]> {
    records.is_valid(i).then(|| records.value(i))
}

fn unexpected(column: &str) -> QueryError {
    QueryError::Arrow(arrow_schema::ArrowError::SchemaError(format!("samples have no column `{column}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        content(a.as_bytes()).is_some() && content(a.as_bytes()) == content(b.as_bytes())
    }

    #[test]
    fn only_the_text_counts() {
        let pair = r#"{"id":"a","prompt":"1+1?","completion":"2","n":3}"#;
        assert!(same(pair, r#"{"completion":"2","id":"b","prompt":"1+1?"}"#));
        let talk =
            r#"{"messages":[{"role":"user","content":"1+1?"},{"role":"assistant","content":"2","x":1}]}"#;
        assert!(same(pair, talk));
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
    fn what_is_no_record_equals_nothing() {
        for bad in ["", "{", "[]", "{}", r#"{"prompt":"x"}"#, r#"{"messages":3}"#, r#"{"text":null}"#] {
            assert_eq!(content(bad.as_bytes()), None, "{bad}");
        }
    }
}
