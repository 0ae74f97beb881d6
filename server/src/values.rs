//! Values of a statement's parameters, as its handle has them: one row as a stream of Arrow.

use arrow_array::RecordBatch;
use gstore_sql::Parameters;
use tonic::Status;

use crate::handle::Statement;
use crate::status;

/// The values that a statement's handle has.
pub(crate) fn read_values(statement: &Statement) -> Result<Parameters, Status> {
    if statement.values.is_empty() {
        return Ok(Parameters::default());
    }
    let wrong =
        |error: &dyn std::fmt::Display| status::internal("the parameters of a handle cannot be read", error);
    let mut reader =
        arrow_ipc::reader::StreamReader::try_new(statement.values.as_slice(), None).map_err(|e| wrong(&e))?;
    match reader.next() {
        Some(Ok(batch)) => Parameters::of_row(&batch).map_err(|e| wrong(&e)),
        Some(Err(error)) => Err(wrong(&error)),
        None => Ok(Parameters::default()),
    }
}

/// Values as a handle keeps them.
pub(crate) fn write_values(batch: &RecordBatch) -> Result<Vec<u8>, Status> {
    let mut bytes = Vec::new();
    let written = arrow_ipc::writer::StreamWriter::try_new(&mut bytes, &batch.schema())
        .and_then(|mut writer| writer.write(batch).and_then(|()| writer.finish()));
    written.map_err(|e| Status::invalid_argument(format!("the parameters cannot be kept: {e}")))?;
    Ok(bytes)
}
