//! Records for people: a line for each column of a row, with its whole value.

use std::io::Write;

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, SchemaRef};
use gstore_core::visible;
use unicode_width::UnicodeWidthStr;

use super::cell::{self, readable};
use super::output_error;
use crate::error::SqlError;

/// Writes rows as `column = value`, with a blank line between two rows.
///
/// Nothing is cut. A value of several lines goes on below its beginning; other control characters are shown
/// as escapes.
pub struct RecordWriter<W: Write> {
    out: W,
    names: Vec<String>,
    width: usize,
    rows: u64,
}

impl<W: Write> RecordWriter<W> {
    /// Begins a result of these columns.
    pub fn new(schema: &SchemaRef, out: W) -> Self {
        let names: Vec<String> = schema.fields().iter().map(|field| visible(field.name())).collect();
        let width = names.iter().map(|name| name.width()).max().unwrap_or(0);
        Self { out, names, width, rows: 0 }
    }

    /// Adds a batch of the result.
    ///
    /// # Errors
    /// An output that cannot be written to.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), SqlError> {
        self.put(batch).map_err(output_error)
    }

    /// Flushes the output; returns the number of rows.
    ///
    /// # Errors
    /// An output that cannot be written to.
    pub fn finish(mut self) -> Result<u64, SqlError> {
        self.out.flush().map_err(|error| output_error(error.into()))?;
        Ok(self.rows)
    }

    fn put(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let options = FormatOptions::default();
        let columns = batch.columns().iter().map(readable).collect::<Result<Vec<_>, _>>()?;
        let formatters = columns.iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
        let formatters = formatters.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            if self.rows > 0 {
                writeln!(self.out)?;
            }
            self.rows += 1;
            for ((name, column), formatter) in self.names.iter().zip(&columns).zip(&formatters) {
                let value = match cell::is_null(column, row) {
                    true => "NULL".to_owned(),
                    false => formatter.value(row).try_to_string()?,
                };
                let mut lines = value.split('\n');
                let blank = " ".repeat(self.width.saturating_sub(name.width()));
                writeln!(self.out, "{blank}{name} = {}", visible(lines.next().unwrap_or_default()))?;
                let margin = " ".repeat(self.width + 3);
                for line in lines {
                    writeln!(self.out, "{margin}{}", visible(line))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, NullArray, StringArray};

    use super::*;

    #[test]
    fn every_value_is_whole_and_null_is_no_text() {
        let long = "x".repeat(300);
        let columns: [(&str, ArrayRef); 4] = [
            ("none", Arc::new(NullArray::new(2))),
            ("id", Arc::new(StringArray::from(vec![Some("a"), None]))),
            ("score", Arc::new(Float64Array::from(vec![0.123456789, -1.0]))),
            ("record", Arc::new(StringArray::from(vec!["two\nlines\u{1b}", long.as_str()]))),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap();
        let mut out = Vec::new();
        let mut writer = RecordWriter::new(&batch.schema(), &mut out);
        writer.write(&batch).unwrap();
        assert_eq!(writer.finish().unwrap(), 2);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(
                "  none = NULL\n    id = a\n score = 0.123456789\nrecord = two\n         lines\\u{{1b}}\n\n  none = NULL\n    id = NULL\n\
                 \x20score = -1.0\n\
                 record = {long}\n"
            )
        );
    }
}
