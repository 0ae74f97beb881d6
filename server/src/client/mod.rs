//! Client of a server: statements go to it, rows come as from a local session.
//!
//! Invariants
//! - errors have the words of the server and the kind that they would have here, so that a caller ends alike
//! - rows come as they are asked for; nothing is held whole

mod connect;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any,
    CommandPreparedStatementQuery, CommandStatementQuery, DoPutPreparedStatementResult, ProstMessageExt,
};
use arrow_flight::{Action, FlightData, FlightDescriptor, FlightInfo, IpcMessage, Ticket};
use arrow_schema::{Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt};
use gstore_core::{Cancel, Remedy, locked, try_threads};
use gstore_sql::{Notes, Parameters, SqlError, SqlErrorKind};
use prost::Message;
use tokio::runtime::{Builder, Runtime};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

pub use connect::RemoteOptions;

use crate::service::{NOTES, SNAPSHOT};

/// Bytes of a thread's stack, as the standard library has it.
const STACK: usize = 2 << 20;
/// How long a raised flag may go unnoticed.
const GLANCE: Duration = Duration::from_millis(50);

/// A connection to a server.
pub struct Remote {
    client: FlightServiceClient<Channel>,
    headers: MetadataMap,
    tls: bool,
    runtime: Runtime,
}

/// The rows of a statement, as they come. Dropping it ends the statement.
pub struct RemoteRows<'a> {
    remote: &'a Remote,
    cancel: &'a Cancel,
    tickets: VecDeque<Ticket>,
    stream: Option<FlightDataDecoder>,
    schema: SchemaRef,
    notes: Arc<Mutex<Notes>>,
    over: bool,
}

impl Remote {
    /// Connects to a server. Nothing is asked yet.
    ///
    /// # Errors
    /// An invalid address and options that do not fit it, of the kind [`SqlErrorKind::Invalid`]; a
    /// certificate that is not trusted, and no server there.
    pub fn connect(options: &RemoteOptions) -> Result<Self, SqlError> {
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(1).thread_stack_size(STACK).enable_all();
        let runtime = try_threads(1, STACK)
            .and_then(|()| runtime.build())
            .map_err(|error| failed(error.to_string()))?;
        let (channel, tls) = runtime.block_on(connect::channel(options))?;
        let client = FlightServiceClient::new(channel)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        let mut headers = MetadataMap::new();
        headers.insert(NOTES, AsciiMetadataValue::from_static("json"));
        if let Some(token) = &options.token {
            let value: Result<AsciiMetadataValue, _> = format!("Bearer {token}").parse();
            headers.insert(
                "authorization",
                value.map_err(|_| failed("the token has characters that no token has".to_owned()))?,
            );
        }
        if let Some(snapshot) = &options.snapshot {
            let value: Result<AsciiMetadataValue, _> = snapshot.parse();
            headers
                .insert(SNAPSHOT, value.map_err(|_| failed(format!("there is no snapshot `{snapshot}`")))?);
        }
        Ok(Self { client, headers, tls, runtime })
    }

    /// Asks of this snapshot from now on.
    pub fn pin(&mut self, snapshot: u64) {
        self.headers.insert(SNAPSHOT, AsciiMetadataValue::from(snapshot));
    }

    /// Starts one statement. Raising `cancel` ends it and its rows with an error of the kind
    /// [`SqlErrorKind::Cancelled`].
    ///
    /// # Errors
    /// What the server says of the statement.
    pub fn run<'a>(
        &'a self,
        sql: &str,
        values: &Parameters,
        cancel: &'a Cancel,
    ) -> Result<RemoteRows<'a>, SqlError> {
        let info = self.wait(cancel, self.ask(sql, values))??;
        let schema = info
            .clone()
            .try_decode_schema()
            .map_err(|e| failed(format!("the columns cannot be decoded: {e}")))?;
        let tickets = info.endpoint.into_iter().filter_map(|endpoint| endpoint.ticket).collect();
        let mut rows = RemoteRows {
            remote: self,
            cancel,
            tickets,
            stream: None,
            schema: schema.into(),
            notes: Arc::default(),
            over: false,
        };
        // Begun here, so that what fails before the first rows fails here.
        rows.next_stream()?;
        Ok(rows)
    }

    /// Describes the answer of a statement.
    async fn ask(&self, sql: &str, values: &Parameters) -> Result<FlightInfo, SqlError> {
        let command = match values.is_empty() {
            true => CommandStatementQuery { query: sql.to_owned(), transaction_id: None }.as_any(),
            false => {
                let prepared_statement_handle = self.bound(sql, values).await?;
                CommandPreparedStatementQuery { prepared_statement_handle }.as_any()
            }
        };
        let descriptor = FlightDescriptor::new_cmd(command.encode_to_vec());
        let info = self.client.clone().get_flight_info(self.request(descriptor)).await;
        Ok(info.map_err(|s| self.error(&s))?.into_inner())
    }

    /// A handle of the statement with its values.
    async fn bound(&self, sql: &str, values: &Parameters) -> Result<bytes::Bytes, SqlError> {
        let mut client = self.client.clone();
        let odd = |what: &str| failed(format!("the server's {what} cannot be decoded"));
        let body = ActionCreatePreparedStatementRequest { query: sql.to_owned(), transaction_id: None };
        let action = Action::new("CreatePreparedStatement", body.as_any().encode_to_vec());
        let results = client.do_action(self.request(action)).await.map_err(|s| self.error(&s))?;
        let result = results.into_inner().message().await.map_err(|s| self.error(&s))?;
        let result = result.ok_or_else(|| odd("prepared statement"))?;
        let prepared: Option<ActionCreatePreparedStatementResult> =
            Any::decode(result.body).ok().and_then(|any| any.unpack().ok().flatten());
        let prepared = prepared.ok_or_else(|| odd("prepared statement"))?;
        let parameters = Schema::try_from(IpcMessage(prepared.parameter_schema));
        let parameters = parameters.map_err(|_| odd("list of parameters"))?;
        let names: Vec<String> = parameters.fields().iter().map(|field| field.name().clone()).collect();
        let row = values.to_row(&names)?;
        let handle = prepared.prepared_statement_handle;
        let command = CommandPreparedStatementQuery { prepared_statement_handle: handle.clone() };
        let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
        let messages = FlightDataEncoderBuilder::new()
            .with_schema(row.schema())
            .with_flight_descriptor(Some(descriptor))
            .build(futures::stream::iter([Ok(row)]))
            .try_collect::<Vec<_>>()
            .await
            .map_err(|e| failed(format!("the parameters cannot be sent: {e}")))?;
        let put =
            client.do_put(self.request(futures::stream::iter(messages))).await.map_err(|s| self.error(&s))?;
        let put = put.into_inner().message().await.map_err(|s| self.error(&s))?;
        let put = put.and_then(|put| DoPutPreparedStatementResult::decode(put.app_metadata).ok());
        put.and_then(|put| put.prepared_statement_handle).ok_or_else(|| odd("bound statement"))
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        request
    }

    /// What `work` gives, or an error soon after the flag is raised.
    fn wait<T>(&self, cancel: &Cancel, work: impl Future<Output = T>) -> Result<T, SqlError> {
        self.runtime.block_on(async {
            let raised = async {
                while !cancel.is_raised() {
                    tokio::time::sleep(GLANCE).await;
                }
            };
            tokio::select! {
                biased;
                () = raised => Err(SqlError::new(SqlErrorKind::Cancelled, "the query was cancelled".into())),
                done = work => Ok(done),
            }
        })
    }

    fn flight_error(&self, error: FlightError) -> SqlError {
        match error {
            FlightError::Tonic(status) => self.error(&status),
            error => failed(format!("the answer cannot be decoded: {error}")),
        }
    }

    /// What the server says, or happened to the connection, as an error of a statement here.
    fn error(&self, status: &Status) -> SqlError {
        if connect::is_of_the_connection(status) {
            let cause = connect::cause(status);
            return failed(connect::broken_connection(status.message(), &cause, self.tls));
        }
        let kind = match status.code() {
            Code::InvalidArgument => SqlErrorKind::Invalid,
            Code::NotFound => SqlErrorKind::Unknown,
            Code::DataLoss => SqlErrorKind::Damaged,
            Code::ResourceExhausted => SqlErrorKind::Memory,
            Code::Cancelled => SqlErrorKind::Cancelled,
            _ => SqlErrorKind::Failed,
        };
        let message = match status.message() {
            "" => format!("the server answers with the code {:?}", status.code()),
            message if connect::is_of_a_page(message) => connect::OF_A_PAGE.to_owned(),
            message if status.code() == Code::Unauthenticated => {
                format!("{message}; a token is given with {} or GSTORE_TOKEN", Remedy::Option("token", ""))
            }
            message => message.to_owned(),
        };
        SqlError::shown(kind, &message)
    }
}

impl RemoteRows<'_> {
    /// Columns of every batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Guarantee, exclusions and counts; complete once the rows have ended.
    pub fn notes(&self) -> Notes {
        locked(&self.notes).clone()
    }

    /// Begins the next part of the answer.
    fn next_stream(&mut self) -> Result<(), SqlError> {
        let Some(ticket) = self.tickets.pop_front() else {
            self.over = true;
            return Ok(());
        };
        let mut client = self.remote.client.clone();
        let request = self.remote.request(ticket);
        let stream =
            self.remote.wait(self.cancel, client.do_get(request))?.map_err(|s| self.remote.error(&s))?;
        let notes = Arc::clone(&self.notes);
        let messages = stream
            .into_inner()
            .map_err(|status| FlightError::Tonic(Box::new(status)))
            .try_filter_map(move |message| std::future::ready(Ok(without_notes(message, &notes))));
        self.stream = Some(FlightDataDecoder::new(messages));
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        while let Some(stream) = &mut self.stream {
            let message = self.remote.wait(self.cancel, stream.next())?;
            match message.transpose().map_err(|error| self.remote.flight_error(error))? {
                Some(message) => match message.payload {
                    DecodedPayload::RecordBatch(batch) if batch.num_rows() > 0 => return Ok(Some(batch)),
                    _ => {}
                },
                None => {
                    self.stream = None;
                    self.next_stream()?;
                }
            }
        }
        Ok(None)
    }
}

impl Iterator for RemoteRows<'_> {
    type Item = Result<RecordBatch, SqlError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.advance().transpose();
        self.over |= !matches!(next, Some(Ok(_)));
        next
    }
}

/// A message with rows or columns; what is noted of them comes in messages that have nothing else, which
/// a decoder does not take.
fn without_notes(message: FlightData, notes: &Mutex<Notes>) -> Option<FlightData> {
    if !message.data_header.is_empty() {
        return Some(message);
    }
    let noted: Notes = serde_json::from_slice(&message.app_metadata).unwrap_or_default();
    locked(notes).influence.extend(noted.influence);
    None
}

fn failed(message: String) -> SqlError {
    SqlError::new(SqlErrorKind::Failed, message)
}
