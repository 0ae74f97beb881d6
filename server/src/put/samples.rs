//! Samples of an upload: a copy of the stream, registered as a data file is.

use std::io::{BufWriter, Write};

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use gstore::{AddClient, AddOutcome, AddReport, AddRequest, JobContext, UPLOAD};
use gstore_core::Silent;
use gstore_store::IfDeleted;
use serde_json::{Map, Value, json};
use tonic::Status;

use super::error;
use super::form::{SampleForm, pairs};
use super::incoming::UploadEvents;
use super::spool::Spool;
use crate::core::Core;

pub(super) fn add(
    core: &Core,
    form: &SampleForm,
    key: Option<&str>,
    who: &str,
    mut incoming: UploadEvents,
) -> Result<Map<String, Value>, Status> {
    let store = &core.sessions.store;
    let command = format!("{UPLOAD}samples of {} (token {who})", form.dataset);
    let request = request(form, command.clone())?;
    let spool = Spool::create(&store.uploads_folder()).map_err(|e| error::io_status(&e))?;
    copy(&mut incoming, &spool)?;
    let request = AddRequest { data: vec![spool.path.clone()], ..request };
    let client = AddClient { key: key.map(str::to_owned), source: format!("token {who}") };
    let mut progress = Silent;
    let mut work =
        JobContext { threads: 1, command: &command, progress: &mut progress, cancel: &incoming.cancel };
    let added = gstore::add_of(store, &request, &client, &mut work);
    match added.map_err(|e| error::ingest_status(&e, &spool.path, core.root()))? {
        AddOutcome::Repeated(note) => {
            let mut again = note.result;
            again.insert("dataset".to_owned(), json!(form.dataset));
            again.insert("repeated".to_owned(), json!(true));
            // What the store does not keep of an upload is there, and not known any more.
            for name in report_fields(&form.dataset, &AddReport::default()).keys() {
                again.entry(name.as_str()).or_insert(Value::Null);
            }
            Ok(again)
        }
        AddOutcome::Done(report) => Ok(report_fields(&form.dataset, &report)),
    }
}

fn report_fields(dataset: &str, report: &AddReport) -> Map<String, Value> {
    let told = serde_json::to_value(report).and_then(serde_json::from_value);
    let mut told: Map<String, Value> = told.unwrap_or_default();
    told.insert("dataset".to_owned(), json!(dataset));
    told.insert("repeated".to_owned(), json!(false));
    told
}

fn request(form: &SampleForm, command: String) -> Result<AddRequest, Status> {
    Ok(AddRequest {
        fields: pairs(&form.fields, '=')?,
        columns: pairs(&form.columns, ':')?,
        if_changed: form.if_changed,
        duplicates: form.duplicates,
        skip_bad: form.skip_bad,
        if_deleted: match form.restore_deleted {
            true => IfDeleted::Restore,
            false => IfDeleted::LeaveOut,
        },
        command,
        ..AddRequest::new(form.dataset.clone(), [])
    })
}

/// Writes the stream to a file, as it comes.
fn copy(incoming: &mut UploadEvents, spool: &Spool) -> Result<(), Status> {
    let mut copy = None;
    while let Some(batch) = incoming.next()? {
        keep(&mut copy, || BufWriter::new(&spool.file), &batch)?;
    }
    let Some(writer) = copy else { return Err(Status::invalid_argument("the upload has no samples")) };
    let mut file = writer.into_inner().map_err(failed)?;
    file.flush().map_err(|e| error::io_status(&e))
}

/// Adds a batch to a copy, which begins with its first one.
pub(super) fn keep<W: Write>(
    copy: &mut Option<StreamWriter<W>>,
    begin: impl FnOnce() -> W,
    batch: &RecordBatch,
) -> Result<(), Status> {
    // Arrays that are sound may still be none that the writer is ready for.
    let written = gstore_store::caught(|| -> Result<(), ArrowError> {
        let mut writer = match copy.take() {
            Some(writer) => writer,
            None => StreamWriter::try_new(begin(), &batch.schema())?,
        };
        writer.write(batch)?;
        *copy = Some(writer);
        Ok(())
    });
    written.unwrap_or_else(|| Err(ArrowError::IpcError("a malformed batch".to_owned()))).map_err(failed)
}

fn failed(error: ArrowError) -> Status {
    match error {
        ArrowError::IoError(_, error) => error::io_status(&error),
        error => Status::invalid_argument(format!("the stream cannot be kept: {error}")),
    }
}
