//! Requests as the protocol has them, without the help of a driver.

use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any,
    CommandPreparedStatementQuery, CommandStatementQuery, DoPutPreparedStatementResult, ProstMessageExt,
};
use arrow_flight::{Action, Criteria, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, Ticket};
use arrow_ipc::writer::IpcWriteOptions;
use arrow_schema::Schema;
use futures::TryStreamExt;
use prost::Message;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use crate::Server;

/// Asks for rows without an end.
pub const ENDLESS: &str = "SELECT a.range FROM range(1000000) a, range(1000000) b";

/// A connection with a token.
#[derive(Clone)]
pub struct Client {
    pub inner: FlightServiceClient<Channel>,
    pub headers: Vec<(&'static str, String)>,
}

pub type Answer = Result<(Schema, Vec<RecordBatch>), Status>;

impl Client {
    pub async fn of(server: &Server) -> Self {
        Self::with(server, &server.token).await
    }

    pub async fn with(server: &Server, token: &str) -> Self {
        let inner = FlightServiceClient::new(channel(server).await);
        Self { inner, headers: vec![("authorization", format!("Bearer {token}"))] }
    }

    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for (name, value) in &self.headers {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        request
    }

    pub async fn info(&self, descriptor: FlightDescriptor) -> Result<FlightInfo, Status> {
        Ok(self.inner.clone().get_flight_info(self.request(descriptor)).await?.into_inner())
    }

    pub async fn stream(&self, ticket: Ticket) -> Result<Streaming<FlightData>, Status> {
        Ok(self.inner.clone().do_get(self.request(ticket)).await?.into_inner())
    }

    /// The rows of a ticket with the schema of the stream.
    pub async fn get(&self, ticket: Ticket) -> Answer {
        let messages = self.stream(ticket).await?.map_err(|status| FlightError::Tonic(Box::new(status)));
        let mut stream = FlightRecordBatchStream::new_from_flight_data(messages);
        let batches = (&mut stream).try_collect().await?;
        let schema = stream.schema().map(|schema| schema.as_ref().clone()).expect("a schema comes first");
        Ok((schema, batches))
    }

    /// The rows of all parts; the schema that was told is the one that comes.
    pub async fn rows(&self, descriptor: FlightDescriptor) -> Answer {
        let info = self.info(descriptor).await?;
        let told = info.clone().try_decode_schema().expect("a schema is told");
        assert!(!info.endpoint.is_empty());
        let mut all = Vec::new();
        for endpoint in info.endpoint {
            assert!(endpoint.location.is_empty(), "the same server");
            let (schema, batches) = self.get(endpoint.ticket.expect("a ticket")).await?;
            assert_eq!(schema, told);
            all.extend(batches.into_iter().filter(|b| b.num_rows() > 0));
        }
        Ok((told, all))
    }

    pub async fn sql(&self, sql: &str) -> Answer {
        self.rows(statement(sql)).await
    }

    /// What a statement is refused with, and what its preparation is.
    pub async fn refused(&self, sql: &str) -> [Status; 2] {
        [self.sql(sql).await.expect_err(sql), self.prepare(sql).await.expect_err(sql)]
    }

    pub async fn action(&self, kind: &str, body: Vec<u8>) -> Result<Vec<bytes::Bytes>, Status> {
        let results = self.inner.clone().do_action(self.request(Action::new(kind, body))).await?;
        results.into_inner().map_ok(|result| result.body).try_collect().await
    }

    pub async fn prepare(&self, sql: &str) -> Result<ActionCreatePreparedStatementResult, Status> {
        let request = ActionCreatePreparedStatementRequest { query: sql.to_owned(), transaction_id: None };
        let results = self.action("CreatePreparedStatement", request.as_any().encode_to_vec()).await?;
        Ok(Any::decode(results[0].clone()).unwrap().unpack().unwrap().expect("a prepared statement"))
    }

    /// Binds a row of values, and gives the handle with them.
    pub async fn bind(&self, handle: bytes::Bytes, row: RecordBatch) -> Result<bytes::Bytes, Status> {
        self.bind_as(handle, row, IpcWriteOptions::default()).await
    }

    pub async fn bind_as(
        &self,
        handle: bytes::Bytes,
        row: RecordBatch,
        options: IpcWriteOptions,
    ) -> Result<bytes::Bytes, Status> {
        let descriptor = command(&CommandPreparedStatementQuery { prepared_statement_handle: handle });
        let messages = messages(descriptor, vec![row], options).await;
        let put = self.inner.clone().do_put(self.request(futures::stream::iter(messages))).await?;
        let put = put.into_inner().message().await?.expect("a result");
        let result = DoPutPreparedStatementResult::decode(put.app_metadata).unwrap();
        Ok(result.prepared_statement_handle.expect("a new handle"))
    }

    pub async fn run_prepared(&self, handle: bytes::Bytes) -> Answer {
        self.rows(command(&CommandPreparedStatementQuery { prepared_statement_handle: handle })).await
    }

    /// The paths of the flights that criteria list.
    pub async fn flights(&self, criteria: &str) -> Vec<String> {
        let request = self.request(Criteria { expression: criteria.as_bytes().to_vec().into() });
        let infos = self.inner.clone().list_flights(request).await.unwrap().into_inner();
        let infos: Vec<_> = infos.try_collect().await.unwrap();
        infos.into_iter().map(|info| info.flight_descriptor.unwrap().path.join("/")).collect()
    }

    /// The answer to a statement, as it comes.
    pub async fn begun(&self, sql: &str) -> Streaming<FlightData> {
        let info = self.info(statement(sql)).await.unwrap();
        self.stream(info.endpoint[0].ticket.clone().unwrap()).await.unwrap()
    }

    pub async fn until_none_runs(&self) {
        let begun = Instant::now();
        while self.running().await > 0 {
            assert!(begun.elapsed() < Duration::from_secs(120), "a statement goes on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Statements that run, as the server counts them.
    pub async fn running(&self) -> u64 {
        let state = self.action("health", Vec::new()).await.unwrap();
        let state: serde_json::Value = serde_json::from_slice(&state[0]).unwrap();
        state["running"].as_u64().unwrap()
    }
}

/// A connection without a token.
pub async fn channel(server: &Server) -> Channel {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    endpoint.connect().await.unwrap()
}

pub fn command(message: &impl ProstMessageExt) -> FlightDescriptor {
    FlightDescriptor::new_cmd(message.as_any().encode_to_vec())
}

pub fn statement(sql: &str) -> FlightDescriptor {
    command(&CommandStatementQuery { query: sql.to_owned(), transaction_id: None })
}

/// Batches as they are put.
pub async fn messages(
    descriptor: FlightDescriptor,
    batches: Vec<RecordBatch>,
    options: IpcWriteOptions,
) -> Vec<FlightData> {
    let encoder = FlightDataEncoderBuilder::new()
        .with_schema(batches[0].schema())
        .with_options(options)
        .with_dictionary_handling(DictionaryHandling::Resend)
        .with_flight_descriptor(Some(descriptor));
    let batches = futures::stream::iter(batches.into_iter().map(Ok));
    encoder.build(batches).try_collect().await.unwrap()
}

/// What an answer breaks off with.
pub async fn broken_off(answer: &mut Streaming<FlightData>) -> Status {
    loop {
        match answer.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a shorter result"),
            Err(status) => break status,
        }
    }
}

/// A handshake with a password.
pub fn basic(password: &str) -> Request<futures::stream::Iter<std::array::IntoIter<HandshakeRequest, 1>>> {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(format!("me:{password}"));
    let hello = HandshakeRequest { protocol_version: 0, payload: Vec::new().into() };
    let mut request = Request::new(futures::stream::iter([hello]));
    request.metadata_mut().insert("authorization", format!("Basic {text}").parse().unwrap());
    request
}

pub fn text(batches: &[RecordBatch]) -> String {
    arrow_cast::pretty::pretty_format_batches(batches).unwrap().to_string()
}
