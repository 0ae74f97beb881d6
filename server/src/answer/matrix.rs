//! A score matrix, rows by target samples, as it is computed.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::RecordBatch;
use gstore_core::Cancel;
use gstore_query::influence::{InfluenceSpec, Prepared};
use gstore_query::matrix::{MatrixError, MatrixRows};
use gstore_store::Snapshot;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tonic::Status;

use crate::handle::Matrix;
use crate::status;

/// The options that a matrix has: those that combine scores are none of them.
const OPTIONS: &[&str] = &[
    "pool",
    "target",
    "run",
    "checkpoints",
    "weights",
    "sim",
    "kind",
    "pool_kind",
    "target_kind",
    "features",
    "modules",
    "missing",
    "partial",
    "exclude_target",
];
/// Bytes that the vectors of the target samples may take.
const MEMORY: u64 = 1 << 30;

/// Reads the options.
pub(crate) fn question(options: Map<String, Value>) -> Result<Matrix, Status> {
    if let Some(name) = options.keys().find(|name| !OPTIONS.contains(&name.as_str())) {
        let (name, all) = (name.escape_debug(), OPTIONS.join(", "));
        return Err(Status::invalid_argument(format!("a matrix has no option `{name}`; it has {all}")));
    }
    let matrix = Matrix { spec: Value::Object(options).to_string() };
    spec(&matrix)?;
    Ok(matrix)
}

fn spec(wanted: &Matrix) -> Result<InfluenceSpec, Status> {
    serde_json::from_str(&wanted.spec).map_err(|e| Status::invalid_argument(e.to_string()))
}

/// Finds the rows and the target samples. Takes a while.
pub(crate) fn open(snapshot: &Arc<Snapshot>, wanted: &Matrix, cancel: &Cancel) -> Result<MatrixRows, Status> {
    let prepared = Prepared::new(snapshot, &spec(wanted)?).map_err(|e| of_matrix(&e.into()))?;
    MatrixRows::new(prepared, MEMORY, cancel).map_err(|e| of_matrix(&e))
}

/// Computes all and hands it over, in batches of about `bytes`; waits while the reader is behind, and ends when it is gone.
pub(crate) fn send_all(
    rows: &MatrixRows,
    bytes: usize,
    threads: usize,
    to: &mpsc::Sender<RecordBatch>,
    cancel: &Cancel,
) -> Result<(), Status> {
    let send = |batch| match to.blocking_send(batch) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    rows.each(bytes as u64, threads, cancel, send).map_err(|e| of_matrix(&e))
}

fn of_matrix(error: &MatrixError) -> Status {
    match error {
        error if error.is_damage() => status::damaged(),
        MatrixError::Query(error) => Status::invalid_argument(error.to_string()),
        MatrixError::Refused(why) => Status::resource_exhausted(why.clone()),
        error => status::internal("the matrix cannot be computed", error),
    }
}
