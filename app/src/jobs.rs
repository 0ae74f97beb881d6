//! Jobs of a user that take several steps: computing features, and questions in SQL.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_cast::pretty::pretty_format_batches;
use arrow_schema::ArrowError;
use gstore_ingest::pipeline::{
    self, AddClient, AddOutcome, AddReport, AddRequest, IngestError, IngestPlan, IngestReport, IngestRequest,
};
use gstore_query::influence::Encoder;
use gstore_sql::{SqlError, SqlOptions, SqlRunner};
use gstore_store::{Snapshot, Store};

use crate::work::JobContext;

/// Registers the samples of data files. What is there already is left as it is.
///
/// # Errors
/// Data that cannot be read, a changed sample where those are refused, and being told to stop;
/// nothing is added then.
pub fn add(store: &Store, request: &AddRequest, work: &mut JobContext<'_>) -> Result<AddReport, IngestError> {
    pipeline::check_data(request)?;
    pipeline::add_until(store, request, None, work.progress, work.cancel)
}

/// Registers a copy of what a client sent, all of it or nothing; sent once more under the same key, it
/// changes nothing.
///
/// # Errors
/// As [`add`]; a key that was used for other samples.
pub fn add_of(
    store: &Store,
    request: &AddRequest,
    client: &AddClient,
    work: &mut JobContext<'_>,
) -> Result<AddOutcome, IngestError> {
    pipeline::check_data(request)?;
    pipeline::add_from_client(store, request, client, work.progress, work.cancel)
}

/// Computes and publishes what features of registered samples lack. Stopped or killed, the same request goes
/// on where it was; the threads and the command are those of `work`.
///
/// # Errors
/// A model that does not load, samples that cannot be encoded, a full disk; what was sealed is
/// kept for the next call.
pub fn ingest(
    store: &Store,
    request: IngestRequest,
    work: &mut JobContext<'_>,
) -> Result<IngestReport, IngestError> {
    let request = IngestRequest { threads: work.threads, command: work.command.to_owned(), ..request };
    pipeline::check_inputs(&request)?;
    let plan = IngestPlan::new(store, request, work.progress)?;
    pipeline::ingest(store, &plan, work.progress, work.cancel)
}

/// All rows that a statement gives. `models` compute the samples that the statement itself gives, if it does.
///
/// A program with many statements, or with results that do not fit into memory, keeps a [`SqlRunner`] and
/// takes batch after batch.
///
/// # Errors
/// A statement that cannot be planned or answered, damage, and being told to stop.
pub fn query(
    snapshot: &Arc<Snapshot>,
    sql: &str,
    models: Option<Arc<dyn Encoder>>,
    work: &JobContext<'_>,
) -> Result<Vec<RecordBatch>, SqlError> {
    let options = SqlOptions { threads: work.threads, encoder: models, ..SqlOptions::default() };
    SqlRunner::new(Arc::clone(snapshot), options)?.run(sql, work.cancel)?.collect()
}

/// Rows as a table of text, whole; [`gstore_sql::output`] writes other formats.
///
/// # Errors
/// A value that has no text.
pub fn pretty(batches: &[RecordBatch]) -> Result<String, ArrowError> {
    Ok(pretty_format_batches(batches)?.to_string())
}
