//! Samples with their places: given ones, those of files, or those of a dataset of a store.

use std::path::PathBuf;
use std::sync::Arc;

use gstore_core::{Cancel, Cancelled, Remedy, RowSet, parallel};
use gstore_store::{DatasetPart, LookupError, ReadError, Snapshot};

use crate::Content;
use crate::encode::TextEncoder;
use crate::encode_error::EncodeError;
use crate::fields::FieldError;
use crate::record::RecordError;
use crate::source::{DataError, Place};

mod check;
mod read;

pub use check::{check_block, check_system};
pub(crate) use read::each_record;
use read::{from_contents, from_dataset, from_files};

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
    /// Prompts whose answers begin with texts that are given.
    Begun(Vec<TextSample>),
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
    /// What an answer to it begins with; as a rule nothing.
    pub begun: String,
    /// Its other keys, with their values in compact JSON, where integers have all their digits.
    pub metadata: Vec<(String, String)>,
}

impl TextSample {
    /// A prompt, and the first words of its answer, which may be none. Its row is its place in its source.
    pub fn begun(id: String, content: &Content, begun: &str) -> Self {
        Self { row: 0, id, content: content.clone(), begun: begun.to_owned(), metadata: Vec::new() }
    }
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
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum SampleError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Fields(#[from] FieldError),
    #[error("{}, {place}: {source}", place.file.display())]
    Record { place: Place, source: RecordError },
    #[error("{sample}: {source}")]
    Encode { sample: String, source: EncodeError },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("row {row} of {dataset}: {what}")]
    NoText { dataset: String, row: u64, what: String },
    #[error(
        "{} cuts long texts, and no sample is a text: conversations and prompts with a completion are not cut",
        Remedy::Option("block", "")
    )]
    NothingToCut,
    #[error(
        "{} has no effect: no sample is a conversation without a system message for which the template writes one",
        Remedy::Option("system", "")
    )]
    NoSystem,
    #[error("stopped")]
    Stopped(#[from] Cancelled),
}

impl SampleError {
    /// Whether the options are at fault, and not the samples.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::NothingToCut | Self::NoSystem)
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
    /// All samples of the dataset of a name.
    ///
    /// # Errors
    /// There is no such dataset.
    pub fn of_dataset(snapshot: Arc<Snapshot>, name: &str) -> Result<Self, LookupError> {
        let part = Arc::clone(snapshot.dataset(name)?);
        Ok(SampleSource::Dataset { snapshot, part, rows: None })
    }

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
            SampleSource::Given(contents) => from_contents(contents).for_each(take),
            SampleSource::Begun(prompts) => {
                // Their random numbers are drawn by their places.
                let placed = |(place, prompt): (usize, &TextSample)| TextSample {
                    row: place as u64,
                    ..prompt.clone()
                };
                prompts.iter().enumerate().map(placed).for_each(take);
            }
            SampleSource::Files { paths, fields } => from_files(paths, fields, reading, cancel, &mut take)?,
            SampleSource::Dataset { snapshot, part, rows } => {
                from_dataset(snapshot, part, rows.as_ref(), cancel, &mut take)?;
            }
        }
        Ok((kept, all))
    }
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
    parallel::map(samples, SHARE, threads, cancel, |sample| {
        encode(sample).map_err(|source| SampleError::Encode { sample: sample.to_string(), source })
    })
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
