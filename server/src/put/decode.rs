//! Decoding of uploads: messages of a client as batches. What claims more than was sent is refused before
//! that.
//!
//! Invariants
//! - parts of a message that share bytes do not multiply them: tables and texts of a header have a few times
//!   its bytes in all, the buffers of a batch have those of its body, and no two columns have a dictionary in
//!   common
//! - memory: a message, its batch, and the dictionaries of the stream, which have at most [`DICTIONARIES`]
//!   bytes
//! - a library that panics at what was sent ends the stream and nothing else

use std::collections::{HashMap, HashSet};
use std::task::Poll;

use arrow_array::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_ipc::{Message, Schema};
use flatbuffers::VerifierOptions;
use futures::{Stream, StreamExt};
use tonic::Status;

/// Bytes of the dictionaries of a stream at a time.
const DICTIONARIES: usize = 64 << 20;
/// Tables of a header, of which a column has two or three.
const TABLES: usize = 200_000;

pub(crate) struct Batches(FlightRecordBatchStream);

impl Batches {
    pub(crate) fn of(messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static) -> Self {
        let mut dictionaries = HashMap::new();
        let messages = messages.map(move |message| {
            let sound = message.and_then(|message| check_message(message, &mut dictionaries));
            sound.map_err(|status| FlightError::Tonic(Box::new(status)))
        });
        Self(FlightRecordBatchStream::new_from_flight_data(messages))
    }

    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, Status> {
        let malformed = || Poll::Ready(Some(Err(FlightError::DecodeError("a malformed message".to_owned()))));
        // What a client sends decides what is decoded, and a library may not be ready for all of it.
        let next = std::future::poll_fn(|cx| {
            gstore_store::caught(|| self.0.poll_next_unpin(cx)).unwrap_or_else(malformed)
        });
        next.await.transpose().map_err(sent_status)
    }
}

/// What is wrong with messages that were sent.
fn sent_status(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        error => Status::invalid_argument(format!("the stream cannot be decoded: {error}")),
    }
}

fn refused(why: &str) -> Status {
    Status::invalid_argument(why)
}

/// A message that has what it says, and no more; `dictionaries` has the bytes of those that came before, by
/// their numbers.
fn check_message(message: FlightData, dictionaries: &mut HashMap<i64, usize>) -> Result<FlightData, Status> {
    let message = check_uncompressed(message)?;
    let header = gstore_store::caught(|| {
        let header = header(&message.data_header).ok()?;
        header.header_as_dictionary_batch().map(|batch| (batch.id(), batch.isDelta()))
    });
    if let Some(Some((number, more))) = header {
        let before = if more { dictionaries.get(&number).copied().unwrap_or(0) } else { 0 };
        dictionaries.insert(number, before.saturating_add(message.data_body.len()));
        if dictionaries.values().fold(0, |sum: usize, bytes| sum.saturating_add(*bytes)) > DICTIONARIES {
            return Err(refused("the dictionaries of a stream have at most 64 MiB; send plain columns"));
        }
    }
    Ok(message)
}

/// A message as every stream of a client has to have it: not compressed, because a compressed one says of
/// itself how large it is and can be much larger than what was sent, and without parts that share bytes.
fn check_uncompressed(message: FlightData) -> Result<FlightData, Status> {
    // Metadata alone.
    if message.data_header.is_empty() {
        return Ok(message);
    }
    let said = gstore_store::caught(|| {
        let header = header(&message.data_header)?;
        let batch = header.header_as_record_batch();
        if let Some(batch) = batch.or_else(|| header.header_as_dictionary_batch().and_then(|d| d.data())) {
            if batch.compression().is_some() {
                return Err(refused("compressed batches are not accepted; send them uncompressed"));
            }
            let buffers = batch.buffers().into_iter().flatten();
            check_buffers(buffers.map(|buffer| (buffer.offset(), buffer.length())), message.data_body.len())?;
        }
        match header.header_as_schema().is_some_and(shares_dictionaries) {
            true => Err(refused("columns that share a dictionary are not accepted; send plain ones")),
            false => Ok(()),
        }
    });
    said.unwrap_or_else(|| Err(refused("a malformed message"))).map(|()| message)
}

/// Reads a header whose parts, each counted as often as it is referred to, are not many times its bytes.
fn header(bytes: &[u8]) -> Result<Message<'_>, Status> {
    let limits = VerifierOptions {
        max_tables: (bytes.len() / 4 + 16).min(TABLES),
        max_apparent_size: bytes.len().saturating_mul(8).saturating_add(64 << 10),
        ..VerifierOptions::default()
    };
    arrow_ipc::root_as_message_with_opts(&limits, bytes).map_err(|_| refused("a malformed message"))
}

/// Whether buffers, by offset and length, lie in a body and have no more bytes than it.
fn check_buffers(buffers: impl Iterator<Item = (i64, i64)>, body: usize) -> Result<(), Status> {
    let mut left = body;
    for (offset, length) in buffers {
        let (offset, length) = (usize::try_from(offset).ok(), usize::try_from(length).ok());
        let end = offset.zip(length).and_then(|(offset, length)| offset.checked_add(length));
        let rest = length.and_then(|length| left.checked_sub(length));
        match (end, rest) {
            (Some(end), Some(rest)) if end <= body => left = rest,
            _ => return Err(refused("a malformed message: its buffers have more bytes than its body")),
        }
    }
    Ok(())
}

fn shares_dictionaries(schema: Schema<'_>) -> bool {
    let mut seen = HashSet::new();
    let mut fields: Vec<_> = schema.fields().into_iter().flatten().collect();
    while let Some(field) = fields.pop() {
        if field.dictionary().is_some_and(|dictionary| !seen.insert(dictionary.id())) {
            return true;
        }
        fields.extend(field.children().into_iter().flatten());
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_lie_in_the_body_and_share_none_of_it() {
        for (buffers, sound) in [
            (vec![], true),
            (vec![(0, 8), (8, 8)], true),
            (vec![(64, 0), (0, 60)], true),
            (vec![(0, 40), (0, 40)], false),
            (vec![(60, 8)], false),
            (vec![(0, -1)], false),
            (vec![(i64::MAX, i64::MAX)], false),
        ] {
            assert_eq!(check_buffers(buffers.clone().into_iter(), 64).is_ok(), sound, "{buffers:?}");
        }
    }
}
