//! One result as the shell shows it: the first rows, and how many there are.

use std::io::Write;
use std::path::Path;

use anyhow::{Result, bail};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use gstore_sql::SqlError;
use gstore_sql::output::{Format, RecordWriter, ResultWriter, TableStyle};

use super::screen::Screen;
use crate::context::Context;
use crate::ending::format_of_name;
use crate::output::OutputTarget;
use crate::shell::settings::{Mode, Settings};
use crate::shell::shown::ShownResult;
use crate::statements::style;

/// Batches as they come.
type BatchIterator<'a> = dyn Iterator<Item = Result<RecordBatch, SqlError>> + 'a;

/// Shows the first rows of a result and counts the others; a file gets all.
pub fn show(
    settings: &mut Settings,
    schema: &SchemaRef,
    rows: &mut BatchIterator<'_>,
    context: &Context,
) -> Result<ShownResult> {
    // What fails before its first rows prints no header either.
    let first = rows.next().transpose()?;
    let mut rows = first.into_iter().map(Ok).chain(rows);
    let plan = schema.fields().iter().map(|field| field.name().as_str()).eq(["plan_type", "plan"]);
    let mut shown = ShownResult { plan, ..ShownResult::default() };
    match settings.output.clone() {
        Some(path) => into_file(settings, &path, schema, &mut rows, &mut shown)?,
        None => {
            let mut screen = Screen::new(settings.pager);
            let most = settings.most.filter(|_| !plan);
            let writer = BatchWriter::new(settings.mode, schema, &mut screen, style())?;
            let filled = fill(writer, most, &mut rows, &mut shown);
            // A pager has the terminal until it is left, whatever comes of the statement.
            if filled.is_ok() || screen.is_read() {
                shown.read_for = screen.finish(context)?;
            }
            filled?;
        }
    }
    for batch in rows {
        shown.rows += batch?.num_rows() as u64;
    }
    Ok(shown)
}

/// Adds a result to a file, or nothing of one that fails or is stopped. A file of a format of one result
/// holds no second.
fn into_file(
    settings: &mut Settings,
    path: &Path,
    schema: &SchemaRef,
    rows: &mut BatchIterator<'_>,
    shown: &mut ShownResult,
) -> Result<()> {
    let named = format_of_name(path)?;
    let mode = named.map_or(settings.mode, Mode::Format);
    let is_whole = matches!(mode, Mode::Format(format) if format.is_whole());
    let is_new = !settings.begun && OutputTarget::of(Some(path)).is_file();
    let file = fs_err::OpenOptions::new().append(true).create_new(is_new).open(path)?;
    let found = file.metadata()?;
    if is_whole && found.len() > 0 {
        bail!(
            "{} already has a result and holds only one; `.output FILE` names a file for this one",
            path.display()
        );
    }
    let whole = TableStyle { width: None, column: None };
    let (header, file) = (header(mode, schema), std::io::BufWriter::new(file));
    let writer = match (mode, &settings.header, &header) {
        (Mode::Format(format), Some(known), Some(these)) if known == these => {
            let continued = ResultWriter::continued(format, schema, file, whole)?;
            Ok(BatchWriter::Format(Box::new(continued)))
        }
        (_, Some(known), Some(_)) => {
            let (path, known) = (path.display(), known.join(", "));
            bail!("{path} has different columns ({known}); `.output FILE` names a file for these");
        }
        _ => BatchWriter::new(mode, schema, file, whole),
    };
    let written = writer.and_then(|writer| fill(writer, None, rows, shown));
    match &written {
        Ok(()) => (settings.header, settings.begun) = (header.or(settings.header.take()), true),
        Err(_) if is_new => fs_err::remove_file(path)?,
        // A device has what was written to it.
        Err(_) if found.is_file() => {
            fs_err::OpenOptions::new().write(true).open(path)?.set_len(found.len())?;
        }
        Err(_) => {}
    }
    written
}

/// The columns that a text with a header begins with; none in another mode.
fn header(mode: Mode, schema: &SchemaRef) -> Option<Vec<String>> {
    let names = || schema.fields().iter().map(|field| field.name().clone()).collect();
    matches!(mode, Mode::Format(Format::Csv | Format::Tsv | Format::Markdown)).then(names)
}

/// Writes the first rows.
fn fill<W: Write + Send>(
    mut writer: BatchWriter<W>,
    most: Option<u64>,
    rows: &mut BatchIterator<'_>,
    shown: &mut ShownResult,
) -> Result<()> {
    while most.is_none_or(|most| shown.shown < most) {
        let Some(batch) = rows.next().transpose()? else { break };
        let left = most.map_or(u64::MAX, |most| most - shown.shown);
        let count = batch.num_rows().min(usize::try_from(left).unwrap_or(usize::MAX));
        shown.rows += batch.num_rows() as u64;
        shown.shown += count as u64;
        writer.write(&batch.slice(0, count))?;
    }
    writer.finish()
}

/// A way to write batches.
enum BatchWriter<W: Write + Send> {
    Records(RecordWriter<W>),
    Format(Box<ResultWriter<W>>),
}

impl<W: Write + Send> BatchWriter<W> {
    fn new(mode: Mode, schema: &SchemaRef, out: W, style: TableStyle) -> Result<Self> {
        Ok(match mode {
            Mode::Line => Self::Records(RecordWriter::new(schema, out)),
            Mode::Format(format) => Self::Format(Box::new(ResultWriter::new(format, schema, out, style)?)),
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Records(out) => out.write(batch)?,
            Self::Format(out) => out.write(batch)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::Records(out) => out.finish()?,
            Self::Format(out) => out.finish()?,
        };
        Ok(())
    }
}
