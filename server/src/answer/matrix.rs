//! A score matrix, rows by target samples, as it is computed.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use gstore_core::Cancel;
use gstore_query::QueryError;
use gstore_query::influence::{InfluenceSpec, PAIR_OPTIONS, Prepared};
use gstore_query::matrix::{MatrixError, MatrixRows};
use gstore_sql::SqlError;
use gstore_store::{ReadError, Snapshot};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tonic::Status;

use crate::handle::Matrix;
use crate::status;

/// Bytes that the vectors of the target samples may take.
const MEMORY: u64 = 1 << 30;

pub(crate) fn question(options: Map<String, Value>) -> Result<Matrix, Status> {
    // Options that combine scores are none of them.
    let known = [&["pool", "target"][..], PAIR_OPTIONS].concat();
    if let Some(name) = options.keys().find(|name| !known.contains(&name.as_str())) {
        let (name, all) = (name.escape_debug(), known.join(", "));
        return Err(Status::invalid_argument(format!("a matrix has no option `{name}`; it has {all}")));
    }
    let matrix = Matrix { spec: Value::Object(options).to_string() };
    spec(&matrix)?;
    Ok(matrix)
}

fn spec(wanted: &Matrix) -> Result<InfluenceSpec, Status> {
    serde_json::from_str(&wanted.spec).map_err(|e| Status::invalid_argument(e.to_string()))
}

/// Finds the rows and the target samples. Takes a while. `root` is the folder of the store.
pub(crate) fn open(
    snapshot: &Arc<Snapshot>,
    wanted: &Matrix,
    root: &Path,
    cancel: &Cancel,
) -> Result<MatrixRows, Status> {
    let prepared = Prepared::new(snapshot, &spec(wanted)?).map_err(|e| matrix_status(e.into(), root))?;
    MatrixRows::new(prepared, MEMORY, cancel).map_err(|e| matrix_status(e, root))
}

/// Bytes that are held while it is computed. `root` is the folder of the store.
pub(crate) fn memory(rows: &MatrixRows, threads: usize, root: &Path) -> Result<u64, Status> {
    rows.memory(threads).map_err(|e| matrix_status(e, root))
}

/// Computes all and hands it over, in batches of about `bytes`; waits while the reader is behind, and ends
/// when it is gone.
pub(crate) fn send_all(
    rows: &MatrixRows,
    bytes: usize,
    threads: usize,
    to: &mpsc::Sender<RecordBatch>,
    root: &Path,
    cancel: &Cancel,
) -> Result<(), Status> {
    let mut send = |batch| match to.blocking_send(batch) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    rows.each(bytes as u64, threads, cancel, &mut send).map_err(|e| matrix_status(e, root))
}

/// A matrix that cannot be computed, for the client.
fn matrix_status(error: MatrixError, root: &Path) -> Status {
    match error {
        MatrixError::Query(QueryError::Open(error)) => status::open_status(&error),
        // The other errors of reading say what is wrong with the question.
        MatrixError::Query(QueryError::Read(error @ ReadError::Storage(_))) => status::read_status(&error),
        MatrixError::Query(error @ (QueryError::Arrow(_) | QueryError::Index(_))) if !error.is_damage() => {
            status::internal("the matrix cannot be computed", &error)
        }
        MatrixError::Query(error) => status::sql_status(&SqlError::from(error), root, None),
        MatrixError::Refused(why) => Status::resource_exhausted(why),
        error => status::internal("the matrix cannot be computed", &error),
    }
}

#[cfg(test)]
mod tests {
    use gstore_core::Cancelled;
    use gstore_store::{LookupError, OpenError};
    use tonic::Code;

    use super::*;

    #[test]
    fn what_is_wrong_with_the_question_is_told_apart_from_what_fails() {
        let shown = |error: QueryError| matrix_status(error.into(), Path::new("/srv/store"));
        let wrong = shown(QueryError::Spec("no /srv/store/x/y".to_owned()));
        assert_eq!((wrong.code(), wrong.message()), (Code::InvalidArgument, "no <store>/x/y"));
        assert_eq!(shown(Cancelled.into()).code(), Code::Cancelled);
        let unknown =
            LookupError::Unknown { what: "dataset", name: "x".to_owned(), nearest: None, known: Vec::new() };
        assert_eq!(shown(unknown.into()).code(), Code::NotFound);
        // It is the server's device.
        assert_eq!(shown(QueryError::Device("busy".into())).code(), Code::Internal);
        let failed = shown(OpenError::NotFound("/srv/store".to_owned()).into());
        assert_eq!(failed.code(), Code::Unavailable);
        assert!(!failed.message().contains('/'), "{failed}");
    }
}
