//! The calls of Flight as they come in, and `DoGet` without the generated service, which would copy each
//! message.
//!
//! Invariants
//! - who sends a request is settled by its headers, before anything of its body is read

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow_flight::Ticket;
use arrow_flight::flight_service_server::FlightServiceServer;
use bytes::{Buf, Bytes};
use futures::StreamExt;
use http_body::Frame;
use prost::Message as _;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service as Tower, http};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::{Code, Request, Status};

use super::Service;
use super::patient::TimedBody;
use crate::answer::stream::Messages;
use crate::wire::PREFIX;

const DO_GET: &str = "/arrow.flight.protocol.FlightService/DoGet";

/// The service of Flight, with answers that are sent from where they are.
#[derive(Clone)]
pub(crate) struct DirectService {
    service: Arc<Service>,
    generated: FlightServiceServer<Service>,
    /// Most bytes of a message of a client.
    most: usize,
}

impl DirectService {
    pub(crate) fn new(service: Service, most: usize) -> Self {
        let service = Arc::new(service);
        let generated = FlightServiceServer::from_arc(Arc::clone(&service))
            .max_decoding_message_size(most)
            .max_encoding_message_size(usize::MAX);
        Self { service, generated, most }
    }
}

impl NamedService for DirectService {
    const NAME: &'static str = FlightServiceServer::<Service>::NAME;
}

impl Tower<http::Request<Body>> for DirectService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let (service, mut generated, most) = (Arc::clone(&self.service), self.generated.clone(), self.most);
        Box::pin(async move {
            if let Err(status) = service.admit(&mut request) {
                return Ok(status.into_http());
            }
            let patience = service.0.limits.connections.reader;
            let request = request.map(|body| Body::new(TimedBody::new(body, patience)));
            match request.uri().path() == DO_GET {
                true => Ok(answer(&service, request, most).await),
                false => generated.call(request).await.map(|response| with_own_status(response, most)),
            }
        })
    }
}

/// How the generated service begins to say what is wrong with the messages of a request.
const UNREADABLE: [&str; 4] =
    ["failed to decode Protobuf message", "protocol error", "Unexpected EOF", "Missing request message"];

/// What this server says in the place of the generated service about messages that cannot be read; `None` of
/// anything else.
pub(super) fn own_status(told: &Status, most: usize) -> Option<Status> {
    match told.code() {
        // Nothing but the reading of messages says this.
        Code::OutOfRange => Some(too_long(most)),
        Code::Internal if UNREADABLE.iter().any(|begin| told.message().starts_with(begin)) => {
            Some(Status::invalid_argument(told.message()))
        }
        _ => None,
    }
}

/// An answer of the generated service as this server gives it.
fn with_own_status(response: http::Response<Body>, most: usize) -> http::Response<Body> {
    let told = Status::from_header_map(response.headers());
    told.and_then(|told| own_status(&told, most)).map_or(response, Status::into_http)
}

/// The answer to a `DoGet`.
async fn answer(service: &Service, request: http::Request<Body>, most: usize) -> http::Response<Body> {
    let messages = async {
        let (parts, body) = request.into_parts();
        let ticket = ticket(body, most).await?;
        let metadata = MetadataMap::from_headers(parts.headers);
        service.rows(Request::from_parts(metadata, parts.extensions, ticket)).await
    };
    match messages.await {
        Ok(messages) => {
            let body = AnswerBody { messages, frames: VecDeque::new(), over: false };
            let mut response = http::Response::new(Body::new(body));
            let kind = http::HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
            response
        }
        Err(status) => status.into_http(),
    }
}

fn too_long(most: usize) -> Status {
    Status::resource_exhausted(format!("the message has more than {most} bytes, the most that is allowed"))
}

/// The one message of a request.
async fn ticket(body: Body, most: usize) -> Result<Ticket, Status> {
    let mut body = std::pin::pin!(body);
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| http_body::Body::poll_frame(body.as_mut(), cx)).await {
        let Ok(data) = frame?.into_data() else { continue };
        if bytes.len() + data.len() > most.saturating_add(PREFIX) {
            return Err(too_long(most));
        }
        bytes.extend_from_slice(&data);
    }
    let mut bytes = Bytes::from(bytes);
    let malformed = || Status::invalid_argument("the request is not one message of gRPC");
    if bytes.len() < PREFIX {
        return Err(malformed());
    }
    if bytes.get_u8() != 0 {
        return Err(Status::unimplemented("compressed messages are not supported"));
    }
    if usize::try_from(bytes.get_u32()) != Ok(bytes.len()) {
        return Err(malformed());
    }
    Ticket::decode(bytes).map_err(|_| malformed())
}

/// The body of an answer: frames of messages, and the outcome after them.
struct AnswerBody {
    messages: Messages,
    frames: VecDeque<Bytes>,
    over: bool,
}

impl AnswerBody {
    fn outcome(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.over = true;
        let mut trailers = http::HeaderMap::new();
        status.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some(bytes) = self.frames.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if self.over {
                return Poll::Ready(None);
            }
            let this = &mut *self;
            match ready!(this.messages.poll_next_unpin(cx)) {
                Some(Ok(message)) => {
                    if let Err(status) = message.frames(&mut this.frames) {
                        return this.outcome(&status);
                    }
                }
                Some(Err(status)) => return this.outcome(&status),
                None => return this.outcome(&Status::ok("")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sent(VecDeque<Bytes>);

    impl http_body::Body for Sent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|bytes| Ok(Frame::data(bytes))))
        }
    }

    async fn read(bytes: &[u8], each: usize) -> Result<Ticket, Status> {
        let frames = bytes.chunks(each).map(Bytes::copy_from_slice).collect();
        ticket(Body::new(Sent(frames)), 100).await
    }

    #[test]
    fn a_message_that_cannot_be_decoded_is_a_wrong_request() {
        let unreadable = Ticket::decode(&[0xff, 0xff][..]).unwrap_err().to_string();
        for (said, code) in [
            (Status::internal(unreadable), Code::InvalidArgument),
            (Status::internal("Unexpected EOF decoding stream."), Code::InvalidArgument),
            (Status::internal("reading failed; the log of the server says why"), Code::Internal),
            (Status::out_of_range("too long"), Code::ResourceExhausted),
            (Status::not_found("there is no dataset `p`"), Code::NotFound),
        ] {
            let response = with_own_status(said.into_http(), 100);
            assert_eq!(Status::from_header_map(response.headers()).unwrap().code(), code);
        }
        assert!(Status::from_header_map(with_own_status(http::Response::default(), 100).headers()).is_none());
    }

    #[tokio::test]
    async fn a_ticket_is_one_message() {
        let wanted = Ticket::new("a ticket");
        let message = wanted.encode_to_vec();
        let framed = |flag: u8, len: usize| [&[flag], &(len as u32).to_be_bytes()[..], &message[..]].concat();
        for each in [1, 3, 100] {
            assert_eq!(read(&framed(0, message.len()), each).await.unwrap(), wanted);
        }
        let code = async |bytes: Vec<u8>| read(&bytes, 7).await.unwrap_err().code();
        assert_eq!(code(framed(1, message.len())).await, tonic::Code::Unimplemented);
        assert_eq!(code(framed(0, message.len() + 1)).await, tonic::Code::InvalidArgument);
        assert_eq!(code(framed(0, message.len())[..4].to_vec()).await, tonic::Code::InvalidArgument);
        assert_eq!(code(vec![0; 200]).await, tonic::Code::ResourceExhausted);
        assert_eq!(code(vec![0, 0, 0, 0, 2, 0xff, 0xff]).await, tonic::Code::InvalidArgument);
    }
}
