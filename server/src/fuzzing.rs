//! Entry point for fuzzing: what clients send, read without a store behind it.

use std::net::SocketAddr;
use std::sync::LazyLock;

use arrow_flight::FlightDescriptor;
use prost::Message;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Code, Status};

use crate::access::{Access, credentials};
use crate::answer::ask;
use crate::handle::{QuestionHandle, Signer};
use crate::service::snapshot;

/// Reads the bytes as each thing that may come from a client: a ticket, a descriptor, a path, a handle
/// and the headers.
///
/// # Panics
/// Where something does not hold that must hold for all bytes.
pub fn request(bytes: &[u8]) {
    check(ask::read_ticket(bytes).err());
    check(ask::read_descriptor(&FlightDescriptor::new_cmd(bytes.to_vec())).err());
    let text = String::from_utf8_lossy(bytes);
    let path = text.split('/').map(str::to_owned).collect();
    check(ask::read_descriptor(&FlightDescriptor::new_path(path)).err());
    if let Ok(descriptor) = FlightDescriptor::decode(bytes) {
        check(ask::read_descriptor(&descriptor).err());
    }
    handle(bytes);
    headers(bytes);
}

/// Reads the bytes as the stream of an upload: its command, then for each message its header and its body,
/// parted by the bytes f1 f2 f3 f4. The rows that come out.
///
/// # Panics
/// Where something does not hold that must hold for all bytes.
pub fn upload(bytes: &[u8]) -> u64 {
    let read = crate::put::fuzzing::rows(bytes);
    let rows = read.as_ref().copied().unwrap_or(0);
    check(read.err());
    rows
}

/// No bytes are a handle that were not signed; what is signed comes back as it was.
fn handle(bytes: &[u8]) {
    static SIGNER: LazyLock<Option<Signer>> = LazyLock::new(|| Signer::new(b"a key of this test").ok());
    let Some(signer) = &*SIGNER else { return };
    assert!(signer.open(bytes).is_err(), "a handle that was not signed");
    if let Ok(handle) = QuestionHandle::decode(bytes) {
        let signed = signer.sign(&handle);
        assert_eq!(signer.open(&signed).ok(), Some(handle));
    }
}

fn headers(bytes: &[u8]) {
    let Ok(value) = AsciiMetadataValue::try_from(bytes) else { return };
    let mut headers = MetadataMap::new();
    headers.insert("authorization", value.clone());
    headers.insert(crate::service::SNAPSHOT, value);
    check(credentials(&headers).err());
    check(snapshot(&headers).err());
    let peer: Option<SocketAddr> = None;
    assert!(Access::Open.caller(&headers, peer).is_ok());
}

/// An error has words, and a code that says whose mistake it is.
fn check(error: Option<Status>) {
    let Some(status) = error else { return };
    let codes = [Code::InvalidArgument, Code::NotFound, Code::Unauthenticated, Code::Unimplemented];
    assert!(codes.contains(&status.code()) && !status.message().is_empty(), "{status:?}");
}
