//! Answers on the wire: messages of gRPC whose bodies are the buffers of arrays, not copies of them.
//!
//! The generated service takes a message as one run of bytes and copies it into another: three passes over
//! memory for each byte of an answer. What is large here stays where it is, in the map of a file or in an
//! array, until the socket takes it.

mod encode;
mod message;

pub(crate) use encode::{messages, parts};
pub(crate) use message::{FlightMessage, PREFIX};
