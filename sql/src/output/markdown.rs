//! A result as a Markdown table, for issues and reports.
//!
//! Invariants
//! - a value stays in its cell and is shown as it is: a `|`, `\` or tag in it is escaped, and a line break is
//!   `<br>`

use std::io::Write;

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, Schema};
use gstore_core::markdown_cell;

/// The names of the columns, and the line below them, which puts numbers to the right.
pub(super) fn header(schema: &Schema, out: &mut impl Write) -> std::io::Result<()> {
    line(schema.fields().iter().map(|field| cell(field.name())), out)?;
    let numeric = schema.fields().iter().map(|field| field.data_type().is_numeric());
    line(numeric.map(|numeric| if numeric { "---:".to_owned() } else { "---".to_owned() }), out)
}

/// A line for each row; a null is an empty cell.
pub(super) fn rows(batch: &RecordBatch, out: &mut impl Write) -> Result<(), ArrowError> {
    let options = FormatOptions::default();
    let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    for row in 0..batch.num_rows() {
        let cells = columns.iter().map(|column| Ok(cell(&column.value(row).try_to_string()?)));
        line(cells.collect::<Result<Vec<_>, ArrowError>>()?.into_iter(), out)?;
    }
    Ok(())
}

fn line(cells: impl Iterator<Item = String>, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "| {} |", cells.collect::<Vec<_>>().join(" | "))
}

fn cell(text: &str) -> String {
    let lines = text.trim_end_matches(['\r', '\n']).split('\n');
    let lines = lines.map(|line| markdown_cell(line.trim_end_matches('\r')));
    lines.collect::<Vec<_>>().join("<br>")
}
