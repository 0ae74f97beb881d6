//! Tokenizer mismatch: texts with a token that a fine-tune's tokenizer and its base's do not share.
//!
//! Base and fine-tune would read such a text differently.
//!
//! Where a fine-tune brings such tokens, every text is looked through before anything is registered or
//! computed, so that all of them are named at once. Memory: the places that are shown.

use gstore_store::{DatasetPart, RowSet, Snapshot, record_columns};

use super::prepare::stored_content;
use super::{IngestError, Progress, Unit};
use gstore_data::{Content, EncodeError, TextEncoder};

/// Places that an error names.
const SHOWN: usize = 5;

/// Looks through samples that are registered.
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
    let mut found = ForeignTokens::default();
    progress.start("looking for tokens of fine-tunes", rows.len(), Unit::Rows);
    for batch in samples.scan_rows(&["row", "id", "record"], rows.clone()) {
        let batch = batch?;
        let (rows, ids, records) = record_columns(&batch).ok_or(IngestError::SampleColumns)?;
        for (at, (row, record)) in rows.values().iter().zip(records).enumerate() {
            found.look(encoder, &stored_content(*row, record)?, || ids.value(at).to_owned());
        }
        progress.advance(batch.num_rows() as u64);
    }
    progress.finish();
    found.result(Some(dataset.name.clone()))
}

/// The texts that were looked through, and those with such a token.
#[derive(Default)]
pub(super) struct ForeignTokens {
    pub looked: u64,
    count: u64,
    places: Vec<String>,
    first: Option<EncodeError>,
}

impl ForeignTokens {
    pub fn look(&mut self, encoder: &TextEncoder, content: &Content, place: impl FnOnce() -> String) {
        self.looked += 1;
        let Some(error) = encoder.foreign_token(content) else { return };
        self.count += 1;
        if self.places.len() < SHOWN {
            self.places.push(place());
        }
        self.first.get_or_insert(error);
    }

    pub fn result(mut self, registered: Option<String>) -> Result<(), IngestError> {
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
