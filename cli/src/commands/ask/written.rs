//! Rankings with the texts of their rows, as a table for reading or in another format.

use std::io::Write;
use std::sync::Arc;

use anyhow::Result;
use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use gstore_sql::output::{ResultWriter, TableStyle, write_below};

use super::text;
use crate::args::{Format, OutputArgs};
use crate::context::Context;
use crate::output::{Output, OutputTarget};
use crate::statements::style;

/// A table as wide as it gets.
const WHOLE: TableStyle = TableStyle { width: None, column: None };

/// Columns of the terminal with which the texts can be read.
const ROOM: usize = 40;

/// Writes rankings, whose last column has the records of their rows, as one table with texts in their place.
/// A table for reading has the beginnings of prompt and completion; below their rows where a terminal has
/// little room. `full` texts are below their rows too.
pub(in super::super) fn write(
    context: &Context,
    (to, full): (&OutputArgs, bool),
    format: Format,
    batches: &[RecordBatch],
) -> Result<()> {
    let mut output = Output::create(to.output.as_deref(), to.force)?;
    let style = match OutputTarget::of(to.output.as_deref()) {
        OutputTarget::Stdout => style(),
        OutputTarget::Stream(_) | OutputTarget::File(_) => WHOLE,
    };
    if format != Format::Table || full {
        let whole = with_texts(batches, |record| text::record_text(record, true))?;
        match format {
            Format::Table => below(&whole, &mut output)?,
            _ => table(format, &whole, style, &mut output)?,
        }
        return output.finish();
    }
    let mut drawn = Vec::new();
    match is_narrow(batches, style)? {
        true => below(&with_texts(batches, text::beginnings)?, &mut drawn)?,
        false => table(format, &with_parts(batches)?, style, &mut drawn)?,
    }
    output.write_all(&drawn)?;
    output.finish()?;
    let drawn = String::from_utf8_lossy(&drawn);
    let mut texts = batches.iter().flat_map(records).flatten().flat_map(text::folded_parts);
    if texts.any(|text| !drawn.contains(&text)) {
        context.say("--full shows whole texts");
    }
    Ok(())
}

/// The records of rows; none of one that was stored without.
fn records(batch: &RecordBatch) -> impl Iterator<Item = Option<&[u8]>> {
    let column = batch.columns().last().and_then(|column| column.as_string_opt::<i32>());
    column.into_iter().flatten().map(|record| record.map(str::as_bytes))
}

fn with_texts(batches: &[RecordBatch], text: impl Fn(&[u8]) -> String) -> Result<Vec<RecordBatch>> {
    let one = |batch: &RecordBatch| {
        let texts: StringArray = records(batch).map(|record| record.map(&text)).collect();
        with_columns(batch, [("text", texts)])
    };
    batches.iter().map(one).collect()
}

/// The rankings with the beginnings of `prompt` and `completion`; of texts alone there is only `text`.
fn with_parts(batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
    let has_answer = |record: Option<&[u8]>| record.is_some_and(|record| text::parts(record).1.is_some());
    if !batches.iter().flat_map(records).any(has_answer) {
        return with_texts(batches, text::beginnings);
    }
    let one = |batch: &RecordBatch| {
        let parts: Vec<_> = records(batch).map(|record| record.map(text::parts)).collect();
        let prompts = parts.iter().map(|parts| Some(text::preview(&parts.as_ref()?.0)));
        let answers = parts.iter().map(|parts| parts.as_ref()?.1.as_deref().map(text::preview));
        with_columns(batch, [("prompt", prompts.collect()), ("completion", answers.collect())])
    };
    batches.iter().map(one).collect()
}

/// A ranking with other columns in the place of the last.
fn with_columns<const N: usize>(
    batch: &RecordBatch,
    columns: [(&str, StringArray); N],
) -> Result<RecordBatch> {
    let kept = batch.num_columns().saturating_sub(1);
    let schema = batch.schema();
    let mut fields: Vec<FieldRef> = schema.fields().iter().take(kept).map(Arc::clone).collect();
    let mut arrays: Vec<ArrayRef> = batch.columns().iter().take(kept).map(Arc::clone).collect();
    for (name, texts) in columns {
        fields.push(Arc::new(Field::new(name, DataType::Utf8, true)));
        arrays.push(Arc::new(texts));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

/// Whether a terminal leaves little room for the last column.
fn is_narrow(batches: &[RecordBatch], style: TableStyle) -> Result<bool> {
    let Some(width) = style.width else { return Ok(false) };
    let others = batches.iter().map(|batch| with_columns(batch, [])).collect::<Result<Vec<_>>>()?;
    let mut drawn = Vec::new();
    table(Format::Table, &others, WHOLE, &mut drawn)?;
    let widest = String::from_utf8_lossy(&drawn).lines().map(|line| line.chars().count()).max();
    // Two blanks are before the text.
    Ok(width < widest.unwrap_or(0) + 2 + ROOM)
}

/// Writes texts below their rows.
fn below(batches: &[RecordBatch], out: &mut impl Write) -> Result<()> {
    let mut written = 0;
    for batch in batches {
        write_below(batch, written, out)?;
        written += batch.num_rows() as u64;
    }
    Ok(())
}

/// Writes batches in one format.
fn table(
    format: Format,
    batches: &[RecordBatch],
    style: TableStyle,
    out: &mut (impl Write + Send),
) -> Result<()> {
    let Some(first) = batches.first() else { return Ok(()) };
    let mut writer = ResultWriter::new(format, &first.schema(), out, style)?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    Ok(())
}
