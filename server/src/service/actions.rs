//! `DoAction`: prepared statements, stopping, sessions, tags, and health of the server.

use std::sync::Arc;

use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any, ProstMessageExt,
};
use arrow_flight::{Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo};
use arrow_schema::Schema;
use gstore_sql::Description;
use gstore_sql::output::plain_schema;
use prost::Message;
use serde_json::json;
use tonic::Status;

use super::get::PLANNING;
use super::{AuthorizedRequest, tags};
use crate::answer::ask::check_transaction;
use crate::answer::stream::schema_bytes;
use crate::handle::{PinnedSnapshot, Question, QuestionHandle, Statement};
use crate::status;

/// The actions and what they do.
pub(super) const ACTIONS: &[(&str, &str)] = &[
    (
        "CreatePreparedStatement",
        "Prepares a statement; its handle needs no closing. Request and result as in Flight SQL",
    ),
    ("ClosePreparedStatement", "Ends a prepared statement. Request as in Flight SQL"),
    (
        "CancelQuery",
        "Stops the statements whose tickets a FlightInfo has. Request and result as in Flight SQL",
    ),
    (
        "CancelFlightInfo",
        "Stops the statements whose tickets a FlightInfo has. Request and result as in Flight",
    ),
    ("CloseSession", "Ends a session; the server keeps none"),
    ("health", "Reads the current snapshot and says its number, as JSON"),
    ("snapshots", "The snapshots of the store, newest first, as JSON"),
    ("tags", "The tags of the store, as JSON"),
    (
        "create_tag",
        "Names a snapshot and keeps it. The body is JSON: name; snapshot (a number or a tag, the newest without it); move, from another snapshot",
    ),
    ("delete_tag", "Removes a tag. The body is JSON: name"),
];

pub(super) async fn run(
    asking: &AuthorizedRequest,
    action: Action,
) -> Result<Vec<arrow_flight::Result>, Status> {
    let one = |body: Vec<u8>| Ok(vec![arrow_flight::Result { body: body.into() }]);
    match action.r#type.as_str() {
        "CreatePreparedStatement" => {
            let request: ActionCreatePreparedStatementRequest = unpacked(&action.body)?;
            check_transaction(request.transaction_id.as_deref())?;
            one(prepare(asking, request.query).await?.as_any().encode_to_vec())
        }
        "ClosePreparedStatement" => {
            let request: ActionClosePreparedStatementRequest = unpacked(&action.body)?;
            asking.core.signer.open(&request.prepared_statement_handle)?;
            Ok(Vec::new())
        }
        "CancelQuery" => {
            let request: ActionCancelQueryRequest = unpacked(&action.body)?;
            let info = FlightInfo::decode(request.info).map_err(|_| malformed())?;
            // 1 is cancelled, 3 not cancellable.
            let result = if cancel(asking, &info) { 1 } else { 3 };
            one(ActionCancelQueryResult { result }.as_any().encode_to_vec())
        }
        "CancelFlightInfo" => {
            let request = CancelFlightInfoRequest::decode(action.body).map_err(|_| malformed())?;
            let info = request.info.ok_or_else(malformed)?;
            let status = match cancel(asking, &info) {
                true => CancelStatus::Cancelled,
                false => CancelStatus::NotCancellable,
            };
            one(CancelFlightInfoResult::new(status).encode_to_vec())
        }
        // The message CloseSessionResult with its field 1, the status, at 1: closed.
        "CloseSession" => one(vec![0x08, 0x01]),
        "health" => {
            let held = asking.session(None).await?;
            let state = json!({
                "status": "serving",
                "snapshot": held.snapshot().number(),
                "running": asking.core.running.count(),
                "version": env!("CARGO_PKG_VERSION"),
            });
            one(state.to_string().into_bytes())
        }
        what @ "snapshots" => one(asking.recorded("list", what, history(asking)).await?),
        what @ "tags" => {
            let held = asking.recorded("list", what, asking.session(None)).await?;
            let tags: Vec<_> = held.snapshot().tags().iter().map(tags::tag_json).collect();
            one(serde_json::Value::from(tags).to_string().into_bytes())
        }
        "create_tag" => one(tags::create(asking, &action.body).await?),
        "delete_tag" => one(tags::delete(asking, &action.body).await?),
        other => {
            let names: Vec<&str> = ACTIONS.iter().map(|(name, _)| *name).collect();
            let (other, names) = (other.escape_debug(), names.join(", "));
            Err(Status::unimplemented(format!("there is no action `{other}`; there are {names}")))
        }
    }
}

/// The snapshots, newest first, as JSON.
async fn history(asking: &AuthorizedRequest) -> Result<Vec<u8>, Status> {
    let held = asking.session(None).await?;
    // Reads the root of each.
    let history = async move { held.snapshot().history().map_err(|e| status::open_status(&e)) };
    let history = asking.apart("reading the snapshots", history).await?;
    serde_json::to_vec(&history).map_err(|e| status::internal("the history cannot be sent", &e))
}

fn malformed() -> Status {
    Status::invalid_argument("the body of the action is not what Flight defines")
}

fn unpacked<M: ProstMessageExt>(body: &[u8]) -> Result<M, Status> {
    let any = Any::decode(body).map_err(|_| malformed())?;
    any.unpack().ok().flatten().ok_or_else(malformed)
}

/// A handle for a statement, with what it takes and gives.
async fn prepare(
    asking: &AuthorizedRequest,
    sql: String,
) -> Result<ActionCreatePreparedStatementResult, Status> {
    let described = asking.recorded("prepare", &sql, describe_statement(asking, &sql)).await?;
    // A statement sees the newest snapshot each time that it runs, unless one was named.
    let snapshot = match &asking.snapshot {
        Some(_) => Some(PinnedSnapshot::of(asking.session(None).await?.snapshot())),
        None => None,
    };
    let handle = QuestionHandle::new(snapshot, Question::of_sql(sql));
    let dataset_schema = match &described.schema {
        Some(schema) => schema_bytes(&plain_schema(schema))?,
        None => bytes::Bytes::new(),
    };
    Ok(ActionCreatePreparedStatementResult {
        prepared_statement_handle: asking.core.signer.sign(&handle).into(),
        dataset_schema,
        parameter_schema: schema_bytes(&described.parameters)?,
    })
}

/// What a statement takes and gives, whatever values it gets.
pub(super) async fn describe_statement(asking: &AuthorizedRequest, sql: &str) -> Result<Description, Status> {
    let (core, caller) = (Arc::clone(&asking.core), asking.caller.clone());
    let held = asking.session(None).await?;
    let whole = Statement { sql: sql.to_owned(), ..Statement::default() };
    let work = async move {
        // One without parameters is planned for its run as well.
        if let Ok(Ok(schema)) = held.columns(&whole, &caller).await {
            return Ok(Description { schema: Some(schema), parameters: Arc::new(Schema::empty()) });
        }
        held.session
            .describe(&whole.sql)
            .await
            .map_err(|e| status::sql_status(&e, core.root(), whole.written()))
    };
    asking.apart(PLANNING, work).await
}

/// Stops what runs for the tickets of an answer.
fn cancel(asking: &AuthorizedRequest, info: &FlightInfo) -> bool {
    let tickets = info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref());
    let stopped = tickets.filter(|ticket| asking.core.running.cancel(&asking.caller.id, &ticket.ticket));
    stopped.count() > 0
}
