//! Encoding of rows for HTTP: the bytes of a format, one piece after the other.
//!
//! Invariants
//! - two pieces wait, and what they are cut from: at most a batch, or a row group of Parquet; a reader that
//!   is behind holds its statement up, and one that goes away ends it
//! - the turn of the statement is given back, and its end noted, when the last piece was taken
//! - a result that breaks off is never taken for a shorter one: it is an error object where nothing was sent
//!   yet; after that the body ends with an error, or, for the page, with a line that has it

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use gstore_core::locked;
use gstore_sql::SqlError;
use gstore_sql::output::{Format, ResultWriter, TableStyle, unique_names};
use serde_json::json;
use tokio::sync::mpsc;
use tonic::Status;

use super::reply;
use crate::answer::rows::AnswerRows;
use crate::audit::AuditRecord;
use crate::core::Core;
use crate::listen::BusyGuard;
use crate::status;
use crate::wire::parts;

/// How rows are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyShape {
    /// As a file of this format.
    File(Format),
    /// As the page reads them: a line with the columns, rows as lines of JSON without a changed number, and a
    /// line with the end.
    Page,
}

impl BodyShape {
    fn content_type(self) -> &'static str {
        match self {
            Self::File(Format::Csv) => "text/csv; charset=utf-8",
            Self::File(Format::Tsv) => "text/tab-separated-values; charset=utf-8",
            Self::File(Format::Markdown) => "text/markdown; charset=utf-8",
            Self::File(Format::Html) => "text/html; charset=utf-8",
            Self::File(Format::Parquet) => "application/vnd.apache.parquet",
            Self::File(Format::Arrow) => "application/vnd.apache.arrow.file",
            Self::File(Format::Json | Format::Table | Format::Lines) | Self::Page => "application/x-ndjson",
        }
    }
}

/// Bytes of a row group of Parquet: it is in memory once while it is made and once while it is sent.
const ROW_GROUP: usize = 8 << 20;

type BodySender = mpsc::Sender<Result<Bytes, Status>>;

/// The rows as an answer, once the first piece of it is there.
///
/// # Errors
/// Why there is none.
pub(super) async fn response(
    core: &Arc<Core>,
    rows: AnswerRows,
    record: AuditRecord,
    shape: BodyShape,
    busy: Option<BusyGuard>,
) -> Result<Response, Status> {
    let id = record.id();
    let (send, mut receive) = mpsc::channel(2);
    let shared = Arc::clone(core);
    core.workers.spawn(async move {
        pump(&shared, rows, record, shape, send).await;
        drop(busy);
    });
    let first = receive.recv().await;
    if let Some(Err(status)) = first {
        // Who has the error finds the request ended.
        while receive.recv().await.is_some() {}
        return Err(status);
    }
    let others = futures::stream::unfold(receive, async |mut pieces| {
        let piece = pieces.recv().await?;
        if piece.is_err() {
            // A connection that is closed by a body which fails at once sends nothing of what it holds.
            tokio::task::yield_now().await;
        }
        Some((piece, pieces))
    });
    let body = Body::from_stream(futures::stream::iter(first).chain(others));
    let mut response = reply::body_of_type(StatusCode::OK, shape.content_type(), body);
    response.headers_mut().insert(HeaderName::from_static("gstore-statement"), HeaderValue::from(id));
    Ok(response)
}

/// Why not all was sent.
enum SendFailure {
    /// No client reads it any more.
    Gone,
    Failed(Status),
}

/// Sends all, and notes how it ended; one that is not read to its end was dropped by the client.
async fn pump(core: &Core, mut rows: AnswerRows, mut record: AuditRecord, shape: BodyShape, to: BodySender) {
    let reader = to.clone();
    let ended = tokio::select! {
        ended = send_all(core, &mut rows, &mut record, shape, &to) => ended,
        () = reader.closed() => Err(SendFailure::Gone),
    };
    let last = match ended {
        Ok(()) => {
            record.ended(Ok(()));
            rows.finish().await;
            None
        }
        Err(SendFailure::Gone) => None,
        Err(SendFailure::Failed(status)) => {
            record.ended(Err(&status));
            // The statement ends with its rows, whenever the client reads why.
            drop(rows);
            Some(match shape {
                BodyShape::Page => Ok(line(&json!({"error": reply::object(&status)}))),
                BodyShape::File(_) => Err(status),
            })
        }
    };
    // Before the body ends, which it does with the last sender: who has read it finds the request ended.
    drop(record);
    if let Some(last) = last {
        let _ = to.send(last).await;
    }
}

async fn send_all(
    core: &Core,
    rows: &mut AnswerRows,
    record: &mut AuditRecord,
    shape: BodyShape,
    to: &BodySender,
) -> Result<(), SendFailure> {
    let failed = |error: SqlError| SendFailure::Failed(status::sql_status(&error, core.root(), None));
    let buffer = SharedBuffer::default();
    // The page shows the columns while the statement runs. The header of a file waits for the first rows:
    // where these fail, the answer is an error object.
    if shape == BodyShape::Page {
        buffer.add(&columns(rows, record));
        hand_over(core, rows, &buffer, record, to).await?;
    }
    let mut writer = match shape {
        // The numbers of a browser are doubles.
        BodyShape::Page => ResultWriter::exact_json(&rows.schema, buffer.clone()),
        BodyShape::File(format) => {
            let style = TableStyle::default();
            ResultWriter::in_row_groups(ROW_GROUP, format, &rows.schema, buffer.clone(), style)
                .map_err(failed)?
        }
    };
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(SendFailure::Failed)?;
        record.rows(batch.num_rows());
        for part in parts(&batch, core.limits.batch_bytes) {
            writer.write(&part).map_err(failed)?;
            hand_over(core, rows, &buffer, record, to).await?;
        }
    }
    let count = writer.finish().map_err(failed)?;
    if shape == BodyShape::Page {
        let notes = rows.notes.as_ref().map(|notes| notes.get());
        buffer.add(&line(&json!({"rows": count, "notes": notes})));
    }
    hand_over(core, rows, &buffer, record, to).await?;
    // There is room for all again: the body has taken them.
    let taken = rows.until_taken(to.reserve_many(to.max_capacity())).await;
    taken.map_err(SendFailure::Failed)?.map(|_| ()).map_err(|_| SendFailure::Gone)
}

/// The columns, before the rows.
fn columns(rows: &AnswerRows, record: &AuditRecord) -> Bytes {
    let schema = unique_names(&rows.schema);
    let columns =
        schema.fields().iter().map(|f| json!({"name": f.name(), "type": f.data_type().to_string()}));
    line(&json!({"columns": columns.collect::<Vec<_>>(), "statement": record.id()}))
}

fn line(value: &serde_json::Value) -> Bytes {
    format!("{value}\n").into()
}

/// Sends what was written so far, in pieces.
async fn hand_over(
    core: &Core,
    rows: &mut AnswerRows,
    buffer: &SharedBuffer,
    record: &mut AuditRecord,
    to: &BodySender,
) -> Result<(), SendFailure> {
    let mut bytes = Bytes::from(buffer.take());
    record.bytes(bytes.len(), core.limits.result_bytes).map_err(SendFailure::Failed)?;
    while !bytes.is_empty() {
        let piece = bytes.split_to(bytes.len().min(core.limits.batch_bytes.max(1)));
        let taken = rows.until_taken(to.send(Ok(piece))).await;
        taken.map_err(SendFailure::Failed)?.map_err(|_| SendFailure::Gone)?;
    }
    Ok(())
}

/// What a writer has written and what is not taken yet.
#[derive(Clone, Default)]
struct SharedBuffer(Arc<Mutex<Vec<u8>>>);

impl SharedBuffer {
    fn add(&self, bytes: &[u8]) {
        locked(&self.0).extend_from_slice(bytes);
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *locked(&self.0))
    }
}

impl Write for SharedBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
