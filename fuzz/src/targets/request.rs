//! Client requests to a server: tickets, commands, paths, handles and headers.

use super::MIB;
use crate::Target;

/// A client request.
pub const REQUEST: Target = Target {
    name: "request",
    run: gstore_server::fuzzing::request,
    // JSON values, several times.
    per_byte: 600,
    constant: MIB,
    words: &[
        b"{\"sql\": \"",
        b"{\"dataset\": \"",
        b"\"vectors\": {",
        b"\"influence\": {",
        b"\"parameters\": [",
        b"\"rows\": [0, 18446744073709551615]",
        b"\"type\": \"f32\"",
        b"type.googleapis.com/arrow.flight.protocol.sql.",
        b"CommandStatementQuery",
        b"CommandGetTables",
        b"CommandGetSqlInfo",
        b"TicketStatementQuery",
        b"\xff\xff\xff\xff\x0f",
        b"Bearer ",
        b"Basic YTpi",
        b"dataset/../../",
        b"vectors/a/",
    ],
};
