//! Registration of the samples of data files: columns are found in a first pass, rows are stored in a second.
//!
//! Memory: what a file keeps together (see [`gstore_data::RecordSource`]), and about 250 bytes for each new
//! sample (its id, until the ledger takes it in one transaction at the end, and the pages of that; 300 if the
//! dataset has rows, with which texts are compared), so much data is registered in pieces where that would be
//! too much.

mod columns;
mod foreign;
mod input;
mod repeated;
mod request;

use gstore_core::{Cancel, Cancelled, sha256_hex};
use sha2::{Digest, Sha256};

use gstore_store::{
    AppendOptions, AppendOutcome, AppendReport, ClientWrite, CommitError, DatasetName, DatasetPart,
    IfDeleted, NewSample, RowSet, SampleAppend, Store,
};

use super::bad_records::BadRecords;
use super::disk_space::check_new;
use super::plan::{check_run_name, check_weights, refuse_twins};
use super::request::IngestRequest;
use super::row_sample::sample_rows;
use super::{IngestError, Progress, Unit};
use gstore_data::{Content, Duplicates, IdAllocator, Place, Record, Schema};
use gstore_model::weights::BaseDigests;

pub use foreign::check_texts;
pub use request::{AddClient, AddOutcome, AddPreview, AddReport, AddRequest, ExistingDataset};

use columns::{
    RecordFindings, RecordsDigest, find_columns, reasoning_note, renamed_columns_note, widened_columns_note,
};
use input::InputFiles;
use repeated::NewTexts;

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

/// The same, until `cancel` is raised: then nothing is added; once the samples are published, only the index of
/// ids is left to the next call. Nor is anything added if an ingest that follows, `then`, would fill the disk,
/// or its run or the weights of its checkpoints be refused; what was read of these is kept for its plan.
///
/// # Errors
/// As [`add`]; [`IngestError::Stopped`], [`IngestError::NoRoom`], [`IngestError::SameCheckpoint`]; as
/// [`check_weights`].
pub fn add_until(
    store: &Store,
    request: &AddRequest,
    then: Option<(&IngestRequest, &mut BaseDigests)>,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<AddReport, IngestError> {
    without_key(append_samples(store, request, then, None, progress, cancel, SampleAppend::finish_until)?)
}

/// What [`add_until`] would do: the same but for the commit.
///
/// # Errors
/// As [`add_until`].
pub fn preview_add(
    store: &Store,
    request: &AddRequest,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<AddPreview, IngestError> {
    let mut columns = Vec::new();
    let outcome = append_samples(store, request, None, None, progress, cancel, |append, _, _| {
        columns = append.columns().to_vec();
        Ok(append.report())
    })?;
    Ok(AddPreview { report: without_key(outcome)?, columns })
}

/// The report of a registration without a key, which nothing repeats.
fn without_key(outcome: AddOutcome) -> Result<AddReport, IngestError> {
    match outcome {
        AddOutcome::Done(report) => Ok(report),
        AddOutcome::Repeated(_) => Err(Cancelled.into()),
    }
}

/// Registers what a client sent: all of it in one commit with its key, or nothing. With a key that was used
/// for the same samples and options, nothing happens.
///
/// # Errors
/// As [`add_until`]; a key that was used for others.
pub fn add_from_client(
    store: &Store,
    request: &AddRequest,
    client: &AddClient,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<AddOutcome, IngestError> {
    append_samples(store, request, None, Some(client), progress, cancel, SampleAppend::finish_until)
}

/// Registers samples; `end` takes the append when all are in it.
fn append_samples(
    store: &Store,
    request: &AddRequest,
    then: Option<(&IngestRequest, &mut BaseDigests)>,
    client: Option<&AddClient>,
    progress: &mut dyn Progress,
    cancel: &Cancel,
    end: impl FnOnce(SampleAppend, &mut dyn Progress, &Cancel) -> Result<AppendReport, CommitError>,
) -> Result<AddOutcome, IngestError> {
    let name = DatasetName::try_from(request.dataset.as_str())?;
    let mut input = InputFiles::find(request)?;
    let mut follows = None;
    if let Some((then, bases)) = then {
        let snapshot = store.snapshot()?;
        check_run_name(&snapshot, &then.run)?;
        let ids = check_weights(&snapshot, &then.run, (&then.model, &then.checkpoints), bases, progress)?;
        refuse_twins(then.checkpoints.iter().map(|arg| &arg.name).zip(&ids))?;
        follows = Some(then);
    }
    let before = store.snapshot()?.dataset(&name).ok().cloned();
    let columns = request.columns_with(before.as_deref());
    input.fields = request.field_names(&columns)?;
    let bytes = input.bytes()?;
    progress.start("checking samples", bytes, Unit::Bytes);
    let key = client.and_then(|client| client.key.as_deref());
    let mut content = key.map(|_| Sha256::new());
    let (schema, mut found) = find_columns(request, &input, columns, content.as_mut(), progress, cancel)?;
    progress.finish();
    let digest = content.map(|content| sha256_hex(content.finalize().as_slice()));
    let write = key.zip(digest).map(|(key, digest)| ClientWrite::new(key, digest)).transpose();
    let write = write.map_err(CommitError::from)?;
    let options = AppendOptions {
        command: request.command.clone(),
        if_changed: request.if_changed,
        if_deleted: request.if_deleted,
        source: client
            .map(|client| client.source.clone())
            .or_else(|| request.source.clone())
            .or_else(|| input.name()),
    };
    let append = store.append_until(&name, schema.columns().to_vec(), options, progress, cancel)?;
    let mut append = append.ok_or(Cancelled)?;
    if let Some(write) = write {
        if let Ok(part) = append.base().dataset(&name)
            && let Some(note) = write.done(part, append.base().features()).map_err(CommitError::from)?
        {
            return Ok(AddOutcome::Repeated(note));
        }
        append.name(write);
    }
    found.notes.extend(renamed_columns_note(append.columns(), before.as_deref()));
    if let Some(before) = &before {
        // Reading takes a while, and the lock may.
        append.base().same_dataset(before)?;
    }
    // A client is told nothing but its report.
    found.new_texts = NewTexts::beside(before.as_deref().filter(|_| client.is_none()));
    progress.start("reading samples", bytes, Unit::Bytes);
    let texts = fill(&mut append, request, &input, &schema, follows, &mut found, progress, cancel)?;
    if let (Some(texts), Some(part)) = (found.new_texts.take(), &before) {
        found.notes.extend(texts.told(append.base(), part, cancel));
    }
    progress.finish();
    let new = append.report();
    found.notes.extend(found.of_new.take().filter(|_| new.added > 0));
    let widened = widened_columns_note(append.columns(), before.as_deref());
    found.notes.extend(widened.filter(|_| new.added + new.replaced > 0));
    for note in &found.notes {
        progress.note(note);
    }
    let known = new.unchanged + new.kept + new.replaced + new.left_out;
    check_existing(request, before.as_deref(), new.added, known)?;
    if let Some(then) = follows {
        check_new(store, then, new.added + new.replaced, &texts)?;
    }
    // From here on only the index of ids is left out when it is told to stop.
    cancel.check()?;
    Ok(AddOutcome::Done(report_of(end(append, progress, cancel)?, &found)))
}

fn report_of(appended: AppendReport, found: &RecordFindings) -> AddReport {
    let AppendReport { added, unchanged, kept, replaced, left_out, snapshot } = appended;
    AddReport {
        added,
        unchanged,
        replaced,
        kept,
        left_out,
        skipped: found.skipped,
        duplicates: found.duplicates,
        unscorable: found.unscorable,
        layout: found.layouts.first().copied(),
        snapshot,
    }
}

/// Refuses data that is new from end to end for a dataset that goes on with its own alone. What brings back
/// deleted samples is meant for the dataset.
pub(super) fn check_existing(
    request: &AddRequest,
    dataset: Option<&DatasetPart>,
    added: u64,
    known: u64,
) -> Result<(), IngestError> {
    let goes_on = request.existing == ExistingDataset::Append || request.if_deleted == IfDeleted::Restore;
    match dataset {
        Some(part) if part.rows > 0 && added > 0 && known == 0 && !goes_on => Err(IngestError::OtherData {
            path: request.data.first().cloned().unwrap_or_default(),
            dataset: part.name.clone(),
            rows: part.rows,
        }),
        _ => Ok(()),
    }
}

/// Stores the rows of the records; gives the texts of some of them, with their places, if an ingest follows.
#[allow(clippy::too_many_arguments)] // one step of a longer function
fn fill(
    append: &mut SampleAppend,
    request: &AddRequest,
    input: &InputFiles,
    schema: &Schema,
    then: Option<&IngestRequest>,
    found: &mut RecordFindings,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<Vec<(Place, Content)>, IngestError> {
    let mut ids = IdAllocator::new();
    let mut records = 0u64;
    let mut texts = Vec::new();
    let rows = then.map(|then| then.limit.map_or(found.records, |limit| found.records.min(limit)));
    let wanted = sample_rows(&RowSet::from_range(0..rows.unwrap_or(0)));
    let mut bad = BadRecords::default();
    let contents = std::mem::take(&mut found.contents);
    let mut add = |place: Place, json: &[u8], record: Record| {
        if wanted.contains(records) {
            texts.push((place.clone(), record.content.clone()));
        }
        records += 1;
        found.reasoning += u64::from(Content::leaves_reasoning(json));
        let id = ids.id_of(&record, json);
        let file = place.file.to_path_buf();
        let metadata = schema
            .row(place.clone(), record.metadata)
            .map_err(|source| IngestError::Schema { path: file, source })?;
        let sample = NewSample { id: &id, record: Some(json), metadata };
        match (push(append, &place, sample), request.duplicates) {
            (Err(error), Duplicates::First) if error.is_repeated_id() => {
                found.duplicates += 1;
                Ok(())
            }
            (Ok(AppendOutcome::Added(_)), _) => {
                found.new_texts.iter_mut().for_each(|texts| texts.add(&record.content));
                Ok(())
            }
            (pushed, _) => pushed.map(|_| ()),
        }
    };
    // What cannot be read was counted before, in records that are the same now.
    let mut left_out = |error: IngestError| if error.is_of_text() { Ok(()) } else { bad.note(error) };
    for (file, before) in input.files.iter().zip(&contents) {
        let mut now = RecordsDigest::default();
        input.each_of(file, progress, cancel, &mut left_out, |place, json, record| {
            now.add(json);
            add(place, json, record)
        })?;
        if now != *before {
            return Err(IngestError::DataChanged { path: file.path().to_owned() });
        }
    }
    bad.check()?;
    found.notes.extend(reasoning_note(found.reasoning));
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
    DatasetName::try_from(request.dataset.as_str())?;
    let input = InputFiles::find(request)?;
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

fn no_samples(request: &AddRequest) -> IngestError {
    IngestError::NoSamples { path: request.data.first().cloned().unwrap_or_default() }
}

fn push(
    append: &mut SampleAppend,
    place: &Place,
    sample: NewSample<'_>,
) -> Result<AppendOutcome, IngestError> {
    let id = sample.id;
    let pushed =
        append.push(sample).map_err(|source| IngestError::Append { place: place.clone(), source })?;
    match pushed {
        AppendOutcome::Repeated(_) => {
            Err(IngestError::RepeatedId { place: place.clone(), id: id.to_owned() })
        }
        outcome => Ok(outcome),
    }
}
