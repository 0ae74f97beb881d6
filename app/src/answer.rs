//! Pools and errors shared by selections and by questions about given samples.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float32Array, RecordBatch, StringArray, UInt64Array, cast::AsArray};
use arrow_schema::ArrowError;
use gstore_core::{Cancelled, many_of};
use gstore_data::RecordError;
use gstore_ingest::pipeline::{IngestError, SampleEncoderError};
use gstore_learn::LearnError;
use gstore_query::QueryError;
use gstore_query::influence::{Prepared, Scored};
use gstore_sql::SqlError;
use gstore_store::{ArtifactError, LookupError, ReadError, SampleReader, Snapshot};

use crate::rows::FindError;
use crate::work::JobContext;

mod window;

pub(crate) use window::RowWindow;

/// Rows whose records are read or written at once.
pub(crate) const CHUNK: usize = 1024;

/// Why a question has no answer, or the answer could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum AnswerError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("{0}")]
    Table(#[from] SqlError),
    #[error(transparent)]
    Condition(FindError),
    #[error(transparent)]
    Columns(#[from] ArrowError),
    #[error(transparent)]
    Write(#[from] std::io::Error),
    #[error(transparent)]
    Learn(#[from] LearnError),
    #[error(transparent)]
    Compute(Box<IngestError>),
    #[error(transparent)]
    Given(Box<SampleEncoderError>),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// Something that was asked for and cannot be had.
    #[error("{0}")]
    Refused(String),
    /// Something that was asked for and makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A column with too many values for bars.
    #[error("{0}")]
    TooManyValues(String),
    /// A cascade whose numbers leave nothing to save.
    #[error("{0}")]
    Cascade(String),
}

impl From<Cancelled> for AnswerError {
    fn from(cancelled: Cancelled) -> Self {
        Self::Query(cancelled.into())
    }
}

impl From<FindError> for AnswerError {
    /// Damage is damage, whatever was looked for.
    fn from(error: FindError) -> Self {
        match error {
            FindError::Read(error) => error.into(),
            error => Self::Condition(error),
        }
    }
}

impl From<IngestError> for AnswerError {
    fn from(error: IngestError) -> Self {
        Self::Compute(Box::new(error))
    }
}

impl From<SampleEncoderError> for AnswerError {
    fn from(error: SampleEncoderError) -> Self {
        Self::Given(Box::new(error))
    }
}

impl AnswerError {
    /// The refusal of the method daunce for labels of a cascade or a prefilter; `of`: the vectors whose
    /// products these are.
    pub(crate) fn no_labels_of_losses(of: &str) -> Self {
        Self::Usage(format!(
            "labels are scores of the method influence, products of {of}. The method daunce compares losses of an ensemble, \
             which take none of these, so there would be nothing to save: leave the method daunce and its ensemble out, \
             or rank by losses alone"
        ))
    }
}

pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) samples: SampleReader,
}

pub(crate) fn open_pools(snapshot: &Snapshot, names: &[String]) -> Result<Vec<Pool>, AnswerError> {
    let open =
        |name: &String| Ok(Pool { name: name.clone(), samples: snapshot.samples(snapshot.dataset(name)?)? });
    names.iter().map(open).collect()
}

pub(crate) fn ids_of(snapshot: &Snapshot, dataset: &str, rows: &[u64]) -> Result<Vec<String>, AnswerError> {
    Ok(snapshot.samples(snapshot.dataset(dataset)?)?.ids(rows)?)
}

/// What is said of rows of a pool that are left out since they occur in the target.
pub(crate) fn note_of_target(rows: u64) -> Option<String> {
    let are = many_of(rows, "row of the pool is left out: it is", "rows of the pool are left out: they are");
    (rows > 0).then(|| format!("{are} in the target"))
}

/// Hands on what a user should know of how a question was understood.
pub(crate) fn tell_notes(prepared: &Prepared, work: &mut JobContext<'_>) {
    prepared.notes().iter().for_each(|note| work.progress.note(note));
}

/// A column of some ranked rows, in their order, whichever pools they are of.
pub(crate) fn column(rows: &[Scored], pools: &[Pool], name: &str) -> Result<Vec<ArrayRef>, AnswerError> {
    let mut ordered: Vec<Option<ArrayRef>> = vec![None; rows.len()];
    for (number, pool) in pools.iter().enumerate() {
        let places: Vec<usize> = (0..rows.len()).filter(|i| rows[*i].pool as usize == number).collect();
        if places.is_empty() {
            continue;
        }
        let wanted: Vec<u64> = places.iter().map(|i| rows[*i].row).collect();
        let batch = pool.samples.get(&wanted, &[name])?;
        let Some(values) = batch.column_by_name(name) else {
            return Err(AnswerError::Refused(format!("dataset `{}` has no column {name}", pool.name)));
        };
        for (i, place) in places.into_iter().enumerate() {
            ordered[place] = Some(values.slice(i, 1));
        }
    }
    Ok(ordered.into_iter().flatten().collect())
}

pub(crate) fn ids(rows: &[Scored], pools: &[Pool]) -> Result<StringArray, AnswerError> {
    Ok(id_column(&column(rows, pools, "id")?))
}

/// The column of ids, each of which is the one of a row.
pub(crate) fn id_column(ids: &[ArrayRef]) -> StringArray {
    ids.iter().map(|id| id.as_string_opt::<i32>().map(|id| id.value(0))).collect()
}

/// A table of columns that may all have nulls.
pub(crate) fn nullable_table(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
}

/// The columns `side, rank, score` of ranked rows.
pub(crate) fn rank_columns(side: &str, rows: &[Scored]) -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("side", Arc::new(StringArray::from_iter_values(rows.iter().map(|_| side)))),
        ("rank", Arc::new(UInt64Array::from_iter_values(1..=rows.len() as u64))),
        // Adding zero turns -0.0 into 0.0.
        ("score", Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| row.score + 0.0)))),
    ]
}

/// The columns `pool, id, row` of ranked rows, without `pool` where there is one.
pub(crate) fn row_columns(
    rows: &[Scored],
    pools: &[Pool],
    ids: StringArray,
) -> Vec<(&'static str, ArrayRef)> {
    let mut columns: Vec<(&'static str, ArrayRef)> = Vec::new();
    if pools.len() > 1 {
        let names = rows.iter().map(|row| pools[row.pool as usize].name.as_str());
        columns.push(("pool", Arc::new(StringArray::from_iter_values(names))));
    }
    columns.push(("id", Arc::new(ids)));
    columns.push(("row", Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.row)))));
    columns
}

/// The column `text` of ranked rows, taken from their records.
pub(crate) fn text_column(
    rows: &[Scored],
    pools: &[Pool],
    text: impl Fn(&[u8]) -> String,
) -> Result<(&'static str, ArrayRef), AnswerError> {
    let records = column(rows, pools, "record")?;
    let texts: StringArray = records.iter().map(|stored| record(stored).map(&text)).collect();
    Ok(("text", Arc::new(texts)))
}

/// The record of a row, if it was stored with it.
pub(crate) fn record(record: &ArrayRef) -> Option<&[u8]> {
    record.as_binary_opt::<i32>().filter(|record| record.is_valid(0)).map(|record| record.value(0))
}

pub(crate) fn written_record(stored: &ArrayRef, row: u64) -> Result<&[u8], AnswerError> {
    record(stored).ok_or_else(|| {
        AnswerError::Refused(format!(
            "row {row} was stored without its original record, so it cannot be written"
        ))
    })
}
