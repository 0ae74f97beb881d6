//! Files that are one JSON list: their items are records, read one after the other.
//!
//! An item is framed here, byte by byte, and given without the white space between its parts; whether it is
//! JSON is found when it is parsed, so nothing is joined that was apart: a blank stays between two numbers
//! or words. Memory is bounded by the longest item, which has the limit of a line.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use gstore_core::json::is_space;

use super::super::jsonl::{CONVERT, LINE_LIMIT, READ_SIZE, UTF8_MARK};
use super::unpack::{ByteCount, Input};
use super::{DataError, Place, RawRecord, RecordSource, Unit};

/// A plain file whose first bytes were looked at and still stand before the rest.
pub(super) type Bytes = BufReader<Box<dyn Read + Send>>;

/// Whether a file begins as a list does.
pub(super) fn is_list(input: Input) -> std::io::Result<(bool, Bytes, ByteCount)> {
    let mut bytes = BufReader::with_capacity(READ_SIZE, input.bytes);
    let start = loop {
        match bytes.fill_buf() {
            Ok(start) => break start,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    };
    let start = start.strip_prefix(UTF8_MARK).unwrap_or(start);
    let is_list = start.iter().find(|byte| !is_space(**byte)) == Some(&b'[');
    Ok((is_list, bytes, input.count))
}

/// Whether a byte outside of texts is part of a number or word.
fn is_of_word(byte: u8) -> bool {
    !matches!(byte, b'{' | b'}' | b'[' | b']' | b',' | b':' | b'"')
}

/// How far the list was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ListState {
    Start,
    Items,
    End,
}

pub(super) struct ListSource {
    path: Arc<Path>,
    input: Bytes,
    count: ByteCount,
    item: Vec<u8>,
    number: u64,
    /// The line of the next byte.
    line: u64,
    at: ListState,
}

impl ListSource {
    pub(super) fn new(path: Arc<Path>, input: Bytes, count: ByteCount) -> Self {
        Self { path, input, count, item: Vec::new(), number: 0, line: 1, at: ListState::Start }
    }

    fn damaged(&self, message: String) -> DataError {
        let place = Place { file: Arc::clone(&self.path), unit: Unit::Line, number: self.line };
        DataError::damaged(&self.path, Some(place), message)
    }

    /// The next byte, which stays the next one.
    fn peek(&mut self) -> Result<Option<u8>, DataError> {
        loop {
            let error = match self.input.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) => error,
            };
            if error.kind() != std::io::ErrorKind::Interrupted {
                return Err(self.damaged(error.to_string()));
            }
        }
    }

    fn pass(&mut self, byte: u8) {
        self.input.consume(1);
        self.line += u64::from(byte == b'\n');
    }

    /// The next byte that is no white space; the list has more.
    fn next_byte(&mut self) -> Result<u8, DataError> {
        loop {
            match self.peek()? {
                Some(byte) if is_space(byte) => self.pass(byte),
                Some(byte) => return Ok(byte),
                None => return Err(self.cut_off()),
            }
        }
    }

    fn cut_off(&self) -> DataError {
        self.damaged("the file ends inside its list; copy or download it again".to_owned())
    }

    /// Reads up to the next item; false at the end of the list.
    fn before_item(&mut self) -> Result<bool, DataError> {
        if self.at == ListState::Start {
            let mark = self.peek()? == UTF8_MARK.first().copied();
            self.input.consume(if mark { UTF8_MARK.len() } else { 0 });
            let open = self.next_byte()?;
            self.pass(open);
            self.at = ListState::Items;
        }
        let byte = self.next_byte()?;
        if byte == b']' {
            self.pass(byte);
            return self.after_list().map(|()| false);
        }
        if self.number > 0 {
            if byte != b',' {
                let found = char::from(byte).escape_default();
                return Err(self.damaged(format!(
                    "expected a comma or `]` after item {}, found `{found}`",
                    self.number
                )));
            }
            self.pass(byte);
            if self.next_byte()? == b']' {
                let after = self.number;
                return Err(self.damaged(format!(
                    "there is a comma after item {after}, which is the last one; remove it"
                )));
            }
        }
        Ok(true)
    }

    fn after_list(&mut self) -> Result<(), DataError> {
        self.at = ListState::End;
        while let Some(byte) = self.peek()? {
            if !is_space(byte) {
                return Err(self.damaged("there is more after the list that the file begins with".to_owned()));
            }
            self.pass(byte);
        }
        Ok(())
    }

    /// Reads an item without the white space between its parts.
    fn read_item(&mut self) -> Result<(), DataError> {
        self.item.clear();
        let (mut depth, mut in_text, mut escaped, mut is_apart) = (0_usize, false, false, false);
        loop {
            let Some(byte) = self.peek()? else { return Err(self.cut_off()) };
            let is_plain = depth == 0 && !in_text && !self.item.is_empty();
            // A number or word has no end of its own.
            if is_plain && (matches!(byte, b',' | b']' | b'}') || is_space(byte)) {
                return Ok(());
            }
            self.pass(byte);
            if !in_text && is_space(byte) {
                is_apart = true;
                continue;
            }
            // Without a blank `1 2` would be 12.
            if is_apart && is_of_word(byte) && self.item.last().is_some_and(|last| is_of_word(*last)) {
                self.item.push(b' ');
            }
            is_apart = false;
            self.item.push(byte);
            if self.item.len() > LINE_LIMIT {
                let message = format!("item {} is longer than {LINE_LIMIT} bytes", self.number + 1);
                return Err(self.damaged(message));
            }
            match byte {
                _ if in_text => {
                    in_text = escaped || byte != b'"';
                    escaped = !escaped && byte == b'\\';
                    if in_text {
                        continue;
                    }
                }
                b'"' => in_text = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => continue,
            }
            if depth == 0 && !in_text {
                return Ok(());
            }
        }
    }

    fn next_item(&mut self) -> Result<bool, DataError> {
        if self.at == ListState::End || !self.before_item()? {
            return Ok(false);
        }
        let line = self.line;
        self.read_item()?;
        self.number += 1;
        if let Err(error) = std::str::from_utf8(&self.item) {
            let byte = error.valid_up_to() + 1;
            let number = self.number;
            let message =
                format!("item {number} from line {line} on is not valid UTF-8 (its byte {byte}); {CONVERT}");
            return Err(self.damaged(message));
        }
        Ok(true)
    }
}

impl RecordSource for ListSource {
    fn next_record(&mut self) -> Option<Result<RawRecord<'_>, DataError>> {
        match self.next_item() {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                self.at = ListState::End;
                return Some(Err(error));
            }
        }
        let place = Place { file: Arc::clone(&self.path), unit: Unit::Item, number: self.number };
        Some(Ok(RawRecord { place, json: &self.item }))
    }

    fn bytes_read(&self) -> u64 {
        self.count.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(bytes: &'static [u8]) -> Result<Vec<String>, String> {
        let input = Input { bytes: Box::new(bytes), count: ByteCount::default() };
        let (list, bytes, count) = is_list(input).unwrap();
        assert!(list);
        let mut source = ListSource::new(Arc::from(Path::new("f.json")), bytes, count);
        let mut all = Vec::new();
        while let Some(item) = source.next_record() {
            let item = item.map_err(|error| error.to_string())?;
            assert_eq!(item.place.to_string(), format!("item {}", all.len() + 1));
            all.push(String::from_utf8(item.json.to_vec()).unwrap());
        }
        assert!(source.next_record().is_none());
        Ok(all)
    }

    #[test]
    fn items_are_given_without_white_space_outside_of_texts() {
        let text =
            b"\xEF\xBB\xBF [\n  {\"a\": [1.50, {\"b\" : \"x ]}, \\\" y\"}]},\r\n\t{ } , 12 ,\"t\", [ ] ]\n";
        let want = [r#"{"a":[1.50,{"b":"x ]}, \" y"}]}"#, "{}", "12", "\"t\"", "[]"];
        assert_eq!(items(text).unwrap(), want);
        assert_eq!(items(b" [ ] ").unwrap(), [""; 0]);
        assert_eq!(items(b"[1,2]").unwrap(), ["1", "2"]);
    }

    /// Each of them is refused when it is parsed.
    #[test]
    fn numbers_and_words_are_not_joined() {
        for (text, want) in [
            (&b"[[1 2\n\t3]]"[..], "[1 2 3]"),
            (b"[{\"n\": 1 000}]", r#"{"n":1 000}"#),
            (b"[{\"n\": - 1, \"ok\" : fal\r\nse }]", r#"{"n":- 1,"ok":fal se}"#),
            (b"[{\"n\": \x0C1}]", "{\"n\":\x0C1}"),
            (b"[\x0C{\"n\": 1}]", "\x0C{\"n\":1}"),
        ] {
            assert_eq!(items(text).unwrap(), [want]);
            assert!(serde_json::from_str::<serde_json::Value>(want).is_err());
        }
    }

    #[test]
    fn a_list_that_is_none_names_its_line() {
        for (text, want) in [
            (
                &b"[\n{\"a\": 1}\n{\"a\": 2}]"[..],
                "f.json, line 3: expected a comma or `]` after item 1, found `{`",
            ),
            (b"[{\"a\": 1},\n", "line 2: the file ends inside its list"),
            (b"[{\"a\": 1},\n]", "line 2: there is a comma after item 1, which is the last one; remove it"),
            (b"[{\"a\": \"x", "line 1: the file ends inside its list"),
            (b"[1]\n[2]", "line 2: there is more after the list"),
            (b"[1 2]", "line 1: expected a comma or `]` after item 1, found `2`"),
            (b"[\"\xFF\"]", "item 1 from line 1 on is not valid UTF-8 (its byte 2)"),
        ] {
            let error = items(text).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn lines_are_no_list() {
        for text in [&b"{\"a\": [1]}\n"[..], b"", b"  \n"] {
            let input = Input { bytes: Box::new(text), count: ByteCount::default() };
            assert!(!is_list(input).unwrap().0);
        }
    }
}
