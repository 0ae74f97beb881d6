//! Files of JSON lines.

use std::path::Path;
use std::sync::Arc;

use super::super::jsonl::JsonlReader;
use super::unpack::{Count, Input};
use super::{DataError, Place, RawRecord, RecordSource, Unit};

pub(super) struct LineSource {
    path: Arc<Path>,
    reader: JsonlReader,
    count: Count,
}

impl LineSource {
    pub(super) fn new(path: Arc<Path>, input: Input) -> Self {
        let reader = JsonlReader::from_reader(&*path, input.bytes);
        Self { path, reader, count: input.count }
    }
}

impl RecordSource for LineSource {
    fn next_record(&mut self) -> Option<Result<RawRecord<'_>, DataError>> {
        let line = match self.reader.next_line()? {
            Ok(line) => line,
            Err(error) => return Some(Err(error.into())),
        };
        // A list spread over lines would fail as an invalid object; the message should say what to do
        // instead.
        if line.number == 1 && line.bytes.trim_ascii_start().starts_with(b"[") {
            return Some(Err(DataError::List { path: self.path.to_path_buf() }));
        }
        let place = Place { file: Arc::clone(&self.path), unit: Unit::Line, number: line.number };
        Some(Ok(RawRecord { place, json: line.bytes }))
    }

    fn bytes_read(&self) -> u64 {
        self.count.get()
    }
}
