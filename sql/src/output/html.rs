//! A result as a page of HTML that stands alone: one table, without scripts.
//!
//! Invariants
//! - what looks like markup in a value or a name is shown as it is

use std::io::Write;

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, Schema};
use gstore_core::{html_head, html_text};

const STYLE: &str = ":root{color-scheme:light dark}body{margin:2rem;font:1rem/1.5 system-ui,sans-serif}table{border-collapse:collapse}\
                     th,td{padding:.2em .8em;border-bottom:1px solid #8886;text-align:left;vertical-align:top;white-space:pre-wrap;\
                     overflow-wrap:anywhere}.n{text-align:right;font-variant-numeric:tabular-nums}";

/// The page up to the names of the columns.
pub(super) fn header(schema: &Schema, out: &mut impl Write) -> std::io::Result<()> {
    write!(out, "{}<table>\n<thead>\n", html_head("Result", STYLE))?;
    let fields = schema.fields().iter();
    line(fields.map(|field| cell("th", field.data_type().is_numeric(), field.name())), out)?;
    out.write_all(b"</thead>\n<tbody>\n")
}

/// A line for each row, with numbers on the right; a null is an empty cell.
pub(super) fn rows(batch: &RecordBatch, out: &mut impl Write) -> Result<(), ArrowError> {
    let options = FormatOptions::default();
    let columns = batch.columns().iter().map(|column| {
        Ok((column.data_type().is_numeric(), ArrayFormatter::try_new(column.as_ref(), &options)?))
    });
    let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
    for row in 0..batch.num_rows() {
        let cells = columns.iter().map(|(numeric, column)| {
            let text = column.value(row).try_to_string()?;
            Ok(cell("td", *numeric, &text))
        });
        line(cells.collect::<Result<Vec<_>, ArrowError>>()?.into_iter(), out)?;
    }
    Ok(())
}

pub(super) fn end(out: &mut impl Write) -> std::io::Result<()> {
    out.write_all(b"</tbody>\n</table>\n</body>\n</html>\n")
}

fn line(cells: impl Iterator<Item = String>, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "<tr>{}</tr>", cells.collect::<String>())
}

fn cell(tag: &str, numeric: bool, text: &str) -> String {
    let class = if numeric { " class=\"n\"" } else { "" };
    format!("<{tag}{class}>{}</{tag}>", html_text(text))
}
