//! Arrow IPC streams, as `datasets` writes them.
//!
//! Messages are framed here and decoded by the library from pieces that really arrived, so that a damaged
//! length never asks for memory, and a stream without its end mark is noticed.

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;

use super::DataError;
use super::rows::{BatchReader, BatchRows, caught, check};
use super::unpack::{ByteCount, Input};

const CONTINUATION: [u8; 4] = [0xFF; 4];
/// The longest description of a message that is read; a real one takes kilobytes.
const LONGEST_MESSAGE: u32 = 64 << 20;
/// Bytes handed to the decoder at a time.
const PIECE: u64 = 1 << 20;
const CUT: &str = "the file ends before the end mark of its Arrow stream, so rows may be missing; copy or download it again";

pub(super) struct StreamReader {
    input: Box<dyn Read + Send>,
    count: ByteCount,
    decoder: StreamDecoder,
    ready: VecDeque<RecordBatch>,
    /// Bytes that were read to find out what the file is, and still stand before the rest.
    ahead: Vec<u8>,
    checked: bool,
    done: bool,
}

impl StreamReader {
    pub(super) fn rows(path: Arc<Path>, input: Input) -> Result<BatchRows<Self>, DataError> {
        BatchRows::new(path, Self::open(input))
    }

    fn open(input: Input) -> Result<Self, String> {
        let mut reader = Self {
            input: input.bytes,
            count: input.count,
            decoder: StreamDecoder::new(),
            ready: VecDeque::new(),
            ahead: Vec::new(),
            checked: false,
            done: false,
        };
        let mut start = [0; 8];
        let got = reader.fill(&mut start)?;
        if start.starts_with(b"FEA1") {
            let message = "a Feather file of version 1; write it again with version 2, which is Arrow IPC";
            return Err(message.to_owned());
        }
        reader.ahead = start[..got].to_vec();
        Ok(reader)
    }

    /// Reads until the buffer is full or the file ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, String> {
        let from_ahead = self.ahead.len().min(buffer.len());
        buffer[..from_ahead].copy_from_slice(&self.ahead[..from_ahead]);
        self.ahead.drain(..from_ahead);
        let mut got = from_ahead;
        while got < buffer.len() {
            match self.input.read(&mut buffer[got..]) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(got)
    }

    /// Reads messages until a batch is ready or the stream ends.
    fn advance(&mut self) -> Result<(), String> {
        while self.ready.is_empty() && !self.done {
            let mut word = [0; 4];
            if self.fill(&mut word)? < 4 {
                return Err(CUT.to_owned());
            }
            let mut head = word.to_vec();
            if word == CONTINUATION {
                if self.fill(&mut word)? < 4 {
                    return Err(CUT.to_owned());
                }
                head.extend_from_slice(&word);
            }
            let length = u32::from_le_bytes(word);
            self.decode(head)?;
            if length == 0 {
                self.done = true;
                return Ok(());
            }
            self.message(length)?;
            if let (false, Some(schema)) = (self.checked, self.decoder.schema()) {
                check(schema.fields())?;
                self.checked = true;
            }
        }
        Ok(())
    }

    /// One message after its length: the description and the body that it announces.
    fn message(&mut self, length: u32) -> Result<(), String> {
        if length > LONGEST_MESSAGE {
            return Err(format!("not Arrow IPC, or damaged: a message of {length} bytes"));
        }
        let mut description = vec![0; length as usize];
        if self.fill(&mut description)? < description.len() {
            return Err(CUT.to_owned());
        }
        let body =
            gstore_store::caught(|| arrow_ipc::root_as_message(&description).map(|m| m.bodyLength()).ok());
        let Some(mut left) = body.flatten().and_then(|length| u64::try_from(length).ok()) else {
            return Err("not Arrow IPC, or damaged: a message that says nothing".to_owned());
        };
        self.decode(description)?;
        while left > 0 {
            let mut piece = vec![0; left.min(PIECE) as usize];
            if self.fill(&mut piece)? < piece.len() {
                return Err(CUT.to_owned());
            }
            left -= piece.len() as u64;
            self.decode(piece)?;
        }
        Ok(())
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
