//! Prompts and texts: from the request itself, from files, or from a dataset of a store.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, RecordBatch};
use gstore_core::parallel::ordered;
use gstore_core::{Cancel, RowSet};
use gstore_data::{Content, FieldNames, IdAllocator, Message, Record, RecordError, Role, TextEncoder, find};
use gstore_model::architectures::Decoder;
use gstore_store::{DatasetPart, MetaValue, Snapshot};
use serde_json::{Map, Value, json};

use crate::error::GenerateError;
use crate::load::{check_tokens, positions};

/// Where prompts come from.
#[derive(Clone)]
pub enum PromptSource {
    /// Contents as they are.
    Given(Vec<Content>),
    /// Files of any format that `gstore_data` reads; a prompt needs no completion.
    Files {
        /// Files, folders and patterns.
        paths: Vec<PathBuf>,
        /// Names of fields, as `field=key`.
        fields: Vec<String>,
    },
    /// A dataset of a store.
    Dataset {
        /// The state of the store.
        snapshot: Arc<Snapshot>,
        /// The dataset.
        part: Arc<DatasetPart>,
        /// Only these rows.
        rows: Option<RowSet>,
    },
}

/// A sample with its place.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub row: u64,
    pub id: String,
    pub content: Content,
    pub metadata: Vec<(String, MetaValue)>,
}

/// A prompt as tokens, and what its answer's record begins with.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// Row of the dataset, or place among the prompts of the request, from 0.
    pub row: u64,
    /// The sample's id.
    pub id: String,
    /// Its tokens.
    pub ids: Vec<u32>,
    question: Question,
    /// What the sample says in the answer's place.
    expected: Option<String>,
    metadata: Vec<(String, MetaValue)>,
}

/// What an answer follows.
#[derive(Debug, Clone)]
enum Question {
    Messages(Vec<Message>),
    Text(String),
}

impl Prompt {
    /// A record that can be registered: the prompt with the answer in its place, the sample's other keys, and
    /// `more`.
    pub(crate) fn answered(&self, answer: &str, more: &[(&str, Value)]) -> Value {
        let mut record: Map<String, Value> = Map::new();
        record.insert("id".into(), json!(self.id));
        match &self.question {
            Question::Text(prompt) => {
                record.insert("prompt".into(), json!(prompt));
                record.insert("completion".into(), json!(answer));
            }
            Question::Messages(messages) => {
                let turn = |role: Role, content: &str| json!({ "role": role.name(), "content": content });
                let mut turns: Vec<Value> = messages.iter().map(|m| turn(m.role, &m.content)).collect();
                turns.push(turn(Role::Assistant, answer));
                record.insert("messages".into(), Value::Array(turns));
            }
        }
        if let Some(expected) = &self.expected {
            record.insert("expected".into(), json!(expected));
        }
        for (key, value) in &self.metadata {
            if !record.contains_key(key) && !is_content(key) && !more.iter().any(|(own, _)| own == key) {
                record.insert(key.clone(), meta_json(value));
            }
        }
        record.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        Value::Object(record)
    }
}

fn is_content(key: &str) -> bool {
    ["id", "prompt", "completion", "messages", "text"].contains(&key)
}

fn meta_json(value: &MetaValue) -> Value {
    match value {
        MetaValue::Null => Value::Null,
        MetaValue::Bool(value) => json!(value),
        MetaValue::Int(value) => json!(value),
        MetaValue::Float(value) => json!(value),
        MetaValue::Text(value) => json!(value),
    }
}

/// What an answer follows, and what the sample has in its place.
fn question(content: Content) -> (Question, Option<String>) {
    match content {
        Content::Text(text) => (Question::Text(text), None),
        Content::PromptCompletion { prompt, completion } => {
            (Question::Text(prompt), Some(completion).filter(|completion| !completion.is_empty()))
        }
        Content::Messages(mut messages) => {
            let answer = messages.pop_if(|message| message.role == Role::Assistant);
            (Question::Messages(messages), answer.map(|message| message.content))
        }
    }
}

/// Reads prompts and encodes them; all of it is checked before any is answered.
pub(crate) fn prompts(
    source: &PromptSource,
    encoder: &TextEncoder,
    max_length: usize,
    decoder: &Decoder,
    (threads, cancel): (usize, &Cancel),
) -> Result<Vec<Prompt>, GenerateError> {
    let samples = read(source, FieldNames::read_prompt, cancel)?;
    let mut ids = HashSet::new();
    if let Some(twice) = samples.iter().find(|sample| !ids.insert(sample.id.as_str())) {
        return Err(GenerateError::RepeatedId(twice.id.clone()));
    }
    let encode = |sample: &Sample| encoder.encode_prompt(&sample.content);
    let tokens = encoded(&samples, encode, threads, cancel)?;
    let prompts = samples.into_iter().zip(tokens).map(|(sample, ids)| {
        let name = name(&sample);
        check_tokens(&name, &ids, decoder)?;
        let tokens = ids.len();
        let limits = [(Some(max_length), false), (positions(decoder), true)];
        let mut over = limits.into_iter().filter_map(|(most, by_model)| Some((most?, by_model)));
        let over = over.find(|(most, _)| tokens > *most);
        if let Some((most, by_model)) = over {
            return Err(GenerateError::TooLong { sample: name, tokens, most, by_model });
        }
        let Sample { row, id, content, metadata } = sample;
        let (question, expected) = question(content);
        Ok(Prompt { row, id, ids, question, expected, metadata })
    });
    prompts.collect()
}

/// A sample as messages name it.
pub(crate) fn name(sample: &Sample) -> String {
    format!("sample {:?} (row {})", sample.id, sample.row)
}

/// Samples that a thread encodes at a time.
const SHARE: usize = 64;

/// What `encode` makes of each sample.
pub(crate) fn encoded<T: Send>(
    samples: &[Sample],
    encode: impl Fn(&Sample) -> Result<T, gstore_data::EncodeError> + Sync,
    threads: usize,
    cancel: &Cancel,
) -> Result<Vec<T>, GenerateError> {
    let shares: Vec<&[Sample]> = samples.chunks(SHARE).collect();
    let of_share = |(): &mut (), share: usize| {
        let encoded = shares[share].iter().map(|sample| {
            encode(sample).map_err(|source| GenerateError::Encode { sample: name(sample), source })
        });
        encoded.collect::<Result<Vec<T>, GenerateError>>()
    };
    let mut all = Vec::with_capacity(samples.len());
    ordered(
        shares.len(),
        threads,
        cancel,
        || (),
        of_share,
        |encoded| {
            all.extend(encoded);
            Ok(std::ops::ControlFlow::Continue(()))
        },
    )?;
    Ok(all)
}

/// How a line of a file becomes a record.
type ReadRecord = for<'a> fn(&FieldNames, &'a [u8]) -> Result<(Cow<'a, [u8]>, Record), RecordError>;

/// The samples of a source; at least one.
pub(crate) fn read(
    source: &PromptSource,
    record: ReadRecord,
    cancel: &Cancel,
) -> Result<Vec<Sample>, GenerateError> {
    let samples = match source {
        PromptSource::Given(contents) => given(contents),
        PromptSource::Files { paths, fields } => of_files(paths, fields, record, cancel)?,
        PromptSource::Dataset { snapshot, part, rows } => of_dataset(snapshot, part, rows.as_ref(), cancel)?,
    };
    if samples.is_empty() { Err(GenerateError::NoSamples) } else { Ok(samples) }
}

/// Ids are made as for a file's lines, so that the same prompts have the same ids.
fn given(contents: &[Content]) -> Vec<Sample> {
    let mut ids = IdAllocator::new();
    let sample = |(row, content): (usize, &Content)| {
        let line = match content {
            Content::Text(text) => json!({ "text": text }),
            Content::PromptCompletion { prompt, .. } => json!({ "prompt": prompt }),
            Content::Messages(messages) => json!({
                "messages": messages.iter().map(|m| json!([m.role.name(), m.content])).collect::<Vec<_>>(),
            }),
        };
        let record = Record { id: None, content: content.clone(), metadata: Vec::new() };
        let id = ids.id_of(&record, line.to_string().as_bytes());
        Sample { row: row as u64, id, content: record.content, metadata: record.metadata }
    };
    contents.iter().enumerate().map(sample).collect()
}

fn of_files(
    paths: &[PathBuf],
    fields: &[String],
    read: ReadRecord,
    cancel: &Cancel,
) -> Result<Vec<Sample>, GenerateError> {
    let fields = FieldNames::parse(fields)?;
    let (mut samples, mut ids) = (Vec::new(), IdAllocator::new());
    for file in find(paths)? {
        let mut source = file.open(&fields)?;
        loop {
            cancel.check()?;
            let Some(raw) = source.next_record().transpose()? else { break };
            let place = raw.place;
            let (json, record) = match read(&fields, raw.json) {
                Ok(read) => read,
                Err(error) => {
                    return Err(GenerateError::Record { place, source: error.with_nulls(&source.nulls()) });
                }
            };
            let (row, id) = (samples.len() as u64, ids.id_of(&record, &json));
            samples.push(Sample { row, id, content: record.content, metadata: record.metadata });
        }
    }
    Ok(samples)
}

fn of_dataset(
    snapshot: &Snapshot,
    part: &DatasetPart,
    wanted: Option<&RowSet>,
    cancel: &Cancel,
) -> Result<Vec<Sample>, GenerateError> {
    let bad = |row: u64, what: String| GenerateError::Sample { dataset: part.name.clone(), row, what };
    let mut samples = Vec::new();
    for batch in snapshot.samples(part)?.scan(&["row", "id", "record"], None) {
        cancel.check()?;
        let batch: RecordBatch = batch?;
        let columns = (
            batch.column(0).as_primitive_opt::<UInt64Type>(),
            batch.column(1).as_string_opt::<i32>(),
            batch.column(2).as_binary_opt::<i32>(),
        );
        let (Some(rows), Some(ids), Some(records)) = columns else {
            return Err(bad(0, "its samples have other columns than row, id and record".into()));
        };
        for at in 0..batch.num_rows() {
            let (row, id) = (rows.value(at), ids.value(at).to_owned());
            if wanted.is_some_and(|wanted| !wanted.contains(row)) {
                continue;
            }
            if !records.is_valid(at) {
                return Err(bad(row, "it was registered without its text".into()));
            }
            let read = gstore_data::parse_record(records.value(at));
            let record = read.map_err(|error| bad(row, error.to_string()))?;
            samples.push(Sample { row, id, content: record.content, metadata: record.metadata });
        }
    }
    Ok(samples)
}
