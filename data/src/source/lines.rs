//! Files of JSON lines.

use std::path::Path;
use std::sync::Arc;

use super::super::jsonl::JsonlReader;
use super::list::Bytes;
use super::unpack::ByteCount;
use super::{DataError, Place, RawRecord, RecordSource, Unit};

pub(super) struct LineSource {
    path: Arc<Path>,
    reader: JsonlReader,
    count: ByteCount,
}

impl LineSource {
    pub(super) fn new(path: Arc<Path>, bytes: Bytes, count: ByteCount) -> Self {
        let reader = JsonlReader::from_reader(&*path, bytes);
        Self { path, reader, count }
    }
}

impl RecordSource for LineSource {
    fn next_record(&mut self) -> Option<Result<RawRecord<'_>, DataError>> {
        let line = match self.reader.next_line()? {
            Ok(line) => line,
            Err(error) => return Some(Err(error.into())),
        };
        let place = Place { file: Arc::clone(&self.path), unit: Unit::Line, number: line.number };
        Some(Ok(RawRecord { place, json: line.bytes }))
    }

    fn bytes_read(&self) -> u64 {
        self.count.get()
    }
}
