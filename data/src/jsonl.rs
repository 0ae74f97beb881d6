//! JSON lines: one record a line, with the bytes exactly as they stand in the file.
//!
//! Invariants
//! - a line's bytes are those of the file without the final `\n`; a `\r` before it stays (JSON takes it for
//!   white space), so writing the bytes and a `\n` gives the file's line back
//! - lines without anything but white space are skipped, but counted: numbers are those an
//!   editor shows, from 1
//! - a byte order mark at the start of the file belongs to the file, not to the first record
//! - memory is bounded by the longest line, which has a limit
//! - after an error there are no more lines, except after a line that is not UTF-8

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

/// The longest line that is read unless asked otherwise.
pub(crate) const LINE_LIMIT: usize = 64 << 20;

/// Bytes read from the file at a time.
pub(crate) const READ_SIZE: usize = 256 << 10;

pub(crate) const UTF8_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLine<'a> {
    /// From 1, blank lines included.
    pub number: u64,
    /// Without the final `\n`; valid UTF-8.
    pub bytes: &'a [u8],
}

/// Why a file of lines cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum ReadError {
    #[error("{}: cannot read line {line}: {source}", path.display())]
    Io { path: PathBuf, line: u64, source: std::io::Error },
    #[error("{}: line {line} is longer than {limit} bytes; is this a file with one JSON object a line?", path.display())]
    TooLong {
        path: PathBuf,
        line: u64,
        /// The limit in bytes.
        limit: usize,
    },
    #[error("{}: line {line} is not valid UTF-8 (byte {byte} of the line); {}", path.display(), wide.unwrap_or(CONVERT))]
    NotUtf8 {
        path: PathBuf,
        line: u64,
        /// The first bad byte, from 1.
        byte: usize,
        /// What to do about the file, if it starts with a byte order mark of UTF-16 or UTF-32.
        wide: Option<&'static str>,
    },
}

impl ReadError {
    /// Whether one line is not text and the next may be.
    pub(crate) fn is_of_line(&self) -> bool {
        matches!(self, ReadError::NotUtf8 { wide: None, .. })
    }
}

/// What to do about a file that is not UTF-8.
pub(crate) const CONVERT: &str =
    "if the file is in Latin-1, `iconv -f latin1 -t utf8 FILE > NEW` makes it UTF-8";

/// What to do about text that begins with the byte order mark of UTF-16 or UTF-32.
pub(crate) fn convert_wide(start: &[u8]) -> Option<&'static str> {
    match start {
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => Some(
            "it is text in UTF-32; save it as UTF-8, or `iconv -f UTF-32 -t UTF-8 FILE > NEW` makes it so",
        ),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => Some(
            "it is text in UTF-16; save it as UTF-8, or `iconv -f UTF-16 -t UTF-8 FILE > NEW` makes it so",
        ),
        _ => None,
    }
}

/// Reads a file line by line.
pub struct JsonlReader {
    path: PathBuf,
    source: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    number: u64,
    limit: usize,
    failed: bool,
}

impl JsonlReader {
    /// Reads from anything; `path` is what errors call it.
    pub fn from_reader(path: impl Into<PathBuf>, source: impl Read + Send + 'static) -> Self {
        Self {
            path: path.into(),
            source: Box::new(BufReader::with_capacity(READ_SIZE, source)),
            line: Vec::new(),
            number: 0,
            limit: LINE_LIMIT,
            failed: false,
        }
    }

    /// The next line that is not blank. The bytes are borrowed until the next call.
    pub fn next_line(&mut self) -> Option<Result<JsonLine<'_>, ReadError>> {
        if self.failed {
            return None;
        }
        loop {
            match self.fill_line() {
                Ok(false) => return None,
                Ok(true) if self.line.trim_ascii().is_empty() => {}
                Ok(true) => return Some(Ok(JsonLine { number: self.number, bytes: &self.line })),
                Err(error) => {
                    self.failed = !error.is_of_line();
                    return Some(Err(error));
                }
            }
        }
    }

    /// Reads one line into the buffer; false at the end of the file.
    fn fill_line(&mut self) -> Result<bool, ReadError> {
        self.line.clear();
        self.number += 1;
        // The mark does not count for the limit: room for it is left until it is known.
        let most = self.limit.saturating_add(UTF8_MARK.len() + 1) as u64;
        let read = Read::take(&mut self.source, most).read_until(b'\n', &mut self.line);
        let failed = |source| ReadError::Io { path: self.path.clone(), line: self.number, source };
        let any = read.map_err(failed)? > 0;
        self.line.pop_if(|byte| *byte == b'\n');
        if any {
            self.check_line()?;
        }
        Ok(any)
    }

    fn check_line(&mut self) -> Result<(), ReadError> {
        if self.number == 1 && self.line.starts_with(UTF8_MARK) {
            self.line.drain(..UTF8_MARK.len());
        }
        if self.line.len() > self.limit {
            let (path, line, limit) = (self.path.clone(), self.number, self.limit);
            return Err(ReadError::TooLong { path, line, limit });
        }
        std::str::from_utf8(&self.line).map(|_| ()).map_err(|error| ReadError::NotUtf8 {
            path: self.path.clone(),
            line: self.number,
            byte: error.valid_up_to() + 1,
            wide: convert_wide(&self.line).filter(|_| self.number == 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &'static [u8]) -> Vec<(u64, Vec<u8>)> {
        let mut reader = JsonlReader::from_reader("f.jsonl", bytes);
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line() {
            let line = line.expect("a good line");
            lines.push((line.number, line.bytes.to_vec()));
        }
        lines
    }

    #[test]
    fn bytes_are_kept_and_blank_lines_counted() {
        let got = lines(b"{\"a\": 1} \n\n  \t\r\n{}\r\n{\"b\":\"\xC3\xA9\"}");
        let want: [(u64, &[u8]); 3] = [(1, b"{\"a\": 1} "), (4, b"{}\r"), (5, b"{\"b\":\"\xC3\xA9\"}")];
        assert_eq!(got, want.map(|(n, b)| (n, b.to_vec())));
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"\n\n"), []);
        assert_eq!(lines(b"{}"), [(1, b"{}".to_vec())]);
    }

    #[test]
    fn byte_order_mark_is_not_part_of_the_record() {
        assert_eq!(lines(b"\xEF\xBB\xBF{}\n\xEF\xBB\xBF{}\n")[0], (1, b"{}".to_vec()));
        assert_eq!(lines(b"\xEF\xBB\xBF\n{}"), [(2, b"{}".to_vec())]);
    }

    #[test]
    fn invalid_utf8_names_file_line_and_byte() {
        let mut reader = JsonlReader::from_reader("f.jsonl", &b"{}\n{\"a\":\"\xFF\"}\n{}\n"[..]);
        assert!(reader.next_line().unwrap().is_ok());
        let message = reader.next_line().unwrap().unwrap_err().to_string();
        let said =
            "f.jsonl: line 2 is not valid UTF-8 (byte 7 of the line); if the file is in Latin-1, `iconv";
        assert!(message.starts_with(said), "{message}");
        assert_eq!(reader.next_line().unwrap().unwrap().number, 3);
        assert!(reader.next_line().is_none());
        for (bytes, named) in [
            (&b"\xFF\xFE{\0}\0\n\0"[..], "UTF-16"),
            (&b"\xFF\xFE\0\0{\0\0\0}\0\0\0\n\0\0\0"[..], "UTF-32"),
            (&b"\0\0\xFE\xFF\0\0\0{\0\0\0}\0\0\0\n"[..], "UTF-32"),
        ] {
            let mut reader = JsonlReader::from_reader("f.jsonl", bytes);
            let message = reader.next_line().unwrap().unwrap_err().to_string();
            assert!(message.contains(&format!("it is text in {named}")), "{message}");
            assert!(reader.next_line().is_none());
        }
    }

    #[test]
    fn long_lines_are_refused_in_bounded_memory() {
        let mut reader = JsonlReader::from_reader("f.jsonl", &b"1234\n12345\n"[..]);
        reader.limit = 4;
        assert_eq!(reader.next_line().unwrap().unwrap().bytes, b"1234");
        let message = reader.next_line().unwrap().unwrap_err().to_string();
        assert!(message.starts_with("f.jsonl: line 2 is longer than 4 bytes"), "{message}");
        let mut reader = JsonlReader::from_reader("zero", std::io::repeat(b'x'));
        reader.limit = 1 << 20;
        assert!(reader.next_line().unwrap().is_err());
        assert!(reader.line.capacity() <= 4 << 20);
    }

    #[test]
    fn lines_longer_than_the_buffer() {
        let long = vec![b'y'; 3 * READ_SIZE + 7];
        let mut file = long.clone();
        file.push(b'\n');
        file.extend_from_slice(b"{}");
        let mut reader = JsonlReader::from_reader("f", std::io::Cursor::new(file));
        assert_eq!(reader.next_line().unwrap().unwrap().bytes, long);
        assert_eq!(reader.next_line().unwrap().unwrap(), JsonLine { number: 2, bytes: b"{}" });
        assert!(reader.next_line().is_none());
    }
}
