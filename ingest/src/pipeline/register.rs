//! Registering the samples of a JSONL file: columns are found in a first pass, rows are stored in a second.
//!
//! Memory: one line, and about 100 bytes for each new sample (its id, until the ledger takes it in one transaction at the end), so a
//! file is registered in pieces where that would be too much.

use std::path::{Path, PathBuf};

use gstore_store::{
    AppendOptions, ColumnDef, DatasetName, IfChanged, NewSample, Pushed, SampleAppend, Store,
};

use super::{IngestError, Progress, Unit};
use crate::data::{
    ColumnOverride, IdAllocator, JsonlReader, Line, Record, Schema, SchemaBuilder, parse_record,
};

/// A file to register.
#[derive(Debug, Clone)]
pub struct AddRequest {
    /// The dataset; it is made if it does not exist.
    pub dataset: String,
    /// The JSONL file.
    pub data: PathBuf,
    /// Types of columns, as `name:type`.
    pub columns: Vec<String>,
    /// What happens to a line that differs from the stored sample of its id.
    pub if_changed: IfChanged,
    /// The command as the history shows it.
    pub command: String,
}

/// What a registration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddReport {
    /// New samples.
    pub added: u64,
    /// Samples that were there already.
    pub unchanged: u64,
    /// Changed lines that took the place of stored samples, as new rows under the same ids.
    pub replaced: u64,
    /// Changed lines that were skipped.
    pub kept: u64,
    /// The published snapshot, if anything was added.
    pub snapshot: Option<u64>,
}

/// Registers the samples of a file: all of them in one commit, or none.
///
/// # Errors
/// The first line that is no sample, an id that is used twice or has changed, a value that does not fit its column.
pub fn add(
    store: &Store,
    request: &AddRequest,
    progress: &mut dyn Progress,
) -> Result<AddReport, IngestError> {
    let name =
        DatasetName::try_from(request.dataset.as_str()).map_err(|source| IngestError::Name { source })?;
    let existing = existing(store, &name)?;
    let bytes =
        fs_err::File::open(&request.data).and_then(|f| f.metadata()).map_err(IngestError::File)?.len();
    progress.start("reading samples", 2 * bytes, Unit::Bytes);
    let schema = find_columns(request, existing, progress)?;
    let options = AppendOptions {
        command: request.command.clone(),
        if_changed: request.if_changed,
        source: request.data.file_name().map(|name| name.to_string_lossy().into_owned()),
    };
    let mut append = store.append(&name, schema.columns().to_vec(), options)?;
    let first_new = append.first_row();
    let mut ids = IdAllocator::new();
    let mut lines = 0u64;
    each_line(&request.data, progress, |line, record| {
        lines += 1;
        let id = ids.id_of(&record, line.bytes);
        let metadata = schema
            .row(line.number, record.metadata)
            .map_err(|source| IngestError::Schema { path: request.data.clone(), source })?;
        push(&mut append, request, first_new, line, &id, metadata)
    })?;
    progress.finish();
    if lines == 0 {
        return Err(IngestError::NoSamples { path: request.data.clone() });
    }
    let report = append.finish()?;
    Ok(AddReport {
        added: report.added,
        unchanged: report.unchanged,
        replaced: report.replaced,
        kept: report.kept,
        snapshot: report.snapshot,
    })
}

fn push(
    append: &mut SampleAppend,
    request: &AddRequest,
    first_new: u64,
    line: Line<'_>,
    id: &str,
    metadata: Vec<gstore_store::MetaValue>,
) -> Result<(), IngestError> {
    let sample = NewSample { id, record: Some(line.bytes), metadata };
    let pushed = append.push(sample).map_err(|source| IngestError::Append {
        path: request.data.clone(),
        line: line.number,
        source,
    })?;
    match pushed {
        // The row was allotted by an earlier line of this very file.
        Pushed::Unchanged(row) | Pushed::Kept(row) if row >= first_new => {
            Err(IngestError::RepeatedId { path: request.data.clone(), line: line.number, id: id.to_owned() })
        }
        _ => Ok(()),
    }
}

/// The columns a dataset has.
fn existing(store: &Store, name: &DatasetName) -> Result<Vec<ColumnDef>, IngestError> {
    let snapshot = store.snapshot()?;
    let Ok(part) = snapshot.dataset(name) else { return Ok(Vec::new()) };
    Ok(part.columns.clone())
}

fn find_columns(
    request: &AddRequest,
    existing: Vec<ColumnDef>,
    progress: &mut dyn Progress,
) -> Result<Schema, IngestError> {
    let schema_error = |source| IngestError::Schema { path: request.data.clone(), source };
    let overrides = request
        .columns
        .iter()
        .map(|text| text.parse::<ColumnOverride>())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| IngestError::ColumnOption { source })?;
    let mut builder = SchemaBuilder::new(overrides, &existing);
    each_line(&request.data, progress, |line, record| {
        builder.observe(line.number, &record).map_err(schema_error)
    })?;
    builder.finish().map_err(schema_error)
}

/// Calls `f` with every record of a file; errors name the file and the line.
fn each_line(
    path: &Path,
    progress: &mut dyn Progress,
    mut f: impl FnMut(Line<'_>, Record) -> Result<(), IngestError>,
) -> Result<(), IngestError> {
    let mut reader = JsonlReader::open(path)?;
    while let Some(line) = reader.next_line() {
        let line = line?;
        let record = parse_record(line.bytes).map_err(|source| IngestError::Line {
            path: path.to_owned(),
            line: line.number,
            source,
        })?;
        f(line, record)?;
        progress.advance(line.bytes.len() as u64 + 1);
    }
    Ok(())
}
