//! Unclosed quotes in delimited text, and the lines of its records.
//!
//! The parser takes everything up to the next quote, or to the end of the file, for one field, and its
//! own lines of records are those before the second byte of a CRLF and before blank lines. So the
//! bytes are watched on their way to it, by its own rule: a quote opens where a field begins, and a
//! doubled one is text.

use std::io::{Error, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use memchr::{memchr, memchr_iter, memchr2_iter};

use super::super::jsonl::UTF8_MARK;

/// Why the bytes are not read on.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct UnclosedQuote {
    /// Where the quote opens, from 1.
    pub(super) line: u64,
    why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QuoteState {
    /// Not in quotes; a quote after this byte opens a field if the byte ends one.
    Outside { before: u8 },
    /// In quotes that were opened on this line.
    Inside { opened: u64 },
    /// After a quote in quotes: the next byte says whether it closes them or is doubled.
    Quote { opened: u64 },
}

/// Reads delimited text, and fails where a quote is not closed or a record does not end.
pub(super) struct Quotes<R> {
    inner: R,
    delimiter: u8,
    state: QuoteState,
    line: u64,
    started: bool,
    /// Lines on which records begin.
    begins: Sender<u64>,
    /// Bytes read since the parser began the record, which sets it to zero.
    pub(super) since: Arc<AtomicUsize>,
    /// The most bytes of a record.
    limit: usize,
}

impl<R: Read> Quotes<R> {
    /// The reader, and the line of each record that it gives, in their order and from 1.
    pub(super) fn new(inner: R, delimiter: u8, limit: usize) -> (Self, Receiver<u64>) {
        let state = QuoteState::Outside { before: b'\n' };
        let (begins, lines) = channel();
        let since = Arc::default();
        (Self { inner, delimiter, state, line: 1, started: false, begins, since, limit }, lines)
    }

    fn ends_field(&self, byte: u8) -> bool {
        byte == self.delimiter || is_break(byte)
    }

    /// A byte after `before`, neither in quotes: a record begins with it if it is the first that is
    /// no line break.
    fn pass(&self, before: u8, byte: u8) {
        if is_break(before) && !is_break(byte) {
            // A caller that does not ask for lines gets none.
            let _ = self.begins.send(self.line);
        }
    }

    /// Text without a quote, after `before` and not in quotes. The last byte before what follows it.
    fn pass_text(&mut self, before: u8, text: &[u8]) -> u8 {
        let (Some(first), Some(last)) = (text.first(), text.last()) else { return before };
        self.pass(before, *first);
        for at in memchr2_iter(b'\n', b'\r', text) {
            self.line += u64::from(text[at] == b'\n');
            if let Some(next) = text.get(at + 1) {
                self.pass(text[at], *next);
            }
        }
        *last
    }

    fn watch(&mut self, bytes: &[u8]) -> Result<(), UnclosedQuote> {
        let mut rest = bytes;
        if !std::mem::replace(&mut self.started, true) {
            rest = rest.strip_prefix(UTF8_MARK).unwrap_or(rest);
        }
        while let Some(&first) = rest.first() {
            if let QuoteState::Quote { opened } = self.state {
                if first == b'"' {
                    (self.state, rest) = (QuoteState::Inside { opened }, &rest[1..]);
                    continue;
                }
                // Within one line, words after a quoted one are how some write quotes in text.
                if opened < self.line && !self.ends_field(first) {
                    let line = self.line;
                    let why = format!(
                        "the quote that opens here closes within a field of line {line}: \
                         close it where its field ends, and double quotes that are text"
                    );
                    return Err(UnclosedQuote { line: opened, why });
                }
                self.state = QuoteState::Outside { before: b'"' };
            }
            let quote = memchr(b'"', rest);
            let text = &rest[..quote.unwrap_or(rest.len())];
            rest = quote.map_or(&[][..], |at| &rest[at + 1..]);
            self.state = match self.state {
                QuoteState::Outside { before } => {
                    let before = self.pass_text(before, text);
                    if quote.is_some() {
                        self.pass(before, b'"');
                    }
                    match quote {
                        Some(_) if self.ends_field(before) => QuoteState::Inside { opened: self.line },
                        Some(_) => QuoteState::Outside { before: b'"' },
                        None => QuoteState::Outside { before },
                    }
                }
                QuoteState::Inside { opened } | QuoteState::Quote { opened } => {
                    self.line += memchr_iter(b'\n', text).count() as u64;
                    if quote.is_some() { QuoteState::Quote { opened } } else { QuoteState::Inside { opened } }
                }
            };
        }
        Ok(())
    }
}

fn is_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

impl<R: Read> Read for Quotes<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let unclosed = |line, why| Error::other(UnclosedQuote { line, why });
        if self.since.load(Ordering::Relaxed) > self.limit {
            let limit = self.limit;
            return Err(match self.state {
                QuoteState::Inside { opened } => {
                    let why = format!("the quote that opens here is not closed within {limit} bytes");
                    unclosed(opened, why)
                }
                _ => Error::other(format!("a record is longer than {limit} bytes")),
            });
        }
        let n = self.inner.read(buf)?;
        self.since.fetch_add(n, Ordering::Relaxed);
        match self.state {
            QuoteState::Inside { opened } if n == 0 => {
                let why = "the quote that opens here is never closed; \
                           close it, or copy or download the file again if it is cut off";
                Err(unclosed(opened, why.to_owned()))
            }
            _ => self.watch(&buf[..n]).map(|()| n).map_err(Error::other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The line that an error names, and where the bytes come in pieces.
    fn refused(text: &[u8], piece: usize) -> Option<u64> {
        let (mut quotes, _) = Quotes::new(text, b',', 1 << 20);
        let mut buf = vec![0; piece];
        loop {
            match quotes.read(&mut buf) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return error.get_ref()?.downcast_ref::<UnclosedQuote>().map(|e| e.line),
            }
        }
    }

    /// The last field by the parser.
    fn last(text: &[u8]) -> Option<Vec<u8>> {
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
        let record = reader.byte_records().last()?.unwrap();
        record.iter().next_back().map(<[u8]>::to_vec)
    }

    proptest! {
        /// A line break after the text changes its last field exactly if the parser is in quotes there.
        #[test]
        fn quotes_are_open_where_the_parser_says_so(text in "[a,\"\n\r]{0,14}", piece in 1_usize..5) {
            let open = last(text.as_bytes()) != last(format!("{text}\n").as_bytes());
            let (mut quotes, _) = Quotes::new(text.as_bytes(), b',', 1 << 20);
            let mut buf = vec![0; piece];
            let mut watched = Ok(0);
            for _ in 0..=text.len() {
                watched = quotes.read(&mut buf);
                if watched.is_err() {
                    break;
                }
            }
            let within = watched.as_ref().is_err_and(|error| error.to_string().contains("within a field"));
            prop_assert!(within || watched.is_err() == open, "{text:?}: {watched:?}");
        }

        /// Each record of the parser has a line, on which its first byte stands.
        #[test]
        fn records_begin_where_the_parser_says_so(text in "[a,\"\n\r]{0,14}", piece in 1_usize..5) {
            let (mut quotes, lines) = Quotes::new(text.as_bytes(), b',', 1 << 20);
            let mut buf = vec![0; piece];
            let whole = (0..=text.len()).all(|_| quotes.read(&mut buf).is_ok());
            let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            let records = reader.byte_records().count();
            let lines: Vec<u64> = lines.try_iter().collect();
            prop_assert!(!whole || lines.len() == records, "{text:?}: {lines:?}");
            for line in lines {
                let line = text.split('\n').nth(usize::try_from(line).unwrap() - 1);
                prop_assert!(line.is_some_and(|line| line.bytes().any(|byte| byte != b'\r')), "{text:?}");
            }
        }
    }

    #[test]
    fn lines_are_those_of_the_opening_quote() {
        for (text, line) in [
            (&b"a,b\n1,\"x\ny\"\n2,\"z"[..], Some(4)),
            (b"a,b\r\n1,\"x\r\ny", Some(2)),
            (b"\"a", Some(1)),
            (b"\xEF\xBB\xBF\"a", Some(1)),
            (b"a\n\"\"\"\n", Some(2)),
            (b"a\n\"x\ny\"z\n", Some(2)),
            (b"a\n\"x\"z\n", None),
            (b"a\n\"x\n\"\"\ny\"\n", None),
            (b"a\n5\" disk\n", None),
            (b"", None),
        ] {
            for piece in [3, 4, 64] {
                assert_eq!(refused(text, piece), line, "{:?}", String::from_utf8_lossy(text));
            }
        }
    }
}
