//! Reading of samples: given contents, files, and datasets of a store.

use std::borrow::Cow;
use std::path::PathBuf;

use arrow_array::Array;
use gstore_core::{Cancel, RowSet};
use gstore_store::{DatasetPart, MetaValue, Snapshot, record_columns};
use serde_json::{Value, json};

use super::{Reading, SampleError, TextSample};
use crate::fields::FieldNames;
use crate::record::{Record, RecordError, parse_record};
use crate::source::{DataError, find};
use crate::{Content, IdAllocator};

/// Ids are made as for a file's lines, so that the same prompts have the same ids.
pub(super) fn from_contents(contents: &[Content]) -> impl Iterator<Item = TextSample> {
    let mut ids = IdAllocator::new();
    contents.iter().enumerate().map(move |(row, content)| {
        let line = match content {
            Content::Text(text) => json!({ "text": text }),
            Content::PromptCompletion { prompt, .. } => json!({ "prompt": prompt }),
            Content::Messages(messages) => json!({
                "messages": messages.iter().map(|m| json!([m.role.name(), m.content])).collect::<Vec<_>>(),
            }),
        };
        let id = ids.make(line.to_string().as_bytes());
        TextSample { row: row as u64, ..TextSample::begun(id, content, "") }
    })
}

fn sample(row: u64, id: String, record: Record) -> TextSample {
    let Record { content, metadata, json_keys, .. } = record;
    let in_json = |(key, value): (String, MetaValue)| {
        let json = match value {
            MetaValue::Text(text) if json_keys.contains(&key) => text,
            MetaValue::Null => Value::Null.to_string(),
            MetaValue::Bool(value) => Value::from(value).to_string(),
            MetaValue::Int(value) => Value::from(value).to_string(),
            MetaValue::Float(value) => Value::from(value).to_string(),
            MetaValue::Text(text) => Value::from(text).to_string(),
        };
        (key, json)
    };
    let metadata = metadata.into_iter().map(in_json).collect();
    TextSample { row, id, content, begun: String::new(), metadata }
}

pub(super) fn from_files(
    paths: &[PathBuf],
    fields: &[String],
    reading: Reading,
    cancel: &Cancel,
    take: &mut dyn FnMut(TextSample),
) -> Result<(), SampleError> {
    let fields = FieldNames::parse(fields)?;
    let mut row = 0;
    each_record(paths, &fields, reading, cancel, &mut |id, record, _| {
        take(sample(row, id, record));
        row += 1;
        Ok(())
    })
}

type TakeRecord<'a, E> = dyn FnMut(String, Record, &[u8]) -> Result<(), E> + 'a;

/// Reads the records of files one after the other; `take` gets the id, the record, and its text as it is
/// stored.
///
/// # Errors
/// A file or record that cannot be read; the flag raised; what `take` gives.
pub(crate) fn each_record<E: From<SampleError>>(
    paths: &[PathBuf],
    fields: &FieldNames,
    reading: Reading,
    cancel: &Cancel,
    take: &mut TakeRecord<'_, E>,
) -> Result<(), E> {
    let failed = |error: DataError| E::from(SampleError::from(error));
    let mut ids = IdAllocator::new();
    for file in find(paths).map_err(failed)? {
        let mut source = file.open(fields).map_err(failed)?;
        loop {
            cancel.check().map_err(SampleError::from)?;
            let Some(raw) = source.next_record().transpose().map_err(failed)? else { break };
            let place = raw.place;
            let read: Result<(Cow<'_, [u8]>, Record), RecordError> = match reading {
                Reading::Whole => fields.read(raw.json),
                Reading::Prompt => fields.read_prompt(raw.json),
            };
            let (json, record) = match read {
                Ok(read) => read,
                Err(error) => {
                    let source = fields.error_in(source.columns(), &source.nulls(), error);
                    return Err(SampleError::Record { place, source }.into());
                }
            };
            let id = ids.id_of(&record, &json);
            take(id, record, &json)?;
        }
    }
    Ok(())
}

pub(super) fn from_dataset(
    snapshot: &Snapshot,
    part: &DatasetPart,
    wanted: Option<&RowSet>,
    cancel: &Cancel,
    take: &mut dyn FnMut(TextSample),
) -> Result<(), SampleError> {
    let bad = |row: u64, what: String| SampleError::NoText { dataset: part.name.clone(), row, what };
    for batch in snapshot.samples(part)?.scan(&["row", "id", "record"], None) {
        cancel.check()?;
        let batch = batch?;
        let Some((rows, ids, records)) = record_columns(&batch) else {
            return Err(bad(0, "its samples have other columns than row, id and record".into()));
        };
        for at in 0..batch.num_rows() {
            let row = rows.value(at);
            if wanted.is_some_and(|wanted| !wanted.contains(row)) {
                continue;
            }
            if !records.is_valid(at) {
                return Err(bad(row, "it was registered without its text".into()));
            }
            let record = parse_record(records.value(at)).map_err(|error| bad(row, error.to_string()))?;
            take(sample(row, ids.value(at).to_owned(), record));
        }
    }
    Ok(())
}
