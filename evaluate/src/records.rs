//! Records of files and of datasets as JSON, with their places.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::Array;
use gstore_core::Cancel;
use gstore_data::{FieldNames, IdAllocator, Place, find, parse_object};
use gstore_store::{DatasetPart, Snapshot, record_columns};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::EvaluateError;

/// Where records come from.
#[derive(Clone)]
pub enum PairSource {
    /// Files of any format that `gstore_data` reads.
    Files(Vec<PathBuf>),
    /// A dataset of a store, its answers for example.
    Dataset {
        /// The state of the store.
        snapshot: Arc<Snapshot>,
        /// The dataset.
        part: Arc<DatasetPart>,
    },
}

/// A file that is one value of JSON.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, EvaluateError> {
    let bad =
        |error: serde_json::Error| EvaluateError::File { path: path.to_owned(), what: error.to_string() };
    serde_json::from_slice(&fs_err::read(path)?).map_err(bad)
}

/// An id, a name or an answer: a text, or a number as JSON writes it.
pub(crate) fn text_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// What a record is joined by. A number is never equal to a stated id, whatever that reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum RecordId {
    /// The id that it states.
    Stated(String),
    /// It states none: how many records there are before it.
    Number(u64),
}

impl std::fmt::Display for RecordId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stated(id) => f.write_str(id),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

pub(crate) struct RecordLocation<'a> {
    /// How many records there are before it.
    pub number: u64,
    /// The id under which a record of a file that has none is registered and answered.
    pub made: Option<String>,
    place: RecordOrigin<'a>,
}

enum RecordOrigin<'a> {
    File(Place),
    Dataset { name: &'a str, row: u64 },
}

impl RecordLocation<'_> {
    /// What is wrong with it.
    pub fn error(&self, what: &str) -> EvaluateError {
        let what = what.to_owned();
        match &self.place {
            RecordOrigin::File(place) => EvaluateError::Record { place: place.clone(), what },
            RecordOrigin::Dataset { name, row } => {
                EvaluateError::Sample { dataset: (*name).to_owned(), row: *row, what }
            }
        }
    }

    /// The id that a record states, or its number; null is none.
    pub fn id_of(&self, record: &Value) -> RecordId {
        match record.get("id") {
            None | Some(Value::Null) => RecordId::Number(self.number),
            Some(Value::String(id)) => RecordId::Stated(id.clone()),
            Some(id) => RecordId::Stated(id.to_string()),
        }
    }

    /// The file or dataset.
    pub fn source(&self) -> String {
        match &self.place {
            RecordOrigin::File(place) => place.file.display().to_string(),
            RecordOrigin::Dataset { name, .. } => (*name).to_owned(),
        }
    }

    /// The name of the file without its endings, or of the dataset.
    pub fn name(&self) -> String {
        match &self.place {
            RecordOrigin::File(place) => stem(&place.file),
            RecordOrigin::Dataset { name, .. } => (*name).to_owned(),
        }
    }
}

/// A file's name without its endings.
pub(crate) fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut name = &*name;
    for ending in [".gz", ".zst", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".txt"]
    {
        name = name.strip_suffix(ending).unwrap_or(name);
    }
    name.to_owned()
}

pub(crate) fn each_record(
    source: &PairSource,
    cancel: &Cancel,
    take: &mut dyn FnMut(RecordLocation<'_>, Value) -> Result<(), EvaluateError>,
) -> Result<(), EvaluateError> {
    match source {
        PairSource::Files(paths) => {
            let (mut number, mut ids, fields) = (0, IdAllocator::new(), FieldNames::default());
            for file in find(paths)? {
                let mut source = file.open(&fields)?;
                while let Some(raw) = source.next_record() {
                    cancel.check()?;
                    let raw = raw?;
                    let mut at = RecordLocation { number, made: None, place: RecordOrigin::File(raw.place) };
                    let object = parse_object(raw.json).map_err(|error| at.error(&error.to_string()))?;
                    if object.get("id").is_none_or(Value::is_null) {
                        // What is no sample was not answered either.
                        let read = fields.read_prompt(raw.json).ok();
                        at.made = read.map(|(json, record)| ids.id_of(&record, &json));
                    }
                    take(at, Value::Object(object))?;
                    number += 1;
                }
            }
            Ok(())
        }
        PairSource::Dataset { snapshot, part } => read_dataset(snapshot, part, cancel, take),
    }
}

fn read_dataset(
    snapshot: &Snapshot,
    part: &DatasetPart,
    cancel: &Cancel,
    take: &mut dyn FnMut(RecordLocation<'_>, Value) -> Result<(), EvaluateError>,
) -> Result<(), EvaluateError> {
    let at = |number, row| RecordLocation {
        number,
        made: None,
        place: RecordOrigin::Dataset { name: &part.name, row },
    };
    let mut number = 0;
    for batch in snapshot.samples(part)?.scan(&["row", "id", "record"], None) {
        cancel.check()?;
        let batch = batch?;
        let Some((rows, ids, records)) = record_columns(&batch) else {
            return Err(at(number, 0).error("its samples have other columns than row, id and record"));
        };
        for place in 0..batch.num_rows() {
            let at = at(number, rows.value(place));
            if !records.is_valid(place) {
                return Err(at.error("it was registered without its text"));
            }
            let value = serde_json::from_slice::<Value>(records.value(place));
            let mut value = value.map_err(|error| at.error(&error.to_string()))?;
            // A record without an id has the one that it was registered under.
            if let Some(object) = value.as_object_mut() {
                object.insert("id".to_owned(), Value::from(ids.value(place)));
            }
            take(at, value)?;
            number += 1;
        }
    }
    Ok(())
}
