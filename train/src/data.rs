//! Samples to train on: from files or from a dataset of a store, all or some of them, as tokens.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, RecordBatch};
use gstore_core::parallel::ordered;
use gstore_core::{Cancel, RowSet};
use gstore_data::{Content, FieldNames, IdAllocator, TextEncoder, find, parse_record};
use gstore_store::{DatasetPart, Snapshot};

use crate::error::TrainError;
use crate::gradient::Sample;
use crate::random::Stream;

/// Where samples come from.
#[derive(Clone)]
pub enum DataSource {
    /// Files of any format that `gstore add` reads.
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
    },
}

/// Which samples are used; all unless something is given.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Subset {
    /// These rows: of a file, counted from 0.
    pub rows: Option<RowSet>,
    /// Those with these ids.
    pub ids: Option<HashSet<String>>,
    /// A random share of them, in (0, 1], rounded down but at least one.
    pub share: Option<f64>,
    /// Seed of the random share.
    pub seed: u64,
}

/// A record that is to be encoded.
struct Raw {
    row: u64,
    id: String,
    content: Content,
}

/// Samples as tokens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples {
    pub samples: Vec<Sample>,
    /// Chosen samples that are left out because none of their tokens is scored.
    pub without_scored: usize,
    /// Samples of which tokens beyond the maximum length were left out.
    pub truncated: usize,
}

/// Reads, chooses and encodes samples.
///
/// # Errors
/// A file or sample that cannot be read, and ids or rows that are not there.
pub(crate) fn load(
    source: &DataSource,
    subset: &Subset,
    encoder: &TextEncoder,
    threads: usize,
    cancel: &Cancel,
) -> Result<Samples, TrainError> {
    let mut chosen = match source {
        DataSource::Files { paths, fields } => of_files(paths, fields, subset, cancel)?,
        DataSource::Dataset { snapshot, part } => of_dataset(snapshot, part, subset, cancel)?,
    };
    if let Some(ids) = &subset.ids {
        let found: HashSet<&str> = chosen.iter().map(|raw| raw.id.as_str()).collect();
        if let Some(missing) = ids.iter().filter(|id| !found.contains(id.as_str())).min() {
            return Err(TrainError::Option(format!("no sample has the id {missing:?}")));
        }
    }
    if let Some(share) = subset.share {
        chosen = drawn(chosen, share, subset.seed)?;
    }
    encode(&chosen, encoder, threads, cancel)
}

/// A random share, in the order of the data.
fn drawn(mut chosen: Vec<Raw>, share: f64, seed: u64) -> Result<Vec<Raw>, TrainError> {
    if !(share > 0.0 && share <= 1.0) {
        return Err(TrainError::Option(format!(
            "a share of {share} of the samples is none: above 0, at most 1"
        )));
    }
    let count = ((chosen.len() as f64 * share) as usize).max(1).min(chosen.len());
    let kept: HashSet<usize> =
        Stream::new(seed, "share of samples", 0).order(chosen.len()).into_iter().take(count).collect();
    let mut index = 0;
    chosen.retain(|_| {
        index += 1;
        kept.contains(&(index - 1))
    });
    Ok(chosen)
}

fn is_chosen(subset: &Subset, row: u64, id: &str) -> bool {
    subset.rows.as_ref().is_none_or(|rows| rows.contains(row))
        && subset.ids.as_ref().is_none_or(|ids| ids.contains(id))
}

fn of_files(
    paths: &[PathBuf],
    fields: &[String],
    subset: &Subset,
    cancel: &Cancel,
) -> Result<Vec<Raw>, TrainError> {
    let fields = FieldNames::parse(fields)?;
    let (mut chosen, mut ids, mut row) = (Vec::new(), IdAllocator::new(), 0);
    for file in find(paths)? {
        let mut source = file.open(&fields)?;
        loop {
            if cancel.is_raised() {
                return Err(TrainError::Stopped);
            }
            let Some(raw) = source.next_record().transpose()? else { break };
            let place = raw.place;
            let (json, record) = match fields.read(raw.json) {
                Ok(read) => read,
                Err(error) => {
                    return Err(TrainError::Record { place, source: error.with_nulls(&source.nulls()) });
                }
            };
            let id = ids.id_of(&record, &json).to_string();
            if is_chosen(subset, row, &id) {
                chosen.push(Raw { row, id, content: record.content });
            }
            row += 1;
        }
    }
    if let Some(missing) = subset.rows.as_ref().and_then(|rows| rows.ranges().last()).filter(|r| r.end > row)
    {
        return Err(TrainError::Option(format!("there is no row {}: the data has {row}", missing.end - 1)));
    }
    Ok(chosen)
}

fn of_dataset(
    snapshot: &Snapshot,
    part: &DatasetPart,
    subset: &Subset,
    cancel: &Cancel,
) -> Result<Vec<Raw>, TrainError> {
    let bad = |row: u64, what: String| TrainError::Sample { dataset: part.name.clone(), row, what };
    let mut chosen = Vec::new();
    for batch in snapshot.samples(part)?.scan(&["row", "id", "record"], None) {
        if cancel.is_raised() {
            return Err(TrainError::Stopped);
        }
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
            let (row, id) = (rows.value(at), ids.value(at));
            if !is_chosen(subset, row, id) {
                continue;
            }
            if !records.is_valid(at) {
                return Err(bad(row, "it was registered without its text".into()));
            }
            let record = parse_record(records.value(at)).map_err(|error| bad(row, error.to_string()))?;
            chosen.push(Raw { row, id: id.to_owned(), content: record.content });
        }
    }
    Ok(chosen)
}

/// Records that a thread encodes at a time.
const SHARE: usize = 64;

fn encode(
    chosen: &[Raw],
    encoder: &TextEncoder,
    threads: usize,
    cancel: &Cancel,
) -> Result<Samples, TrainError> {
    let mut samples = Samples::default();
    let shares: Vec<&[Raw]> = chosen.chunks(SHARE).collect();
    let encode = |(): &mut (), share: usize| {
        let encoded = shares[share].iter().map(|raw| {
            let sample = || format!("sample {:?} (row {})", raw.id, raw.row);
            encoder.encode(&raw.content).map_err(|source| TrainError::Encode { sample: sample(), source })
        });
        encoded.collect::<Result<Vec<_>, _>>()
    };
    let take = |encoded: Vec<gstore_data::Encoded>| {
        for encoded in encoded {
            samples.truncated += usize::from(encoded.truncated);
            match encoded.scored_tokens() {
                0 => samples.without_scored += 1,
                _ => samples.samples.push(Sample { ids: encoded.ids, scored: encoded.scored }),
            }
        }
        Ok(std::ops::ControlFlow::Continue(()))
    };
    ordered(shares.len(), threads, cancel, || (), encode, take)?;
    Ok(samples)
}
