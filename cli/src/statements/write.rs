//! Output of a query: the place of its result, and the form that it has there.

use anyhow::Result;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use gstore_core::{Progress, Unit};
use gstore_sql::SqlError;
use gstore_sql::output::{ResultWriter, TableStyle};

use crate::args::OutputArgs;
use crate::context::Context;
use crate::ending::{check_terminal, format_of};
use crate::output::{Output, OutputTarget, check};

/// Refuses a place that a result cannot go to, before any work.
pub fn check_place(context: &Context, to: &OutputArgs) -> Result<()> {
    let path = to.output.as_deref();
    check(context, &[path], to.force)?;
    check_terminal(format_of(to)?, path)
}

/// What stands for null in a table.
pub const NULL: &str = "NULL";
pub const BLANK: &str = "";

/// Writes a list to the place and in the format that the flags say.
pub fn write(context: &Context, to: &OutputArgs, rows: RecordBatch) -> Result<()> {
    write_result(context, (to, BLANK), &rows.schema(), &mut std::iter::once(Ok(rows)))
}

/// Writes a result with this word for null to the place and in the format that the flags say.
pub fn write_result(
    context: &Context,
    (to, null): (&OutputArgs, &'static str),
    schema: &SchemaRef,
    rows: &mut dyn Iterator<Item = Result<RecordBatch, SqlError>>,
) -> Result<()> {
    check_place(context, to)?;
    // What fails before its first rows prints no header either.
    let first = rows.next().transpose()?;
    let mut output = Output::create(to.output.as_deref(), to.force)?;
    let target = OutputTarget::of(to.output.as_deref());
    // A file is not as wide as the terminal that there may be.
    let style = match target {
        OutputTarget::Stdout => style(),
        _ => TableStyle { width: None, column: None },
    };
    // Rows that appear as they come need no report.
    let mut reporter = context.reporter();
    if target.is_file() {
        reporter.start("writing rows", 0, Unit::Rows);
    }
    let writer = ResultWriter::new(format_of(to)?, schema, &mut output, style)?;
    let mut writer = writer.with_null(null);
    for batch in first.into_iter().map(Ok).chain(rows) {
        let batch = batch?;
        writer.write(&batch)?;
        reporter.advance(batch.num_rows() as u64);
    }
    writer.finish()?;
    reporter.finish();
    output.finish()
}

/// Tables fit the terminal; a file or a pipe gets the whole text.
pub fn style() -> TableStyle {
    match console::Term::stdout().size_checked() {
        Some((_, columns)) => TableStyle { width: Some(columns.into()), ..TableStyle::default() },
        None => TableStyle { width: None, column: None },
    }
}
