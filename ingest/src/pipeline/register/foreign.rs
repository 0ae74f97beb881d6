//! Tokenizer mismatch of texts that are to be registered for an ingest.

use gstore_core::Cancel;

use super::super::bad_records::BadRecords;
use super::super::foreign::ForeignTokens;
use super::super::plan::encoder;
use super::super::request::IngestRequest;
use super::super::{IngestError, Progress, Unit};
use super::AddRequest;
use super::input::InputFiles;

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
    let input = InputFiles::find(data)?;
    progress.start("looking for tokens of fine-tunes", input.bytes()?, Unit::Bytes);
    let (mut found, mut bad) = (ForeignTokens::default(), BadRecords::allowing(data.skip_bad));
    input.each(progress, cancel, &mut |error| bad.note(error), |place, _, record| {
        if request.limit.is_none_or(|limit| found.looked < limit) {
            found.look(&encoder, &record.content, || format!("{}, {place}", place.file.display()));
        }
        Ok(())
    })?;
    progress.finish();
    bad.check()?;
    found.result(None)
}
