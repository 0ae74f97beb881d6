//! Refusal of a connection that is one too many, in the protocol.
//!
//! Invariants
//! - by HTTP/2 the first request is answered with a status: a client that is sent away before it has asked
//!   connects again at once, and again
//! - one that does not ask is sent away all the same, and one that does not read that is left alone

use std::future::poll_fn;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::Connection;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Status;

use super::Protocol;

/// How long a client has to ask, and then to read the answer.
const FAREWELL: Duration = Duration::from_secs(1);

/// Bytes of its headers.
const HEADERS: u32 = 16 << 10;

/// What it is told.
const TOO_MANY: &str = "the server has too many connections; try again later";

/// Says that there are too many connections, and waits until that was read.
pub(super) async fn refuse(socket: TcpStream, protocol: Protocol) {
    match protocol {
        Protocol::Flight => refuse_call(socket).await,
        Protocol::Http => refuse_request(socket).await,
    }
}

/// Answers the first call of gRPC.
async fn refuse_call(socket: TcpStream) {
    let mut server = h2::server::Builder::new();
    server.max_header_list_size(HEADERS).max_concurrent_streams(1);
    let Ok(Ok(mut connection)) = timeout(FAREWELL, server.handshake(socket)).await else { return };
    let asked = timeout(FAREWELL, answered(&mut connection)).await.unwrap_or(false);
    match asked {
        true => connection.graceful_shutdown(),
        false => connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM),
    }
    let _ = timeout(FAREWELL, poll_fn(|context| connection.poll_closed(context))).await;
}

/// Whether there was a call, which has its answer then.
async fn answered(connection: &mut Connection<TcpStream, Bytes>) -> bool {
    let Some(Ok((_, mut call))) = connection.accept().await else { return false };
    let status = Status::resource_exhausted(TOO_MANY).into_http::<()>();
    call.send_response(status, true).is_ok()
}

/// Answers a request of HTTP/1.1 once it begins: clients do not accept an answer that comes before.
async fn refuse_request(socket: TcpStream) {
    if !matches!(timeout(FAREWELL, socket.readable()).await, Ok(Ok(()))) {
        return;
    }
    let told = async {
        if socket.writable().await.is_ok() && socket.try_write(&unavailable()).is_ok() {
            // What has bytes left to read when it is closed is reset, and the words with it.
            let mut ignored = [0u8; 1024];
            while read(&socket, &mut ignored).await > 0 {}
        }
    };
    let _ = timeout(FAREWELL, told).await;
}

/// How many bytes came; 0 where no more will.
async fn read(socket: &TcpStream, to: &mut [u8]) -> usize {
    while socket.readable().await.is_ok() {
        match socket.try_read(to) {
            Ok(bytes) => return bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return 0,
        }
    }
    0
}

/// The status 503 of HTTP/1.1.
fn unavailable() -> Vec<u8> {
    let head =
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{TOO_MANY}\n", TOO_MANY.len() + 1).into_bytes()
}
