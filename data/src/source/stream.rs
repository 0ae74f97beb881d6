//! Arrow IPC streams, as `datasets` writes them.
//!
//! Messages are framed here and decoded by the library when all of one has really arrived, so that a damaged
//! length never asks for memory, and a stream without its end mark, or with more behind it, is noticed.

use std::collections::VecDeque;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;

use super::DataError;
use super::rows::{BatchReader, BatchRows, caught, check};
use super::sizes::check_message;
use super::unpack::{ByteCount, Input};

/// What a message begins with.
pub(super) const CONTINUATION: [u8; 4] = [0xFF; 4];
/// The longest description of a message that is read; a real one takes kilobytes.
const LONGEST_MESSAGE: u32 = 64 << 20;
/// Bytes that are asked for at a time.
const PIECE: u64 = 1 << 20;
const CUT: &str = "the file ends before the end mark of its Arrow stream, so rows may be missing; copy or download it again";

pub(super) struct StreamReader {
    input: Box<dyn Read + Send>,
    count: ByteCount,
    decoder: StreamDecoder,
    ready: VecDeque<RecordBatch>,
    checked: bool,
    done: bool,
}

impl StreamReader {
    pub(super) fn rows(path: Arc<Path>, input: Input) -> Result<BatchRows<Self>, DataError> {
        BatchRows::new(path, Self::open(input))
    }

    fn open(Input { mut bytes, count }: Input) -> Result<Self, String> {
        let mut start = Vec::new();
        bytes.by_ref().take(8).read_to_end(&mut start).map_err(|error| error.to_string())?;
        if start.starts_with(b"FEA1") {
            let message = "a Feather file of version 1; write it again with version 2, which is Arrow IPC";
            return Err(message.to_owned());
        }
        Ok(Self {
            input: Box::new(Cursor::new(start).chain(bytes)),
            count,
            decoder: StreamDecoder::new(),
            ready: VecDeque::new(),
            checked: false,
            done: false,
        })
    }

    /// The next bytes, of which the file has as many.
    fn take(&mut self, length: u64) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::with_capacity(length.min(PIECE) as usize);
        let read = self.input.by_ref().take(length).read_to_end(&mut bytes);
        match read.map_err(|error| error.to_string())? as u64 == length {
            true => {
                // It grew by doubling, and lives as long as the batches that are slices of it.
                bytes.shrink_to_fit();
                Ok(bytes)
            }
            false => Err(CUT.to_owned()),
        }
    }

    /// Reads messages until a batch is ready or the stream ends.
    fn advance(&mut self) -> Result<(), String> {
        while self.ready.is_empty() && !self.done {
            let mut head = self.take(4)?;
            if head == CONTINUATION {
                head.extend(self.take(4)?);
            }
            let length = head.last_chunk().map_or(0, |word| u32::from_le_bytes(*word));
            self.decode(head)?;
            if length == 0 {
                self.done = true;
                return self.check_end();
            }
            self.message(length)?;
            if let (false, Some(schema)) = (self.checked, self.decoder.schema()) {
                check(schema.fields())?;
                self.checked = true;
            }
        }
        Ok(())
    }

    /// Refuses what stands after the end mark: of streams that were put together only the first would be read.
    fn check_end(&mut self) -> Result<(), String> {
        let mut more = Vec::new();
        let read = self.input.by_ref().take(1).read_to_end(&mut more);
        match read.map_err(|error| error.to_string())? {
            0 => Ok(()),
            _ => Err("there is more after the end of its Arrow stream: give each file by itself".to_owned()),
        }
    }

    /// One message after its length: the description and the body that it announces.
    fn message(&mut self, length: u32) -> Result<(), String> {
        if length > LONGEST_MESSAGE {
            return Err(format!("not Arrow IPC, or damaged: it announces a message of {length} bytes"));
        }
        let description = self.take(u64::from(length))?;
        let found = gstore_store::caught(|| {
            let message = arrow_ipc::root_as_message(&description).ok()?;
            Some((message, u64::try_from(message.bodyLength()).ok()?))
        });
        let Some((message, length)) = found.flatten() else {
            return Err("not Arrow IPC, or damaged: a message without a description".to_owned());
        };
        let body = self.take(length)?;
        caught(|| check_message(&message, &body))
            .map_err(|message| format!("not Arrow IPC, or damaged: {message}"))?;
        self.decode(description)?;
        self.decode(body)
    }

    fn decode(&mut self, bytes: Vec<u8>) -> Result<(), String> {
        let mut buffer = Buffer::from(bytes);
        let decoder = &mut self.decoder;
        let ready = &mut self.ready;
        let decoded = caught(|| {
            while !buffer.is_empty() {
                ready.extend(decoder.decode(&mut buffer).map_err(|error| error.to_string())?);
            }
            Ok(())
        });
        decoded.map_err(|message| format!("not Arrow IPC, or damaged: {message}"))
    }
}

impl BatchReader for StreamReader {
    fn next_batch(&mut self, _: u64) -> Result<Option<RecordBatch>, String> {
        self.advance()?;
        Ok(self.ready.pop_front())
    }

    fn bytes_read(&self, _: u64) -> u64 {
        self.count.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_takes_no_more_room_than_its_bytes() {
        let length = 3 * PIECE + 7;
        let bytes = Box::new(Cursor::new(vec![1; length as usize]));
        let mut reader = StreamReader::open(Input { bytes, count: ByteCount::default() }).unwrap();
        let taken = reader.take(length).unwrap();
        assert_eq!((taken.len() as u64, taken.capacity() as u64), (length, length));
        assert_eq!(reader.take(1), Err(CUT.to_owned()));
    }
}
