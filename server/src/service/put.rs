//! `DoPut`: values for the parameters of prepared statements, and uploads. Statements that change something
//! are refused here.

use arrow_array::RecordBatch;
use arrow_flight::sql::{Any, Command, DoPutPreparedStatementResult};
use arrow_flight::{FlightData, PutResult};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use gstore_sql::{Description, Parameters};
use prost::Message;
use tonic::Status;

use super::AuthorizedRequest;
use super::actions;
use crate::handle::{Question, QuestionHandle, Statement};
use crate::put::Batches;
use crate::status;
use crate::values::write_values;

/// Most bytes of the values of a statement, with all that is sent around them.
const MAX_VALUES: usize = 16 << 20;

pub(super) async fn take_upload(
    asking: &AuthorizedRequest,
    mut messages: BoxStream<'static, Result<FlightData, Status>>,
) -> Result<PutResult, Status> {
    let wrong = || {
        Status::invalid_argument(
            "the stream begins neither with a command of Flight SQL nor with an upload as JSON",
        )
    };
    let patience = asking.core.limits.connections.reader;
    let first = tokio::time::timeout(patience, messages.try_next()).await;
    let first = first.map_err(|_| status::timed_out(patience))??.ok_or_else(wrong)?;
    let command =
        first.flight_descriptor.as_ref().map(|descriptor| descriptor.cmd.clone()).ok_or_else(wrong)?;
    if command.is_empty() {
        return Err(wrong());
    }
    let all = futures::stream::once(futures::future::ready(Ok(first))).chain(messages).boxed();
    if command.first() == Some(&b'{') {
        return crate::put::take(&asking.core, &asking.caller, &command, all).await;
    }
    let any = Any::decode(command).map_err(|_| wrong())?;
    match Command::try_from(any).map_err(|_| wrong())? {
        Command::CommandPreparedStatementQuery(query) => {
            let handle = asking.core.signer.open(&query.prepared_statement_handle)?;
            let what = sql_of(&handle);
            let bound = asking.recorded("bind", &what, bind(asking, handle, all)).await?;
            let result = DoPutPreparedStatementResult { prepared_statement_handle: Some(bound.into()) };
            Ok(PutResult { app_metadata: result.encode_to_vec().into() })
        }
        Command::CommandStatementUpdate(update) => Err(changes(asking, update.query).await),
        Command::CommandPreparedStatementUpdate(update) => {
            let handle = asking.core.signer.open(&update.prepared_statement_handle)?;
            Err(changes(asking, sql_of(&handle)).await)
        }
        Command::CommandStatementIngest(_) => Err(Status::unimplemented(
            "tables are not written by Flight SQL; plain Flight adds samples to a dataset, and `gstore add` on the server data files",
        )),
        Command::Unknown(_) => Err(wrong()),
        other => {
            let what = other.type_url().rsplit('.').next().unwrap_or_default().escape_debug().to_string();
            Err(Status::unimplemented(format!("nothing is put by {what}")))
        }
    }
}

/// The statement of a handle; empty where it asks for something else.
fn sql_of(handle: &QuestionHandle) -> String {
    match &handle.question {
        Some(Question::Statement(statement)) => statement.sql.clone(),
        _ => String::new(),
    }
}

/// The handle with the values of the only row that is sent.
async fn bind(
    asking: &AuthorizedRequest,
    handle: QuestionHandle,
    messages: BoxStream<'static, Result<FlightData, Status>>,
) -> Result<Vec<u8>, Status> {
    let Some(Question::Statement(statement)) = handle.question else {
        return Err(Status::invalid_argument("only statements have parameters"));
    };
    let patience = asking.core.limits.connections.reader;
    let row = tokio::time::timeout(patience, only_row(messages))
        .await
        .map_err(|_| status::timed_out(patience))??;
    let values = match row {
        None => Vec::new(),
        Some(row) => value_bytes(&row)?,
    };
    let bound = QuestionHandle::new(handle.snapshot, Question::Statement(Statement { values, ..statement }));
    Ok(asking.core.signer.sign(&bound))
}

/// A row of values as a handle keeps it, if a statement can have them.
fn value_bytes(row: &RecordBatch) -> Result<Vec<u8>, Status> {
    // Arrays that are sound may still be none that the engine or the writer is ready for.
    let kept = gstore_store::caught(|| {
        Parameters::of_row(row).map_err(|e| Status::invalid_argument(e.to_string()))?;
        write_values(row)
    });
    kept.unwrap_or_else(|| Err(Status::invalid_argument("values that no statement can have")))
}

/// The only row that is sent; none where no batch has one.
async fn only_row(
    messages: BoxStream<'static, Result<FlightData, Status>>,
) -> Result<Option<RecordBatch>, Status> {
    let mut bytes = 0usize;
    let mut batches = Batches::of(messages.map(move |message| {
        let message = message?;
        bytes = bytes.saturating_add(message.data_header.len()).saturating_add(message.data_body.len());
        match bytes > MAX_VALUES {
            true => Err(Status::invalid_argument(format!(
                "the values of a statement have at most {} MiB",
                MAX_VALUES >> 20
            ))),
            false => Ok(message),
        }
    }));
    let mut row = None;
    while let Some(batch) = batches.next().await? {
        if batch.num_rows() == 0 {
            continue;
        }
        if row.is_some() || batch.num_rows() > 1 {
            return Err(Status::invalid_argument(
                "a statement takes one row of values; run it once for each row",
            ));
        }
        row = Some(batch);
    }
    Ok(row)
}

/// Why a statement that is to change something is refused, with the command to use.
async fn changes(asking: &AuthorizedRequest, sql: String) -> Status {
    match actions::describe_statement(asking, &sql).await {
        Err(status) => status,
        Ok(described) if described.parameters.fields().is_empty() => {
            Status::invalid_argument("this statement changes nothing; send it as a query")
        }
        // To drivers, what has no columns is no query.
        Ok(Description { schema: None, .. }) => Status::invalid_argument(
            "this statement changes nothing, and is a query whose columns are known only with the values of its parameters: write those that stand in the arguments of functions in FROM into it",
        ),
        // Drivers send several rows so, for statements of either kind.
        Ok(_) => Status::invalid_argument(
            "this statement changes nothing; send it as a query, once for each row of values: several rows of parameters, as of executemany, are not supported",
        ),
    }
}
