//! Streams of uploads to a server: a command, and Arrow Flight messages.

use super::MIB;
use crate::Target;

/// The command, then for each message its header and its body, with four bytes in between.
pub const UPLOAD: Target = Target {
    name: "upload",
    run,
    // A field of at least 40 bytes in the header becomes a type, an array and fields of the copy that is
    // kept; values are converted.
    per_byte: 400,
    constant: 2 * MIB,
    words: &[
        b"\xf1\xf2\xf3\xf4",
        b"{\"put\": {\"samples\": {\"dataset\": \"d\"}}}",
        b"{\"put\": {\"vectors\": {\"dataset\": \"d\", \"kind\": \"embed-x\"}}}",
        b"{\"put\": {\"losses\": {\"dataset\": \"d\"}}}",
        b"row",
        b"id",
        b"vector",
        b"loss",
        b"flags",
        b"\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x00\x00\x00\x80",
    ],
};

fn run(data: &[u8]) {
    rows(data);
}

/// The rows of a stream.
pub fn rows(data: &[u8]) -> u64 {
    gstore_server::fuzzing::upload(data)
}
