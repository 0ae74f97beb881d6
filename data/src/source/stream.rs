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

use super::rows::{Rows, caught};
use super::unpack::{ByteCount, Input};
use super::{DataError, RawRecord, RecordSource};

const CONTINUATION: [u8; 4] = [0xFF; 4];
/// The longest description of a message that is read; a real one takes kilobytes.
const LONGEST_MESSAGE: u32 = 64 << 20;
/// Bytes handed to the decoder at a time.
const PIECE: u64 = 1 << 20;

pub(super) struct StreamSource {
    rows: Rows,
    input: Box<dyn Read + Send>,
    count: ByteCount,
    decoder: StreamDecoder,
    ready: VecDeque<RecordBatch>,
    /// Bytes that were read to find out what the file is, and still stand before the rest.
    ahead: Vec<u8>,
    checked: bool,
    done: bool,
}

impl StreamSource {
    pub(super) fn new(path: Arc<Path>, input: Input) -> Result<Self, DataError> {
        let mut source = Self {
            rows: Rows::new(path),
            input: input.bytes,
            count: input.count,
            decoder: StreamDecoder::new(),
            ready: VecDeque::new(),
            ahead: Vec::new(),
            checked: false,
            done: false,
        };
        let mut start = [0; 8];
        let got = source.fill(&mut start)?;
        if start.starts_with(b"FEA1") {
            let message = "a Feather file of version 1; write it again with version 2, which is Arrow IPC";
            return Err(source.rows.damaged(message));
        }
        source.ahead = start[..got].to_vec();
        Ok(source)
    }

    /// Reads until the buffer is full or the file ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, DataError> {
        let from_ahead = self.ahead.len().min(buffer.len());
        buffer[..from_ahead].copy_from_slice(&self.ahead[..from_ahead]);
        self.ahead.drain(..from_ahead);
        let mut got = from_ahead;
        while got < buffer.len() {
            match self.input.read(&mut buffer[got..]) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.rows.damaged(error.to_string())),
            }
        }
        Ok(got)
    }

    fn cut(&self) -> DataError {
        self.rows.damaged(
            "the file ends before the end mark of its Arrow stream, so rows may be missing; copy or download it again",
        )
    }

    /// Reads messages until a batch is ready or the stream ends.
    fn advance(&mut self) -> Result<(), DataError> {
        while self.ready.is_empty() && !self.done {
            let mut word = [0; 4];
            if self.fill(&mut word)? < 4 {
                return Err(self.cut());
            }
            let mut head = word.to_vec();
            if word == CONTINUATION {
                if self.fill(&mut word)? < 4 {
                    return Err(self.cut());
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
                self.rows.check(schema.fields())?;
                self.checked = true;
            }
        }
        Ok(())
    }

    /// One message after its length: the description and the body that it announces.
    fn message(&mut self, length: u32) -> Result<(), DataError> {
        if length > LONGEST_MESSAGE {
            return Err(self.rows.damaged(format!("not Arrow IPC, or damaged: a message of {length} bytes")));
        }
        let mut description = vec![0; length as usize];
        if self.fill(&mut description)? < description.len() {
            return Err(self.cut());
        }
        let body =
            gstore_store::caught(|| arrow_ipc::root_as_message(&description).map(|m| m.bodyLength()).ok());
        let Some(mut left) = body.flatten().and_then(|length| u64::try_from(length).ok()) else {
            return Err(self.rows.damaged("not Arrow IPC, or damaged: a message that says nothing"));
        };
        self.decode(description)?;
        while left > 0 {
            let mut piece = vec![0; left.min(PIECE) as usize];
            if self.fill(&mut piece)? < piece.len() {
                return Err(self.cut());
            }
            left -= piece.len() as u64;
            self.decode(piece)?;
        }
        Ok(())
    }

    fn decode(&mut self, bytes: Vec<u8>) -> Result<(), DataError> {
        let mut buffer = Buffer::from(bytes);
        let decoder = &mut self.decoder;
        let ready = &mut self.ready;
        let decoded = caught(|| {
            while !buffer.is_empty() {
                ready.extend(decoder.decode(&mut buffer).map_err(|error| error.to_string())?);
            }
            Ok(())
        });
        decoded.map_err(|message| self.rows.damaged(format!("not Arrow IPC, or damaged: {message}")))
    }
}

impl RecordSource for StreamSource {
    fn next_record(&mut self) -> Option<Result<RawRecord<'_>, DataError>> {
        if self.rows.failed() {
            return None;
        }
        while !self.rows.is_ready() {
            match self.ready.pop_front() {
                Some(batch) => self.rows.put(batch),
                None if self.done => return None,
                None => {
                    if let Err(error) = self.advance() {
                        (self.done, self.ready) = (true, VecDeque::new());
                        return Some(Err(error));
                    }
                }
            }
        }
        self.rows.take()
    }

    fn nulls(&self) -> Vec<String> {
        self.rows.nulls()
    }

    fn columns(&self) -> Vec<String> {
        self.rows.columns()
    }

    fn bytes_read(&self) -> u64 {
        self.count.get()
    }
}
