//! Requests of a client to a server.

use arrow_array::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor, Ticket};
use futures::TryStreamExt;
use serde_json::{Value, json};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Bytes of an incoming message.
const MESSAGE: usize = 64 << 20;

/// A connection with a token.
#[derive(Clone)]
pub(super) struct Client {
    inner: FlightServiceClient<Channel>,
    token: AsciiMetadataValue,
}

impl Client {
    /// Connects to `host:port`.
    pub(super) async fn connect(address: &str, token: &str) -> Result<Self, Status> {
        let refused = |error: tonic::transport::Error| Status::unavailable(error.to_string());
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(refused)?;
        let inner = FlightServiceClient::new(endpoint.connect().await.map_err(refused)?);
        let token = format!("Bearer {token}").parse::<AsciiMetadataValue>();
        let token = token.map_err(|_| Status::internal("the token is no header"))?;
        Ok(Self { inner: inner.max_decoding_message_size(MESSAGE), token })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.token.clone());
        request
    }

    /// Sends an upload, and returns the outcome.
    pub(super) async fn put(&self, what: &Value, batches: Vec<RecordBatch>) -> Result<Value, Status> {
        let mut what = what.clone();
        what["rows"] = json!(batches.iter().map(RecordBatch::num_rows).sum::<usize>());
        let command = json!({ "put": what }).to_string().into_bytes();
        let encoder = FlightDataEncoderBuilder::new()
            .with_flight_descriptor(Some(FlightDescriptor::new_cmd(command)))
            .build(futures::stream::iter(batches.into_iter().map(Ok)));
        let messages: Vec<FlightData> = encoder.try_collect().await.map_err(Status::from)?;
        let sent = self.inner.clone().do_put(self.request(futures::stream::iter(messages))).await?;
        let result = sent.into_inner().message().await?;
        let result = result.ok_or_else(|| Status::unavailable("the stream ended without a result"))?;
        serde_json::from_slice(&result.app_metadata).map_err(|e| Status::data_loss(e.to_string()))
    }

    /// All rows of an answer, which must be from one snapshot.
    pub(super) async fn get(&self, what: &Value) -> Result<Vec<RecordBatch>, Status> {
        let ticket = Ticket::new(what.to_string().into_bytes());
        let stream = self.inner.clone().do_get(self.request(ticket)).await?.into_inner();
        let messages = stream.map_err(|status| FlightError::Tonic(Box::new(status)));
        FlightRecordBatchStream::new_from_flight_data(messages).try_collect().await.map_err(Status::from)
    }
}
