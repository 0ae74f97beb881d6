//! Registering the samples of data files: columns are found in a first pass, rows are stored in a second.
//!
//! Memory: what a file keeps together (see [`gstore_data::RecordSource`]), and about 100 bytes for each new
//! sample (its id, until the ledger takes it in one transaction at the end), so much data is registered in
//! pieces where that would be too much.

use std::path::PathBuf;
use std::sync::Arc;

use gstore_core::{Cancel, Remedy, sha256_hex};
use serde::Serialize;
use sha2::{Digest, Sha256};

use gstore_store::{
    AppendOptions, ClientWrite, ColumnDef, CommitError, DatasetName, DatasetPart, IfChanged, IfDeleted,
    NewSample, Pushed, SampleAppend, Store, WriteNote,
};

use super::bad::{Bad, Unscorable};
use super::request::IngestRequest;
use super::room::{SAMPLE_ROWS, check_new};
use super::{IngestError, Progress, Unit};
use gstore_data::{
    ColumnOverride, Content, DataFile, Field, FieldNames, IdAllocator, Layout, Place, Record, RecordSource,
    Schema, SchemaBuilder, find,
};

/// Data to register.
#[derive(Debug, Clone)]
pub struct AddRequest {
    /// The dataset; it is made if it does not exist.
    pub dataset: String,
    /// Files, folders and patterns, read in this order (see [`gstore_data::find`]).
    pub data: Vec<PathBuf>,
    /// Names under which the records keep what is looked for, as `field=key`; none if they use gstore's own.
    pub fields: Vec<String>,
    /// The layout of the records; without one each record's own, as its keys show it.
    pub layout: Option<Layout>,
    /// Types of columns, as `name:type`.
    pub columns: Vec<String>,
    /// How many records that cannot be read are left out; with more of them nothing is added.
    pub skip_bad: u64,
    /// What happens to a record whose id an earlier one of the same files has.
    pub duplicates: Duplicates,
    /// What happens to a line that differs from the stored sample of its id.
    pub if_changed: IfChanged,
    /// What happens to a line whose id was deleted.
    pub if_deleted: IfDeleted,
    /// The command as the history shows it.
    pub command: String,
}

/// What happens to a record whose id an earlier one of the same registration has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Duplicates {
    /// Nothing is added.
    #[default]
    Refuse,
    /// The first one stays, and the others are counted.
    First,
}

impl AddRequest {
    /// A request with everything as the command line has it by default.
    pub fn new(dataset: impl Into<String>, data: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            dataset: dataset.into(),
            data: data.into_iter().collect(),
            fields: Vec::new(),
            layout: None,
            columns: Vec::new(),
            skip_bad: 0,
            duplicates: Duplicates::Refuse,
            if_changed: IfChanged::Refuse,
            if_deleted: IfDeleted::default(),
            command: String::new(),
        }
    }
}

/// What a registration did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct AddReport {
    /// New samples.
    pub added: u64,
    /// Samples that were there already.
    pub unchanged: u64,
    /// Changed lines that took the place of stored samples, as new rows under the same ids.
    pub replaced: u64,
    /// Changed lines that were skipped.
    pub kept: u64,
    /// Ids that were deleted before, whose lines were left out.
    pub left_out: u64,
    /// Records that could not be read and were left out.
    pub skipped: u64,
    /// Records that were left out because an earlier one has their id.
    pub duplicates: u64,
    /// Records without a token that could be scored, whatever the tokenizer.
    pub unscorable: u64,
    /// The layout of the first record that has none of gstore's own.
    pub layout: Option<Layout>,
    /// The published snapshot, if anything was added.
    pub snapshot: Option<u64>,
}

/// A client whose samples are registered from a copy of what it sent.
#[derive(Debug, Clone, Default)]
pub struct AddClient {
    /// What it calls this write, so that sending it twice adds it once.
    pub key: Option<String>,
    /// Where the samples come from, as the history shows it in place of the copy's name.
    pub source: String,
}

/// What became of a client's samples.
#[derive(Debug, Clone, PartialEq)]
pub enum AddOutcome {
    /// They were registered.
    Done(AddReport),
    /// They had been registered before, under the same key.
    Repeated(WriteNote),
}

/// Registers the samples of files: all of them in one commit, or none.
///
/// # Errors
/// A file that cannot be read; the first record that is no sample, an id that is used twice or has changed, a
/// value that does not fit its column.
pub fn add(
    store: &Store,
    request: &AddRequest,
    progress: &mut dyn Progress,
) -> Result<AddReport, IngestError> {
    add_until(store, request, None, progress, &Cancel::new())
}

/// The same, until `cancel` is raised: then nothing is added. Nor is it if an ingest that follows,
/// `then`, would fill the disk.
///
/// # Errors
/// As [`add`]; [`IngestError::Stopped`], [`IngestError::NoRoom`].
pub fn add_until(
    store: &Store,
    request: &AddRequest,
    then: Option<&IngestRequest>,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<AddReport, IngestError> {
    match add_named(store, request, then, None, progress, cancel)? {
        AddOutcome::Done(report) => Ok(report),
        // Nothing without a key is a repetition.
        AddOutcome::Repeated(_) => Err(IngestError::Stopped),
    }
}

/// Registers what a client sent: all of it in one commit with its key, or nothing. With a key that was used for the same samples and options,
/// nothing happens.
///
/// # Errors
/// As [`add_until`]; a key that was used for others.
pub fn add_of(
    store: &Store,
    request: &AddRequest,
    client: &AddClient,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<AddOutcome, IngestError> {
    add_named(store, request, None, Some(client), progress, cancel)
}

fn add_named(
    store: &Store,
    request: &AddRequest,
    then: Option<&IngestRequest>,
    client: Option<&AddClient>,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<AddOutcome, IngestError> {
    let (name, input) = (dataset(request)?, Input::find(request)?);
    let before = existing(store, &name)?;
    let columns = before.as_ref().map(|part| part.columns.clone()).unwrap_or_default();
    progress.start("reading samples", 2 * input.bytes()?, Unit::Bytes);
    let key = client.and_then(|client| client.key.as_deref());
    let mut content = key.map(|_| Sha256::new());
    let (schema, mut found) = find_columns(request, &input, columns, content.as_mut(), progress, cancel)?;
    let digest = content.map(|content| sha256_hex(content.finalize().as_slice()));
    let write = key.zip(digest).map(|(key, digest)| ClientWrite::new(key, digest)).transpose();
    let write = write.map_err(CommitError::from)?;
    let options = AppendOptions {
        command: request.command.clone(),
        if_changed: request.if_changed,
        if_deleted: request.if_deleted,
        source: client.map(|client| client.source.clone()).or_else(|| input.name()),
    };
    let mut append = store.append(&name, schema.columns().to_vec(), options)?;
    if let Some(write) = write {
        if let Ok(part) = append.base().dataset(&name)
            && let Some(note) = write.done(part).map_err(CommitError::from)?
        {
            return Ok(AddOutcome::Repeated(note));
        }
        append.name(write);
    }
    found.notes.extend(renamed(append.columns(), before.as_deref()));
    if let Some(before) = &before {
        // Reading takes a while, and the lock may.
        append.base().same_dataset(before)?;
    }
    let texts = fill(&mut append, request, &input, &schema, then, &mut found, progress, cancel)?;
    progress.finish();
    for note in &found.notes {
        progress.note(note);
    }
    if let Some(then) = then {
        let new = append.report();
        check_new(store, then, new.added + new.replaced, &texts)?;
    }
    // From here on nothing stops it.
    if cancel.is_raised() {
        return Err(IngestError::Stopped);
    }
    let report = append.finish()?;
    Ok(AddOutcome::Done(AddReport {
        added: report.added,
        // Equal records of these very files are not there already.
        unchanged: report.unchanged.saturating_sub(found.equal),
        replaced: report.replaced,
        kept: report.kept,
        left_out: report.left_out,
        skipped: found.skipped,
        duplicates: found.duplicates,
        unscorable: found.unscorable,
        layout: found.layouts.first().copied(),
        snapshot: report.snapshot,
    }))
}

/// What people are told of new columns that are not called like their keys.
fn renamed(columns: &[ColumnDef], before: Option<&DatasetPart>) -> Option<String> {
    let is_new = |key: &str| before.is_none_or(|part| part.columns.iter().all(|known| known.key != key));
    let renamed: Vec<String> = columns
        .iter()
        .filter(|column| column.name != column.key && is_new(&column.key))
        .map(|column| format!("`{}` is the column `{}` of the table", column.key, column.name))
        .collect();
    let said = renamed.join(", ");
    (!renamed.is_empty()).then(|| format!("{said}: tables have something else under the name of the key"))
}

/// What was found in the records.
#[derive(Default)]
struct Found {
    skipped: u64,
    duplicates: u64,
    /// Duplicates that are equal to the first of their id.
    equal: u64,
    unscorable: u64,
    /// The layouts of records that have none of gstore's own, in the order in which they came.
    layouts: Vec<Layout>,
    /// What people are told of it.
    notes: Vec<String>,
}

/// Stores the rows of the records; gives the texts of the first ones, as many as an ingest that follows asks
/// for.
#[allow(clippy::too_many_arguments)] // one step of a longer function
fn fill(
    append: &mut SampleAppend,
    request: &AddRequest,
    input: &Input,
    schema: &Schema,
    then: Option<&IngestRequest>,
    found: &mut Found,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<Vec<Content>, IngestError> {
    let first_new = append.first_row();
    let mut ids = IdAllocator::new();
    let mut records = 0u64;
    let mut texts = Vec::new();
    let wanted = then.map_or(0, |_| SAMPLE_ROWS);
    let mut bad = Bad::default();
    let add = |place: Place, json: &[u8], record: Record| {
        if records < wanted {
            texts.push(record.content.clone());
        }
        records += 1;
        let id = ids.id_of(&record, json);
        let file = place.file.to_path_buf();
        let metadata = schema
            .row(place.clone(), record.metadata)
            .map_err(|source| IngestError::Schema { path: file, source })?;
        let sample = NewSample { id: &id, record: Some(json), metadata };
        match (push(append, first_new, &place, sample), request.duplicates) {
            (Err(error), Duplicates::First) if error.is_repeated_id() => {
                found.duplicates += 1;
                found.equal += u64::from(matches!(error, IngestError::RepeatedId { .. }));
                Ok(())
            }
            (pushed, _) => pushed,
        }
    };
    // What cannot be read was counted before.
    let mut left_out = |error: IngestError| if error.is_of_text() { Ok(()) } else { bad.note(error) };
    input.each(progress, cancel, &mut left_out, add)?;
    bad.check(0)?;
    if records == 0 {
        return Err(no_samples(request));
    }
    Ok(texts)
}

/// Opens every file and reads up to the first record, without a store: what is wrong with the request or the
/// files shows before anything is done. Records that are no samples are left to [`add`], which names several.
///
/// # Errors
/// A name or option that cannot be used, a file that is missing, unreadable or of another format; no record
/// at all.
pub fn check_data(request: &AddRequest) -> Result<(), IngestError> {
    dataset(request)?;
    overrides(request)?;
    let input = Input::find(request)?;
    let mut found = false;
    for file in &input.files {
        let mut source = file.open(&input.fields)?;
        found = found
            || match input.next(source.as_mut(), |_, _, _| Ok(())) {
                Err(error) if error.is_of_text() => true,
                read => read?,
            };
    }
    if found { Ok(()) } else { Err(no_samples(request)) }
}

/// Calls `f` for every record of a request's files, in order.
pub(super) fn each_record(
    request: &AddRequest,
    stage: &str,
    progress: &mut dyn Progress,
    cancel: &Cancel,
    mut f: impl FnMut(&Place, &Record),
) -> Result<(), IngestError> {
    let input = Input::find(request)?;
    progress.start(stage, input.bytes()?, Unit::Bytes);
    let mut bad = Bad::default();
    input.each(progress, cancel, &mut |error| bad.note(error), |place, _, record| {
        f(&place, &record);
        Ok(())
    })?;
    progress.finish();
    bad.check(request.skip_bad)
}

fn dataset(request: &AddRequest) -> Result<DatasetName, IngestError> {
    DatasetName::try_from(request.dataset.as_str()).map_err(|source| IngestError::Name { source })
}

fn overrides(request: &AddRequest) -> Result<Vec<ColumnOverride>, IngestError> {
    let parsed = request.columns.iter().map(|text| text.parse());
    parsed.collect::<Result<_, _>>().map_err(|source| IngestError::ColumnOption { source })
}

fn no_samples(request: &AddRequest) -> IngestError {
    IngestError::NoSamples { path: request.data.first().cloned().unwrap_or_default() }
}

fn push(
    append: &mut SampleAppend,
    first_new: u64,
    place: &Place,
    sample: NewSample<'_>,
) -> Result<(), IngestError> {
    let id = sample.id;
    let pushed =
        append.push(sample).map_err(|source| IngestError::Append { place: place.clone(), source })?;
    match pushed {
        // The row was allotted by an earlier record of this very registration.
        Pushed::Unchanged(row) | Pushed::Kept(row) if row >= first_new => {
            Err(IngestError::RepeatedId { place: place.clone(), id: id.to_owned() })
        }
        _ => Ok(()),
    }
}

/// The dataset, if it is there.
fn existing(store: &Store, name: &DatasetName) -> Result<Option<Arc<DatasetPart>>, IngestError> {
    Ok(store.snapshot()?.dataset(name).ok().cloned())
}

/// The columns of the records. `content` hashes all that decides what becomes of them.
fn find_columns(
    request: &AddRequest,
    input: &Input,
    existing: Vec<ColumnDef>,
    mut content: Option<&mut Sha256>,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<(Schema, Found), IngestError> {
    let mut builder = SchemaBuilder::new(overrides(request)?, &existing);
    let mut has_id = false;
    let (mut found, mut bad, mut unscorable) = (Found::default(), Bad::default(), Unscorable::default());
    let mut records = 0u64;
    if let Some(content) = &mut content {
        let AddRequest { fields, columns, if_changed, if_deleted, .. } = request;
        content.update(format!("{fields:?} {columns:?} {if_changed:?} {if_deleted:?}"));
        let AddRequest { layout, skip_bad, duplicates, .. } = request;
        // Keys of writes that knew nothing of these stay what they were.
        if layout.is_some() || *skip_bad > 0 || *duplicates != Duplicates::Refuse {
            content.update(format!(" {layout:?} {skip_bad} {duplicates:?}"));
        }
    }
    let read = input.each(progress, cancel, &mut |error| bad.note(error), |place, json, record| {
        records += 1;
        let new = record.layout.filter(|layout| !found.layouts.contains(layout));
        found.layouts.extend(new);
        unscorable.look(&place, &record.content);
        if let Some(content) = &mut content {
            // With its length, so that nothing can be cut elsewhere.
            content.update((json.len() as u64).to_le_bytes());
            content.update(json);
        }
        has_id |= record.id.is_some();
        let path = place.file.to_path_buf();
        builder.observe(place, &record).map_err(|source| IngestError::Schema { path, source })
    });
    bad.good = records;
    if let Err(error) = read {
        // What is no record may be what the columns differ by.
        if matches!(error, IngestError::Schema { .. }) {
            bad.check(request.skip_bad)?;
        }
        return Err(error);
    }
    found.notes.extend(bad.told());
    found.skipped = bad.count();
    bad.check(request.skip_bad)?;
    if let ([first, others @ ..], None) = (found.layouts.as_slice(), request.layout) {
        let option = Remedy::Option("layout", first.name());
        let others: String = others.iter().map(|other| format!(", others as {other} data")).collect();
        found.notes.push(format!("the records are read as {first} data ({option}){others}"));
    }
    found.unscorable = unscorable.count();
    found.notes.extend(unscorable.told(records));
    let path = request.data.first().cloned().unwrap_or_default();
    for (field, seen) in [(Field::Id, has_id), (Field::Subtask, builder.has_seen(Field::Subtask.name()))] {
        if let (Some(key), false) = (input.fields.key_of(field), seen) {
            return Err(IngestError::FieldNever { path, field, key: key.to_owned() });
        }
    }
    let schema = builder.finish().map_err(|source| IngestError::Schema { path, source })?;
    Ok((schema, found))
}

/// Files, and how their records are read.
struct Input {
    files: Vec<DataFile>,
    fields: FieldNames,
}

impl Input {
    fn find(request: &AddRequest) -> Result<Self, IngestError> {
        Ok(Self {
            fields: FieldNames::parse(&request.fields)
                .and_then(|fields| fields.with_layout(request.layout))
                .map_err(|source| IngestError::FieldOption { source })?,
            files: find(&request.data)?,
        })
    }

    fn bytes(&self) -> Result<u64, IngestError> {
        let length = |file: &DataFile| Ok(fs_err::metadata(file.path()).map_err(IngestError::File)?.len());
        self.files.iter().map(length).sum()
    }

    /// What the history calls them.
    fn name(&self) -> Option<String> {
        let name = self.files.first()?.path().file_name()?.to_string_lossy().into_owned();
        Some(match self.files.len() {
            1 => name,
            n => format!("{name} and {} more", n - 1),
        })
    }

    /// Calls `f` with place, stored text and content of every record. Errors of a single record, which name
    /// the file and the line or row, go to `bad`, which says whether to go on.
    fn each(
        &self,
        progress: &mut dyn Progress,
        cancel: &Cancel,
        bad: &mut dyn FnMut(IngestError) -> Result<(), IngestError>,
        mut f: impl FnMut(Place, &[u8], Record) -> Result<(), IngestError>,
    ) -> Result<(), IngestError> {
        for file in &self.files {
            let mut source = file.open(&self.fields)?;
            let mut done = 0;
            loop {
                match self.next(source.as_mut(), &mut f) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) if error.is_of_record() => bad(error)?,
                    Err(error) => return Err(error),
                }
                let read = source.bytes_read();
                progress.advance(read.saturating_sub(done));
                done = done.max(read);
                if cancel.is_raised() {
                    return Err(IngestError::Stopped);
                }
            }
        }
        Ok(())
    }

    /// Calls `f` for the next record of a file, if there is one, and says so.
    fn next(
        &self,
        source: &mut dyn RecordSource,
        f: impl FnOnce(Place, &[u8], Record) -> Result<(), IngestError>,
    ) -> Result<bool, IngestError> {
        let Some(raw) = source.next_record().transpose()? else { return Ok(false) };
        let place = raw.place;
        match self.fields.read(raw.json) {
            Ok((json, record)) => f(place, &json, record).map(|()| true),
            Err(error) => Err(IngestError::Record { place, source: error.with_nulls(&source.nulls()) }),
        }
    }
}
