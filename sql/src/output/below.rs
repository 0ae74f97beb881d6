//! Rows with a text to read: the text stands below a line of the other columns.

use std::io::Write;

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, FieldRef};
use gstore_core::visible;

use super::cell::readable;
use super::layout::GAP;
use super::output_error;
use super::table::FormattedColumn;
use crate::error::SqlError;

/// Writes the last column of rows, which is text, below `name value` of each other column, with a blank line
/// between two rows; `written` of them have been written before.
///
/// Nothing is cut. Control characters but line breaks are shown as escapes.
///
/// # Errors
/// An output that cannot be written to.
pub fn write_below(batch: &RecordBatch, written: u64, out: &mut impl Write) -> Result<(), SqlError> {
    write_text(batch, written, out).map_err(output_error)
}

fn write_text(batch: &RecordBatch, written: u64, out: &mut impl Write) -> Result<(), ArrowError> {
    let options = FormatOptions::default();
    let schema = batch.schema();
    let columns = batch.columns().iter().map(readable).collect::<Result<Vec<_>, _>>()?;
    let Some((texts, others)) = columns.split_last() else { return Ok(()) };
    let lines = ArrayFormatter::try_new(texts.as_ref(), &options)?;
    let others = others.iter().map(|c| FormattedColumn::new(c, &options)).collect::<Result<Vec<_>, _>>()?;
    for row in 0..batch.num_rows() {
        if written > 0 || row > 0 {
            writeln!(out)?;
        }
        let cell = |(column, field): (&FormattedColumn<'_>, &FieldRef)| {
            let value = column.cell(row, None)?.unwrap_or_else(|| "NULL".to_owned());
            Ok(format!("{} {value}", visible(field.name())))
        };
        let cells = others.iter().zip(schema.fields()).map(cell).collect::<Result<Vec<_>, ArrowError>>()?;
        writeln!(out, "{}", cells.join(GAP))?;
        let text = match texts.is_null(row) {
            true => "NULL".to_owned(),
            false => lines.value(row).try_to_string()?,
        };
        for line in text.lines() {
            writeln!(out, "{}{}", if line.is_empty() { "" } else { "  " }, visible(line))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float32Array, StringArray};

    use super::*;

    #[test]
    fn texts_are_whole_below_their_rows() {
        let long = "x".repeat(300);
        let columns: [(&str, ArrayRef); 3] = [
            ("id", Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]))),
            ("score", Arc::new(Float32Array::from(vec![0.125, -1.0 / 3.0, 1.0]))),
            ("text", Arc::new(StringArray::from(vec![Some("two\n\nlines\u{1b}"), Some(&*long), None]))),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap();
        let mut out = Vec::new();
        write_below(&batch.slice(0, 1), 0, &mut out).unwrap();
        write_below(&batch.slice(1, 2), 1, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(
                "id a  score 0.125\n  two\n\n  lines\\u{{1b}}\n\nid NULL  score -0.333333\n  {long}\n\nid c  score 1\n  NULL\n"
            )
        );
    }
}
