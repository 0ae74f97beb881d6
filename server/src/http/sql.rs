//! `POST /sql`: a statement as an object of JSON, its rows as they come.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::Response;
use futures::StreamExt;
use gstore_sql::RowWindow;
use gstore_sql::output::Format;
use gstore_store::SnapshotName;
use serde::Deserialize;
use serde_json::Value;
use tonic::Status;

use super::encode::{self, BodyShape};
use super::reply;
use crate::access::Caller;
use crate::answer::{plain, rows};
use crate::audit::AuditRecord;
use crate::core::Core;
use crate::handle::{PinnedSnapshot, Question, QuestionHandle};
use crate::json::{Object, read_object};
use crate::listen::BusyGuard;
use crate::status;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
struct SqlRequestBody {
    sql: String,
    /// Values of `$1`, `$2`, ...
    #[serde(default)]
    parameters: Vec<Value>,
    /// Number or tag of a snapshot.
    snapshot: Option<Value>,
    format: Option<String>,
    /// Columns of the result by which its rows are ordered.
    #[serde(default)]
    order: Vec<Object<OrderColumn>>,
    #[serde(default)]
    skip: usize,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
struct OrderColumn {
    /// Its place, from 0.
    column: usize,
    #[serde(default)]
    descending: bool,
}

impl SqlRequestBody {
    fn window(&self) -> Option<RowWindow> {
        let order = self.order.iter().map(|Object(by)| (by.column, by.descending)).collect::<Vec<_>>();
        let whole = order.is_empty() && self.skip == 0 && self.limit.is_none();
        (!whole).then_some(RowWindow { order, skip: self.skip, fetch: self.limit })
    }

    fn shape(&self) -> Result<BodyShape, Status> {
        let word = self.format.as_deref().unwrap_or("json");
        Ok(match word.parse() {
            _ if word == "page" => BodyShape::Page,
            Ok(Format::Table | Format::Lines) | Err(_) => {
                let known = "json, csv, tsv, markdown, html, parquet, arrow and page";
                return Err(Status::invalid_argument(format!(
                    "the formats are {known}, not `{}`",
                    word.escape_debug()
                )));
            }
            Ok(format) => BodyShape::File(format),
        })
    }

    fn snapshot(&self) -> Result<Option<SnapshotName>, Status> {
        let name = match &self.snapshot {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(name)) => name.parse().ok(),
            Some(number) => number.as_u64().map(SnapshotName::Number),
        };
        name.map(Some).ok_or_else(|| Status::invalid_argument("a snapshot is a number or a tag"))
    }
}

/// Bytes of a refused request that are read before it is answered, and how long that may take.
const REFUSED_BYTES: usize = 64 << 10;
const REFUSED_PATIENCE: Duration = Duration::from_secs(1);

pub(super) async fn answer(State(core): State<Arc<Core>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let head = Request::from_parts(head, Body::empty());
    let admitted = admit(&core, &head).and_then(|admitted| check_size(&core, &body).map(|()| admitted));
    let answered = match admitted {
        Ok((caller, busy)) => answer_statement(&core, caller, busy, body).await,
        // A part of a larger body would not save the answer either.
        Err(status) if body.size_hint().lower() > REFUSED_BYTES as u64 => Err(status),
        Err(status) => {
            // HTTP/2 resets a stream whose request was not read, and clients may drop the answer with it.
            let _ = tokio::time::timeout(REFUSED_PATIENCE, to_bytes(body, REFUSED_BYTES)).await;
            Err(status)
        }
    };
    answered.unwrap_or_else(|status| reply::error(&status))
}

/// Who asks, if it may and does so in the right form.
fn admit(core: &Arc<Core>, head: &Request) -> Result<(Caller, Option<BusyGuard>), Status> {
    let admitted = super::caller(core, head)?;
    let content_type = head.headers().get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    // A browser sends this type to another site only if that allows it, which this one never does.
    let is_json = |ty: &[u8]| {
        let named = ty.split(|b| *b == b';').next();
        named.is_some_and(|ty| ty.trim_ascii().eq_ignore_ascii_case(b"application/json"))
    };
    match content_type.is_some_and(is_json) {
        true => Ok(admitted),
        false => Err(Status::invalid_argument("a statement is sent with the content type application/json")),
    }
}

/// Refuses a request that says that it is too large.
fn check_size(core: &Core, body: &Body) -> Result<(), Status> {
    match body.size_hint().lower() > core.limits.message_bytes as u64 {
        true => Err(too_large(core)),
        false => Ok(()),
    }
}

fn too_large(core: &Core) -> Status {
    Status::out_of_range(format!("a request has at most {} bytes", core.limits.message_bytes))
}

/// The bytes of a body, which may come without its length.
async fn whole_body(core: &Core, body: Body) -> Result<Vec<u8>, Status> {
    let mut parts = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(part) = parts.next().await {
        let broken = |_| Status::invalid_argument("the body of the request is malformed, or broke off");
        let part = part.map_err(broken)?;
        if bytes.len() + part.len() > core.limits.message_bytes {
            return Err(too_large(core));
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

async fn answer_statement(
    core: &Arc<Core>,
    caller: Caller,
    busy: Option<BusyGuard>,
    body: Body,
) -> Result<Response, Status> {
    let patience = core.limits.connections.reader;
    let whole = tokio::time::timeout(patience, whole_body(core, body)).await;
    let bytes = whole.map_err(|_| status::timed_out(patience))??;
    let form: SqlRequestBody = read_object("the request", &bytes)?;
    let mut record = AuditRecord::begin(&core.audit, "statement", &form.sql, &caller);
    let begun = begin(core, &caller, &form, &record).await;
    let (rows, shape) = begun.inspect_err(|status| record.ended(Err(status)))?;
    encode::response(core, rows, record, shape, busy).await
}

async fn begin(
    core: &Arc<Core>,
    caller: &Caller,
    form: &SqlRequestBody,
    record: &AuditRecord,
) -> Result<(rows::AnswerRows, BodyShape), Status> {
    let (shape, statement) = (form.shape()?, plain::statement(form.sql.clone(), &form.parameters)?);
    let snapshot = match form.snapshot()? {
        None => None,
        Some(SnapshotName::Number(number)) => Some(PinnedSnapshot::numbered(number)),
        Some(tag) => Some(PinnedSnapshot::of(core.session(Some(tag), caller).await?.snapshot())),
    };
    let handle = QuestionHandle::new(snapshot, Question::Statement(statement));
    let ticket = handle.nonce.to_le_bytes();
    let rows = rows::start(core, caller, handle, &ticket, record, form.window()).await?;
    Ok((rows, shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_strictly() {
        let read = |text: &str| serde_json::from_str::<SqlRequestBody>(text);
        let form = read(r#"{"sql": "SELECT $1", "parameters": [1], "snapshot": 3, "limit": 5}"#).unwrap();
        assert_eq!(form.snapshot().unwrap(), Some(SnapshotName::Number(3)));
        assert_eq!(form.window(), Some(RowWindow { order: vec![], skip: 0, fetch: Some(5) }));
        assert!(!plain::statement(form.sql.clone(), &form.parameters).unwrap().values.is_empty());
        assert!(read(r#"{"sql": "SELECT 1"}"#).unwrap().window().is_none());
        for bad in
            ["{}", r#"{"sql": 1}"#, r#"{"sql": "SELECT 1", "file": "x"}"#, r#"{"sql": "", "skip": -1}"#]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
        for format in ["table", "exe"] {
            let form = read(&format!(r#"{{"sql": "SELECT 1", "format": "{format}"}}"#)).unwrap();
            let refused = form.shape().unwrap_err();
            assert!(refused.message().contains("arrow and page, not"), "{refused}");
        }
    }
}
