//! Tokenizer mismatch: texts with a token that only a fine-tune's tokenizer has.
//!
//! Base and fine-tune would read such a text differently.
//!
//! Where a fine-tune brings such tokens, every text is looked through before anything is registered or
//! computed, so that all of them are named at once. Memory: the places that are shown.

use gstore_core::Cancel;
use gstore_store::{DatasetPart, RowSet, Snapshot};

use super::plan::encoder;
use super::prepare::columns;
use super::register::{AddRequest, each_record};
use super::request::IngestRequest;
use super::{IngestError, Progress, Unit};
use gstore_data::{Content, EncodeError, TextEncoder, parse_record};

/// Places that an error names.
const SHOWN: usize = 5;

/// Looks through the records of data files that are to be registered for an ingest; with a limit,
/// through as many of them.
///
/// # Errors
/// As registering them; [`IngestError::Stopped`]; texts that a fine-tune of the request would read as
/// other tokens than its base.
pub fn check_texts(
    data: &AddRequest,
    request: &IngestRequest,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<(), IngestError> {
    let encoder = encoder(request)?;
    if !encoder.has_foreign_tokens() {
        return Ok(());
    }
    let mut found = Found::default();
    each_record(data, "looking for tokens of fine-tunes", progress, cancel, |place, record| {
        if request.limit.is_none_or(|limit| found.looked < limit) {
            found.look(&encoder, &record.content, || format!("{}, {place}", place.file.display()));
        }
    })?;
    found.result(None)
}

/// Looks through samples that are registered.
///
/// # Errors
/// A sample that cannot be read; texts that a fine-tune would read as other tokens than its base.
pub(super) fn check_stored(
    encoder: &TextEncoder,
    snapshot: &Snapshot,
    dataset: &DatasetPart,
    rows: &RowSet,
    progress: &mut dyn Progress,
) -> Result<(), IngestError> {
    if !encoder.has_foreign_tokens() {
        return Ok(());
    }
    let samples = snapshot.samples(dataset)?;
    let mut found = Found::default();
    progress.start("looking for tokens of fine-tunes", rows.len(), Unit::Rows);
    for range in rows.ranges() {
        for batch in samples.scan(&["row", "id", "record"], Some(range.clone())) {
            let batch = batch?;
            for (at, (row, record)) in columns::rows_and_records(&batch)?.enumerate() {
                let Some(record) = record else { return Err(IngestError::NoRecord { row }) };
                let record =
                    parse_record(record).map_err(|source| IngestError::StoredRecord { row, source })?;
                let id = || columns::id(&batch, at).map_or_else(|| format!("row {row}"), str::to_owned);
                found.look(encoder, &record.content, id);
            }
            progress.advance(batch.num_rows() as u64);
        }
    }
    progress.finish();
    found.result(Some(dataset.name.clone()))
}

/// The texts that were looked through, and those with such a token.
#[derive(Default)]
struct Found {
    looked: u64,
    count: u64,
    places: Vec<String>,
    first: Option<EncodeError>,
}

impl Found {
    fn look(&mut self, encoder: &TextEncoder, content: &Content, place: impl FnOnce() -> String) {
        self.looked += 1;
        let Some(error) = encoder.foreign_token(content) else { return };
        self.count += 1;
        if self.places.len() < SHOWN {
            self.places.push(place());
        }
        self.first.get_or_insert(error);
    }

    fn result(mut self, registered: Option<String>) -> Result<(), IngestError> {
        let Some(source) = self.first else { return Ok(()) };
        if self.count > self.places.len() as u64 {
            self.places.push("...".to_owned());
        }
        Err(IngestError::TokensOfFineTune {
            count: self.count,
            looked: self.looked,
            places: self.places.join("; "),
            registered,
            source,
        })
    }
}
