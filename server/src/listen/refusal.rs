//! Refusal of a connection that is one too many, in the protocol.
//!
//! Invariants
//! - by HTTP/2 the first request is answered with a status: a client that is sent away before it has asked
//!   connects again at once, and again
//! - one that does not ask is sent away all the same, and one that does not read that is left alone

use std::io::ErrorKind;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Protocol;

/// How long a client has to ask, and then to read the answer.
const FAREWELL: Duration = Duration::from_secs(1);

/// What it is told.
const TOO_MANY: &str = "the server has too many connections; try again later";

/// The text with which a client of HTTP/2 begins, in bytes.
const PREFACE: usize = 24;
/// Bytes in which its first request begins, behind that text and settings.
const BEGINNING: usize = 1024;

// Frames of HTTP/2, and flags of theirs.
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM_AND_HEADERS: u8 = 5;

/// The number of a stream, which is a request.
type StreamNumber = [u8; 4];
/// That of the connection itself.
const CONNECTION: StreamNumber = [0; 4];

/// Says that there are too many connections, and waits until that was read.
pub(super) async fn refuse(socket: TcpStream, protocol: Protocol) {
    let answer = match protocol {
        Protocol::Flight => closing_frames(timeout(FAREWELL, first_call(&socket)).await.ok().flatten()),
        // Clients of HTTP/1.1 do not accept an answer that comes before their request.
        Protocol::Http => match timeout(FAREWELL, socket.readable()).await {
            Ok(Ok(())) => unavailable(),
            _ => return,
        },
    };
    let told = async {
        if send(&socket, &answer).await {
            // What has bytes left to read when it is closed is reset, and the words with it.
            let mut ignored = [0u8; 1024];
            while read(&socket, &mut ignored).await > 0 {}
        }
    };
    let _ = timeout(FAREWELL, told).await;
}

async fn send(socket: &TcpStream, bytes: &[u8]) -> bool {
    socket.writable().await.is_ok() && socket.try_write(bytes).is_ok()
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

/// The first request of a connection. A client sends it once it has settings, with which every side begins.
async fn first_call(socket: &TcpStream) -> Option<StreamNumber> {
    send(socket, &frame(SETTINGS, 0, CONNECTION, &[])).await;
    let (mut seen, mut length) = ([0u8; BEGINNING], 0);
    loop {
        match read(socket, seen.get_mut(length..)?).await {
            0 => return None,
            bytes => length += bytes,
        }
        if let Some(call) = call_in(seen.get(..length)?) {
            return Some(call);
        }
    }
}

fn call_in(bytes: &[u8]) -> Option<StreamNumber> {
    let mut rest = bytes.get(PREFACE..)?;
    while let Some((head, payload)) = rest.split_first_chunk::<9>() {
        let [a, b, c, kind, _, stream @ ..] = *head;
        if kind == HEADERS {
            return Some(stream);
        }
        let length = u32::from_be_bytes([0, a, b, c]);
        rest = payload.get(usize::try_from(length).ok()?..)?;
    }
    None
}

/// The answer to a request, if there is one, and GOAWAY.
fn closing_frames(call: Option<StreamNumber>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(call) = call {
        bytes.extend(frame(SETTINGS, ACK, CONNECTION, &[]));
        bytes.extend(frame(HEADERS, END_STREAM_AND_HEADERS, call, &status()));
    }
    // No error where the status says it, else ENHANCE_YOUR_CALM.
    let code = if call.is_some() { 0 } else { 0xb };
    let mut why = call.unwrap_or(CONNECTION).to_vec();
    why.extend([0, 0, 0, code]);
    why.extend(TOO_MANY.as_bytes());
    bytes.extend(frame(GOAWAY, 0, CONNECTION, &why));
    bytes
}

fn frame(kind: u8, flags: u8, stream: StreamNumber, payload: &[u8]) -> Vec<u8> {
    let [.., a, b, c] = payload.len().to_be_bytes();
    let mut bytes = vec![a, b, c, kind, flags];
    bytes.extend(stream);
    bytes.extend(payload);
    bytes
}

/// The headers of an answer of gRPC with the status RESOURCE_EXHAUSTED, without compression.
fn status() -> Vec<u8> {
    // `:status: 200`, by its place in the table of HPACK.
    let mut block = vec![0x88];
    for (name, value) in
        [("content-type", "application/grpc"), ("grpc-status", "8"), ("grpc-message", TOO_MANY)]
    {
        block.push(0);
        for text in [name, value] {
            // All are shorter than 127 bytes, and their lengths so one byte.
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// The status 503 of HTTP/1.1.
fn unavailable() -> Vec<u8> {
    let head =
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{TOO_MANY}\n", TOO_MANY.len() + 1).into_bytes()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_first_request_is_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let refused = tokio::spawn(refuse(socket, Protocol::Flight));
        let (settings, call) = ([0, 4, 0, 0, 0, 0], [0, 0, 0, 1]);
        let begins = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(SETTINGS, 0, CONNECTION, &settings),
            frame(HEADERS, END_STREAM_AND_HEADERS, call, &[0x88]),
        ];
        assert!(send(&client, &begins.concat()).await);
        let expected = [frame(SETTINGS, 0, CONNECTION, &[]), closing_frames(Some(call))].concat();
        let (mut told, mut part) = (Vec::new(), [0; 1024]);
        while told.len() < expected.len() {
            let bytes = read(&client, &mut part).await;
            assert!(bytes > 0, "closed too early");
            told.extend(&part[..bytes]);
        }
        assert_eq!(told, expected);
        assert!(String::from_utf8_lossy(&told).contains("grpc-status\u{1}8"));
        drop(client);
        refused.await.unwrap();
    }

    #[test]
    fn what_begins_otherwise_has_no_request() {
        let preface = [0u8; PREFACE].to_vec();
        let settings = frame(SETTINGS, 0, CONNECTION, &[0; 6]);
        for bytes in [vec![], preface.clone(), [preface.clone(), settings[..12].to_vec()].concat()] {
            assert_eq!(call_in(&bytes), None);
        }
        let call = frame(HEADERS, 0, [0, 0, 0, 3], &[]);
        assert_eq!(call_in(&[preface, settings, call].concat()), Some([0, 0, 0, 3]));
    }
}
