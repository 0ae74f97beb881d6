//! Samples with their places: given ones, those of files, or those of a dataset of a store.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, RecordBatch};
use gstore_core::parallel::ordered;
use gstore_core::{Cancel, Cancelled, RowSet};
use gstore_store::{DatasetPart, MetaValue, ReadError, Snapshot};
use serde_json::json;

use crate::encode::{EncodeError, TextEncoder};
use crate::fields::{FieldError, FieldNames};
use crate::record::{Record, RecordError, parse_record};
use crate::source::{DataError, Place, find};
use crate::{Content, IdAllocator};

/// Where samples come from.
#[derive(Clone)]
pub enum SampleSource {
    /// Contents as they are.
    Given(Vec<Content>),
    /// Files of any format that is read.
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

/// A record with its place.
#[derive(Debug, Clone)]
pub struct TextSample {
    /// Row of the dataset, or place among the records of the source, from 0.
    pub row: u64,
    /// Its id; of a part of a text the text's, `#` and the part's number from 0.
    pub id: String,
    /// Its text.
    pub content: Content,
    /// Its other keys.
    pub metadata: Vec<(String, MetaValue)>,
}

/// As messages name it.
impl std::fmt::Display for TextSample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sample {:?} (row {})", self.id, self.row)
    }
}

/// Why samples could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// A data file.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Names of fields.
    #[error(transparent)]
    Fields(#[from] FieldError),
    /// A record of a data file.
    #[error("{place}: {source}")]
    Record {
        /// Where it stands.
        place: Place,
        /// What is wrong with it.
        source: RecordError,
    },
    /// A sample that could not be encoded.
    #[error("{sample}: {source}")]
    Encode {
        /// Which.
        sample: String,
        /// Why.
        source: EncodeError,
    },
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A sample of a dataset that has no text.
    #[error("row {row} of {dataset}: {what}")]
    NoText {
        /// The dataset.
        dataset: String,
        /// Its row.
        row: u64,
        /// What is wrong with it.
        what: String,
    },
    /// Told to stop.
    #[error("stopped")]
    Stopped,
}

impl From<Cancelled> for SampleError {
    fn from(_: Cancelled) -> Self {
        SampleError::Stopped
    }
}

/// What a record of a file needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Text to train on or to score.
    Whole,
    /// A prompt, which may stand without its completion.
    Prompt,
}

impl SampleSource {
    /// The samples for which `keep` says so of row and id, in their order, and the number of all.
    ///
    /// # Errors
    /// A file, record or dataset that cannot be read; the flag raised.
    pub fn read(
        &self,
        reading: Reading,
        keep: &dyn Fn(u64, &str) -> bool,
        cancel: &Cancel,
    ) -> Result<(Vec<TextSample>, u64), SampleError> {
        let mut kept = Vec::new();
        let mut all = 0;
        let mut take = |sample: TextSample| {
            all += 1;
            if keep(sample.row, &sample.id) {
                kept.push(sample);
            }
        };
        match self {
            SampleSource::Given(contents) => given(contents).for_each(take),
            SampleSource::Files { paths, fields } => of_files(paths, fields, reading, cancel, &mut take)?,
            SampleSource::Dataset { snapshot, part, rows } => {
                of_dataset(snapshot, part, rows.as_ref(), cancel, &mut take)?;
            }
        }
        Ok((kept, all))
    }
}

/// Ids are made as for a file's lines, so that the same prompts have the same ids.
fn given(contents: &[Content]) -> impl Iterator<Item = TextSample> {
    let mut ids = IdAllocator::new();
    contents.iter().enumerate().map(move |(row, content)| {
        let line = match content {
            Content::Text(text) => json!({ "text": text }),
            Content::PromptCompletion { prompt, .. } => json!({ "prompt": prompt }),
            Content::Messages(messages) => json!({
                "messages": messages.iter().map(|m| json!([m.role.name(), m.content])).collect::<Vec<_>>(),
            }),
        };
        let record = Record { id: None, content: content.clone(), metadata: Vec::new() };
        let id = ids.id_of(&record, line.to_string().as_bytes());
        TextSample { row: row as u64, id, content: record.content, metadata: record.metadata }
    })
}

fn of_files(
    paths: &[PathBuf],
    fields: &[String],
    reading: Reading,
    cancel: &Cancel,
    take: &mut dyn FnMut(TextSample),
) -> Result<(), SampleError> {
    let fields = FieldNames::parse(fields)?;
    let mut row = 0;
    each_record(paths, &fields, reading, cancel, &mut |id, record, _| {
        take(TextSample { row, id, content: record.content, metadata: record.metadata });
        row += 1;
        Ok(())
    })
}

/// Reads the records of files one after the other; `take` gets the id, the record, and its text as it is
/// stored.
///
/// # Errors
/// A file or record that cannot be read; the flag raised; what `take` gives.
pub fn each_record<E: From<SampleError>>(
    paths: &[PathBuf],
    fields: &FieldNames,
    reading: Reading,
    cancel: &Cancel,
    take: &mut dyn FnMut(String, Record, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |error: DataError| E::from(SampleError::from(error));
    let mut ids = IdAllocator::new();
    for file in find(paths).map_err(failed)? {
        let mut source = file.open(fields).map_err(failed)?;
        loop {
            if cancel.is_raised() {
                return Err(SampleError::Stopped.into());
            }
            let Some(raw) = source.next_record().transpose().map_err(failed)? else { break };
            let place = raw.place;
            let read: Result<(Cow<'_, [u8]>, Record), RecordError> = match reading {
                Reading::Whole => fields.read(raw.json),
                Reading::Prompt => fields.read_prompt(raw.json),
            };
            let (json, record) = match read {
                Ok(read) => read,
                Err(error) => {
                    let source = error.with_nulls(&source.nulls());
                    return Err(SampleError::Record { place, source }.into());
                }
            };
            let id = ids.id_of(&record, &json);
            take(id, record, &json)?;
        }
    }
    Ok(())
}

fn of_dataset(
    snapshot: &Snapshot,
    part: &DatasetPart,
    wanted: Option<&RowSet>,
    cancel: &Cancel,
    take: &mut dyn FnMut(TextSample),
) -> Result<(), SampleError> {
    let bad = |row: u64, what: String| SampleError::NoText { dataset: part.name.clone(), row, what };
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
            let row = rows.value(at);
            if wanted.is_some_and(|wanted| !wanted.contains(row)) {
                continue;
            }
            if !records.is_valid(at) {
                return Err(bad(row, "it was registered without its text".into()));
            }
            let record = parse_record(records.value(at)).map_err(|error| bad(row, error.to_string()))?;
            let id = ids.value(at).to_owned();
            take(TextSample { row, id, content: record.content, metadata: record.metadata });
        }
    }
    Ok(())
}

/// Samples that a thread encodes at a time.
const SHARE: usize = 64;

/// What `encode` makes of each sample, in their order.
///
/// # Errors
/// The first sample that cannot be encoded; the flag raised.
pub fn encode_each<T: Send>(
    samples: &[TextSample],
    encode: impl Fn(&TextSample) -> Result<T, EncodeError> + Sync,
    threads: usize,
    cancel: &Cancel,
) -> Result<Vec<T>, SampleError> {
    let shares: Vec<&[TextSample]> = samples.chunks(SHARE).collect();
    let of_share = |(): &mut (), share: usize| {
        let encoded = shares[share].iter().map(|sample| {
            let failed = |source| SampleError::Encode { sample: sample.to_string(), source };
            encode(sample).map_err(failed)
        });
        encoded.collect::<Result<Vec<T>, SampleError>>()
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
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(all)
}

/// Cuts each text that is longer than the encoder's blocks into samples of its own; without blocks nothing.
///
/// # Errors
/// A tokenizer that fails; the flag raised.
pub fn in_blocks(
    samples: Vec<TextSample>,
    encoder: &TextEncoder,
    threads: usize,
    cancel: &Cancel,
) -> Result<Vec<TextSample>, SampleError> {
    if encoder.block().is_none() {
        return Ok(samples);
    }
    let parts = encode_each(&samples, |sample| encoder.cut(&sample.content), threads, cancel)?;
    let mut all = Vec::with_capacity(samples.len());
    for (sample, parts) in samples.into_iter().zip(parts) {
        if parts.is_empty() {
            all.push(sample);
            continue;
        }
        all.extend(parts.into_iter().enumerate().map(|(part, text)| TextSample {
            id: part_id(&sample.id, part),
            content: Content::Text(text),
            ..sample.clone()
        }));
    }
    Ok(all)
}

/// The id of part `part` of a text that was cut.
pub(crate) fn part_id(id: &str, part: usize) -> String {
    format!("{id}#{part}")
}
