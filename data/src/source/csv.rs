//! Text with a header line, its columns separated by commas, tabs, `;` or `|`.
//!
//! Rules
//! - fields may be quoted with `"` and then hold delimiters, line breaks and doubled quotes
//! - an empty field is null, but the empty text in a column of text to train on; in a table of records of
//!   several shapes it is null where the row has text of other shapes only
//! - columns of text to train on, also those of a layout, and of ids are text whatever they look like;
//!   `messages` is JSON; any other column is `int`, `float` or `bool` if every field in it that is not empty
//!   is, found by reading the file once beforehand, else text; in one that is said to be of another type each
//!   field is what it is by itself, so that the first that does not fit is named
//! - in a column that is said to be text each field keeps its text; the record has a number or bool for it
//!   only where JSON writes that in the same way, so that it is the record that earlier versions stored
//! - a row with fewer or more fields than the header is an error of that row alone if it is one line
//! - a quote that is not closed where its field ends is an error: it would take the rows
//!   after it for its text
//! - `007`, `+1`, and integers too long for their type, are text: turned into numbers they would not read back

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;

use ::csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};
use memchr::memchr2;
use serde_json::{Map, Value};

use super::super::field::Field;
use super::super::fields::{ExpectedType, FieldNames};
use super::super::json::Unique;
use super::super::jsonl::{CONVERT, LINE_LIMIT, READ_SIZE};
use super::cells::{Cells, cell_value, text_value};
use super::quotes::{Quotes, UnclosedQuote};
use super::unpack::{ByteCount, Input};
use super::{DataError, DataFile, Place, RawRecord, RecordSource, Unit};

/// Columns of a file: more are hardly meant.
const MOST_COLUMNS: usize = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ColumnUse {
    /// Text, also if empty.
    Content,
    /// Text, if any.
    Id,
    /// JSON.
    Messages,
    Metadata(Cells),
    /// Metadata that is said to be text, of fields that could be something else.
    Text,
}

pub(super) struct CsvSource {
    text: Text,
    columns: Vec<(String, ColumnUse)>,
    /// The shape of records of which a column is the text, where the header has all columns of that shape.
    shapes: Vec<Option<u8>>,
    count: ByteCount,
    json: Vec<u8>,
    failed: bool,
}

impl CsvSource {
    pub(super) fn new(
        path: Arc<Path>,
        input: Input,
        file: &DataFile,
        delimiter: u8,
        fields: &FieldNames,
    ) -> Result<Self, DataError> {
        let cells = match file.cells.get() {
            Some(cells) => cells,
            None => {
                let found = Text::open(&path, Input::open(file)?.bytes, delimiter)?.cells()?;
                file.cells.get_or_init(|| found)
            }
        };
        let text = Text::open(&path, input.bytes, delimiter)?;
        // What stands in a cell decides nothing: the names of the columns do, and a cell is no list.
        let cell = Value::Null;
        let layout = fields.layout_of(|key| text.header.iter().any(|name| name == key).then_some(&cell));
        let uses = |name: &str, cells: Cells| match fields.field_of(name) {
            Some(Field::Text | Field::Prompt | Field::Completion) => ColumnUse::Content,
            Some(Field::Messages) => ColumnUse::Messages,
            Some(Field::Id) => ColumnUse::Id,
            _ if layout.is_some_and(|layout| layout.keys().contains(&name)) => ColumnUse::Content,
            _ => match (fields.expected_of(name, &text.header), cells.is_text()) {
                (Some(ExpectedType::Text), false) => ColumnUse::Text,
                (Some(ExpectedType::Exact), _) | (Some(ExpectedType::Typed), true) => {
                    ColumnUse::Metadata(Cells::default())
                }
                _ => ColumnUse::Metadata(cells),
            },
        };
        let cells = cells.iter().copied().chain(std::iter::repeat(Cells::default()));
        let columns = text.header.iter().zip(cells).map(|(name, cells)| (name.clone(), uses(name, cells)));
        let columns = columns.collect();
        let shapes = match layout {
            Some(_) => vec![None; text.header.len()],
            None => shapes_of(&text.header, fields),
        };
        Ok(Self { text, columns, shapes, count: input.count, json: Vec::new(), failed: false })
    }

    fn fill(&mut self) -> Result<Option<Place>, DataError> {
        let Some(place) = self.text.next()? else { return Ok(None) };
        let mut object = Map::new();
        let texts = self.shapes.iter().zip(&self.text.record).filter(|(_, field)| !field.is_empty());
        let filled: Vec<u8> = texts.filter_map(|(shape, _)| *shape).collect();
        // In a row without any text the empty ones stand, so that it is refused if they are of two shapes.
        let is_absent =
            |shape: Option<u8>| !filled.is_empty() && shape.is_some_and(|shape| !filled.contains(&shape));
        let columns = self.columns.iter().zip(&self.shapes);
        for (((name, usage), shape), field) in columns.zip(&self.text.record) {
            let bad =
                |message: String| DataError::Value { place: place.clone(), column: name.clone(), message };
            let field = utf8(field, &place, name)?;
            let value = match usage {
                ColumnUse::Content if field.is_empty() && is_absent(*shape) => continue,
                ColumnUse::Content => Value::from(field),
                _ if field.is_empty() => continue,
                ColumnUse::Id => Value::from(field),
                ColumnUse::Messages => {
                    let Unique(list) = serde_json::from_str(field).map_err(|e| {
                        bad(format!(
                            "a conversation in CSV must be a list in JSON: {e}; if Python wrote its own lists, write \
                             the file with `to_json` or `to_parquet`"
                        ))
                    })?;
                    list
                }
                ColumnUse::Metadata(cells) => cell_value(field, *cells),
                ColumnUse::Text => text_value(field),
            };
            object.insert(name.clone(), value);
        }
        self.json.clear();
        let written = serde_json::to_writer(&mut self.json, &Value::Object(object));
        written.map_err(|e| self.text.damaged(e.to_string()))?;
        Ok(Some(place))
    }
}

/// The shapes of records of which columns are the text. Half of a pair is none: next to text it is metadata.
fn shapes_of(header: &[String], fields: &FieldNames) -> Vec<Option<u8>> {
    let of = |name: &String| fields.field_of(name);
    let has = |half: Field| header.iter().any(|name| of(name) == Some(half));
    let is_pair = has(Field::Prompt) && has(Field::Completion);
    let is_half = |field: Field| matches!(field, Field::Prompt | Field::Completion) && !is_pair;
    header.iter().map(|name| of(name).filter(|field| !is_half(*field))?.shape()).collect()
}

impl RecordSource for CsvSource {
    fn next_record(&mut self) -> Option<Result<RawRecord<'_>, DataError>> {
        if self.failed {
            return None;
        }
        match self.fill() {
            Ok(place) => Some(Ok(RawRecord { place: place?, json: &self.json })),
            Err(error) => {
                self.failed = !error.is_of_record();
                Some(Err(error))
            }
        }
    }

    fn nulls(&self) -> Vec<String> {
        let fields = self.columns.iter().zip(&self.text.record);
        fields.filter(|(_, field)| field.is_empty()).map(|((name, _), _)| name.clone()).collect()
    }

    fn columns(&self) -> Vec<String> {
        self.columns.iter().map(|(name, _)| name.clone()).collect()
    }

    fn unnamed(&self) -> Vec<String> {
        self.text.unnamed.clone()
    }

    fn bytes_read(&self) -> u64 {
        self.count.get()
    }
}

/// Reads all rows of a table of text, for what is wrong in them.
pub(super) fn check(file: &DataFile, delimiter: u8) -> Result<(), DataError> {
    let path: Arc<Path> = Arc::from(file.path());
    let mut text = Text::open(&path, Input::open(file)?.bytes, delimiter)?;
    while let Some(place) = text.next()? {
        for (name, field) in text.header.iter().zip(&text.record) {
            utf8(field, &place, name)?;
        }
    }
    Ok(())
}

fn utf8<'a>(field: &'a [u8], place: &Place, column: &str) -> Result<&'a str, DataError> {
    std::str::from_utf8(field).map_err(|e| DataError::Value {
        place: place.clone(),
        column: column.to_owned(),
        message: format!("not UTF-8 from byte {}; {CONVERT}", e.valid_up_to() + 1),
    })
}

/// The records of a file and its header.
struct Text {
    path: Arc<Path>,
    reader: Reader<Quotes<Box<dyn Read + Send>>>,
    since: Arc<AtomicUsize>,
    /// Lines of the records that the reader gives.
    lines: Receiver<u64>,
    header: Vec<String>,
    /// Columns that the header does not name.
    unnamed: Vec<String>,
    record: ByteRecord,
}

impl Text {
    fn open(path: &Arc<Path>, bytes: Box<dyn Read + Send>, delimiter: u8) -> Result<Self, DataError> {
        let (quotes, lines) = Quotes::new(bytes, delimiter, LINE_LIMIT);
        let since = Arc::clone(&quotes.since);
        let mut builder = ReaderBuilder::new();
        // The fields are counted below, where the record is at hand.
        builder.delimiter(delimiter).flexible(true).buffer_capacity(READ_SIZE);
        let reader = builder.from_reader(quotes);
        let path = Arc::clone(path);
        let (names, unnamed, record) = (Vec::new(), Vec::new(), ByteRecord::new());
        let mut text = Self { path, reader, since, lines, header: names, unnamed, record };
        let header = text.reader.byte_headers().cloned();
        let line = text.line();
        let header = header.map_err(|error| text.error(&error, line))?;
        if header.len() > MOST_COLUMNS {
            return Err(text.damaged(format!(
                "the header line has {} columns, and at most {MOST_COLUMNS} are read",
                header.len()
            )));
        }
        if header.get(0).is_some_and(|name| name.starts_with(b"{\"") || name.starts_with(b"[{\"")) {
            return Err(text.damaged("its first line is JSON, not a header line; give it the ending .jsonl"));
        }
        let mut known = HashSet::new();
        for (i, name) in header.iter().enumerate() {
            let name = std::str::from_utf8(name)
                .map_err(|_| text.damaged(format!("the header line is not UTF-8; {CONVERT}")))?;
            // Data frames write their index under no name.
            let is_unnamed = name.is_empty();
            let name = if is_unnamed { format!("column_{}", i + 1) } else { name.to_owned() };
            if is_unnamed {
                text.unnamed.push(name.clone());
            }
            if !known.insert(name.clone()) {
                return Err(text.damaged(format!("two columns are called {name:?}; rename one")));
            }
            text.header.push(name);
        }
        Ok(text)
    }

    /// Reads the next record; `None` at the end of the file. After an error of one record there may be more.
    fn next(&mut self) -> Result<Option<Place>, DataError> {
        self.since.store(0, Ordering::Relaxed);
        let more = self.reader.read_byte_record(&mut self.record);
        let line = self.line();
        if !more.map_err(|error| self.error(&error, line))? {
            return Ok(None);
        }
        let (place, fields, header) = (self.place(line), self.record.len(), self.header.len());
        if fields == header {
            return Ok(Some(place));
        }
        // Over several lines a quote may have taken other rows into this one.
        let is_line = self.record.iter().all(|field| memchr2(b'\n', b'\r', field).is_none());
        Err(DataError::FieldCount { place, fields, header, is_line })
    }

    /// The line of the record that was read.
    fn line(&self) -> u64 {
        self.lines.try_recv().unwrap_or_else(|_| self.reader.position().line())
    }

    /// What the columns hold: one pass over the file.
    fn cells(mut self) -> Result<Vec<Cells>, DataError> {
        let mut cells = vec![Cells::default(); self.header.len()];
        loop {
            match self.next() {
                Ok(Some(_)) => cells.iter_mut().zip(&self.record).for_each(|(cells, field)| cells.see(field)),
                Ok(None) => return Ok(cells),
                Err(error) if error.is_of_record() => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn place(&self, line: u64) -> Place {
        Place { file: Arc::clone(&self.path), unit: Unit::Line, number: line }
    }

    fn damaged(&self, message: impl Into<String>) -> DataError {
        DataError::damaged(&self.path, None, message)
    }

    fn error(&self, error: &::csv::Error, line: u64) -> DataError {
        let (line, message) = match error.kind() {
            ErrorKind::Io(error) => {
                let unclosed = error.get_ref().and_then(|inner| inner.downcast_ref::<UnclosedQuote>());
                (unclosed.map_or(line, |unclosed| unclosed.line), error.to_string())
            }
            _ => (line, error.to_string()),
        };
        DataError::damaged(&self.path, Some(self.place(line)), message)
    }
}
