//! Flight service: every call, each settled with who sent it before anything of it is read.

mod actions;
mod direct;
mod get;
mod list;
mod patient;
mod put;
mod tags;

pub(crate) use direct::DirectService;

use std::pin::Pin;
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::future::BoxFuture;
use futures::{Stream, StreamExt, TryStreamExt};
use gstore_store::SnapshotName;
use tonic::codegen::http;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Request, Response, Status, Streaming};

use crate::access::Caller;
use crate::answer::stream::{Messages, schema_bytes};
use crate::audit::AuditRecord;
use crate::core::Core;
use crate::listen::{BusyGuard, Peer};

/// The header that names the snapshot to read: a number or a tag.
pub(crate) const SNAPSHOT: &str = "gstore-snapshot";
/// The header that asks for what is to be known besides the rows.
pub(crate) const NOTES: &str = "gstore-notes";

type MessageStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Clone)]
pub(crate) struct Service(pub(crate) Arc<Core>);

/// A request that may be answered.
pub(crate) struct AuthorizedRequest {
    pub(crate) core: Arc<Core>,
    pub(crate) caller: Caller,
    pub(crate) snapshot: Option<SnapshotName>,
    pub(crate) notes: bool,
    /// Keeps the connection from being idle.
    busy: Option<BusyGuard>,
}

impl AuthorizedRequest {
    fn at(&self, snapshot: u64) -> Self {
        let (core, caller) = (Arc::clone(&self.core), self.caller.clone());
        Self { core, caller, snapshot: Some(SnapshotName::Number(snapshot)), notes: self.notes, busy: None }
    }

    /// What a request gives that is done at once, and recorded.
    async fn recorded<T>(
        &self,
        kind: &'static str,
        what: &str,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let mut record = AuditRecord::begin(&self.core.audit, kind, what, &self.caller);
        let done = work.await;
        record.ended(done.as_ref().map(|_| ()));
        done
    }
}

impl Service {
    /// Settles who sends a request, for [`Service::asking`].
    pub(crate) fn admit<B>(&self, request: &mut http::Request<B>) -> Result<(), Status> {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.address);
        let headers = MetadataMap::from_headers(request.headers().clone());
        let caller = self.0.access.caller(&headers, peer);
        let caller = caller.inspect_err(|status| self.0.audit.refused(peer, status))?;
        request.extensions_mut().insert(caller);
        Ok(())
    }

    /// Who asks, and of which snapshot.
    fn asking<T>(&self, request: &Request<T>) -> Result<AuthorizedRequest, Status> {
        let busy = request.extensions().get::<Peer>().map(Peer::busy);
        let caller = request.extensions().get::<Caller>().cloned();
        let caller = caller.ok_or_else(|| Status::internal("a request of which nothing is settled"))?;
        let snapshot = snapshot(request.metadata())?;
        let notes = request.metadata().contains_key(NOTES);
        Ok(AuthorizedRequest { core: Arc::clone(&self.0), caller, snapshot, notes, busy })
    }

    /// The messages of an answer; both ways in which `DoGet` is served begin here.
    pub(crate) async fn rows(&self, request: Request<Ticket>) -> Result<Messages, Status> {
        let mut asking = self.asking(&request)?;
        let rows = get::rows(&asking, &request.get_ref().ticket).await?;
        let busy = asking.busy.take();
        // The connection is in use until the last row is taken.
        Ok(Box::pin(rows.inspect(move |_| {
            let _ = &busy;
        })))
    }
}

pub(crate) fn snapshot(headers: &MetadataMap) -> Result<Option<SnapshotName>, Status> {
    let Some(value) = headers.get(SNAPSHOT) else { return Ok(None) };
    let wrong = || Status::invalid_argument(format!("the header `{SNAPSHOT}` takes a number or a tag"));
    let text = value.to_str().map_err(|_| wrong())?;
    text.parse().map(Some).map_err(|_| wrong())
}

fn once<T: Send + 'static>(item: T) -> MessageStream<T> {
    Box::pin(futures::stream::once(futures::future::ready(Ok(item))))
}

/// What a call returns in the end.
type Reply<T> = Result<Response<T>, Status>;
/// A call under way.
type CallFuture<T> = BoxFuture<'static, Reply<T>>;

/// Makes the calls of [`FlightService`] out of those of [`Service`].
///
/// Each is a function without bounds before it is a method: that a future is `Send` the compiler proves
/// once for all functions without bounds, and again for each method of an async trait, which took it
/// half a minute.
macro_rules! calls {
    ($($name:ident: $asked:ty => $given:ty,)*) => {
        mod begin {
            use super::*;
            $(pub(super) fn $name(service: Service, request: Request<$asked>) -> CallFuture<$given> {
                Box::pin(service.$name(request))
            })*
        }

        impl FlightService for Service {
            type HandshakeStream = MessageStream<HandshakeResponse>;
            type ListFlightsStream = MessageStream<FlightInfo>;
            type DoGetStream = MessageStream<FlightData>;
            type DoPutStream = MessageStream<PutResult>;
            type DoExchangeStream = MessageStream<FlightData>;
            type DoActionStream = MessageStream<arrow_flight::Result>;
            type ListActionsStream = MessageStream<ActionType>;

            $(fn $name<'s, 'a>(&'s self, request: Request<$asked>) -> BoxFuture<'a, Reply<$given>>
            where
                's: 'a,
                Self: 'a,
            {
                begin::$name(self.clone(), request)
            })*
        }
    };
}

calls! {
    handshake: Streaming<HandshakeRequest> => MessageStream<HandshakeResponse>,
    list_flights: Criteria => MessageStream<FlightInfo>,
    get_flight_info: FlightDescriptor => FlightInfo,
    poll_flight_info: FlightDescriptor => PollInfo,
    get_schema: FlightDescriptor => SchemaResult,
    do_get: Ticket => MessageStream<FlightData>,
    do_put: Streaming<FlightData> => MessageStream<PutResult>,
    do_exchange: Streaming<FlightData> => MessageStream<FlightData>,
    do_action: Action => MessageStream<arrow_flight::Result>,
    list_actions: Empty => MessageStream<ActionType>,
}

impl Service {
    /// Answers `Basic` and `Bearer` credentials with a bearer token, in the header and as the payload.
    async fn handshake(
        self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Reply<MessageStream<HandshakeResponse>> {
        self.asking(&request)?;
        let bearer = self.0.access.bearer(request.metadata())?.unwrap_or_default();
        let payload = bearer.clone().into_bytes().into();
        let mut response = Response::new(once(HandshakeResponse { protocol_version: 0, payload }));
        let header: Result<AsciiMetadataValue, _> = format!("Bearer {bearer}").parse();
        let header = header
            .map_err(|_| Status::invalid_argument("the token has characters that no header may have"))?;
        response.metadata_mut().insert("authorization", header);
        Ok(response)
    }

    async fn list_flights(self, request: Request<Criteria>) -> Reply<MessageStream<FlightInfo>> {
        let asking = self.asking(&request)?;
        let criteria = &request.get_ref().expression;
        let what = format!("flights {}", String::from_utf8_lossy(criteria));
        let infos = asking.recorded("list", what.trim_end(), list::flights(&asking, criteria)).await?;
        Ok(Response::new(Box::pin(futures::stream::iter(infos.into_iter().map(Ok)))))
    }

    async fn get_flight_info(self, request: Request<FlightDescriptor>) -> Reply<FlightInfo> {
        let asking = self.asking(&request)?;
        Ok(Response::new(get::flight_info(&asking, request.into_inner()).await?))
    }

    async fn poll_flight_info(self, request: Request<FlightDescriptor>) -> Reply<PollInfo> {
        self.asking(&request)?;
        Err(Status::unimplemented("polling is not supported; call GetFlightInfo"))
    }

    async fn get_schema(self, request: Request<FlightDescriptor>) -> Reply<SchemaResult> {
        let asking = self.asking(&request)?;
        let schema = get::schema(&asking, request.get_ref()).await?;
        Ok(Response::new(SchemaResult { schema: schema_bytes(&schema)? }))
    }

    async fn do_get(self, request: Request<Ticket>) -> Reply<MessageStream<FlightData>> {
        let messages = self.rows(request).await?;
        Ok(Response::new(Box::pin(messages.map_ok(FlightData::from))))
    }

    async fn do_put(self, request: Request<Streaming<FlightData>>) -> Reply<MessageStream<PutResult>> {
        let asking = self.asking(&request)?;
        let most = self.0.limits.message_bytes;
        // Here, so that what is recorded is what the client hears.
        let messages = request
            .into_inner()
            .map_err(move |status| direct::own_status(&status, most).unwrap_or(status))
            .boxed();
        Ok(Response::new(once(put::take_upload(&asking, messages).await?)))
    }

    async fn do_exchange(self, request: Request<Streaming<FlightData>>) -> Reply<MessageStream<FlightData>> {
        self.asking(&request)?;
        Err(Status::unimplemented(
            "DoExchange is not supported; GetFlightInfo and DoGet read, DoPut binds parameters and uploads",
        ))
    }

    async fn do_action(self, request: Request<Action>) -> Reply<MessageStream<arrow_flight::Result>> {
        let asking = self.asking(&request)?;
        let results = actions::run(&asking, request.into_inner()).await?;
        Ok(Response::new(Box::pin(futures::stream::iter(results.into_iter().map(Ok)))))
    }

    async fn list_actions(self, request: Request<Empty>) -> Reply<MessageStream<ActionType>> {
        self.asking(&request)?;
        let actions = actions::ACTIONS.iter().map(|(name, about)| {
            Ok(ActionType { r#type: (*name).to_owned(), description: (*about).to_owned() })
        });
        Ok(Response::new(Box::pin(futures::stream::iter(actions))))
    }
}
